import CCrypto

/// An object of OpenSSL's that is freed with its owner.
struct Owned<Pointer>: ~Copyable {
    let pointer: Pointer
    private let free: (Pointer) -> Void

    /// - Throws: when OpenSSL gave no object: `code` says what that means here, `cause` is OpenSSL's own.
    init(
        _ pointer: Pointer?, _ operation: String, _ code: TLSError.Code = .library, free: @escaping (Pointer) -> Void
    ) throws(TLSError) {
        guard let pointer else { throw TLSError(code, operation, cause: OpenSSL.takeErrors()) }
        self.pointer = pointer
        self.free = free
    }

    deinit { free(pointer) }
}

enum OpenSSL {
    /// What OpenSSL's functions left as the reasons of a failure on this thread; empties the list.
    static func takeErrors() -> String {
        var texts: [String] = []
        while true {
            let code = ERR_get_error()
            if code == 0 { break }
            if texts.count < 3 { texts.append(text(code)) }
        }
        return texts.isEmpty ? "OpenSSL gives no reason" : texts.joined(separator: ", ")
    }

    static func text(_ code: UInt) -> String {
        if let reason = ERR_reason_error_string(code) { return String(cString: reason) }
        return "OpenSSL's error \(code)"
    }

    /// - Throws: `library`, when the call did not answer 1.
    static func check(_ result: Int32, _ operation: String) throws(TLSError) {
        guard result == 1 else { throw TLSError(.library, operation, cause: takeErrors()) }
    }

    /// What `write` puts into a memory BIO.
    static func bytes(_ operation: String, _ write: (OpaquePointer) -> Int32) throws(TLSError) -> [UInt8] {
        let bio = try Owned(BIO_new(BIO_s_mem()), operation) { BIO_free($0) }
        try check(write(bio.pointer), operation)
        var start: UnsafeMutablePointer<CChar>?
        let count = ccrypto_bio_contents(bio.pointer, &start)
        guard let start, count > 0 else { return [] }
        return UnsafeRawBufferPointer(start: start, count: count).map { $0 }
    }

    /// The largest PEM or DER text that is looked at: more than any system's list of authorities.
    static let largestText = 4 << 20

    /// Lets `read` take objects out of the bytes.
    static func reading<Result: ~Copyable>(
        _ bytes: [UInt8], _ operation: String, _ read: (OpaquePointer) throws(TLSError) -> Result
    ) throws(TLSError) -> Result {
        guard bytes.count <= largestText else {
            throw TLSError(.malformed, operation, cause: "\(bytes.count) bytes are more than a key or certificate has")
        }
        // A copy, so that the BIO may outlive no pointer into the array.
        let bio = try Owned(BIO_new(BIO_s_mem()), operation) { BIO_free($0) }
        guard bytes.isEmpty || BIO_write(bio.pointer, bytes, Int32(bytes.count)) == Int32(bytes.count) else {
            throw TLSError(.library, operation, cause: takeErrors())
        }
        ERR_clear_error()
        return try read(bio.pointer)
    }
}

/// For PEM readers: an encrypted key is refused. OpenSSL's own way would be to ask for the password on the terminal.
func noPassword(_: UnsafeMutablePointer<CChar>?, _: Int32, _: Int32, _: UnsafeMutableRawPointer?) -> Int32 { -1 }
