import CCrypto
import NIOCore

/// Which end of a connection this is.
package enum TLSRole: Sendable, Equatable {
    case server
    /// The server's name or numeric address, as it was called; only `Trust.serverName` compares it.
    case client(server: String)
}

/// One connection's TLS: bytes from the peer in, bytes for the peer out, plain bytes in between. No I/O of its own: OpenSSL reads and writes two
/// memory buffers. Used by one thread at a time.
final class TLSSession {
    enum Step: Equatable {
        case done
        /// Nothing more can be done with the bytes that were fed.
        case needsInput
        /// The peer has said that it sends no more.
        case ended
        case failed(TLSError)
    }

    /// TLS's largest record (RFC 8446 section 5.1).
    static let recordBytes = 16 << 10

    let context: TLSContext
    let role: TLSRole
    let ssl: OpaquePointer
    private let input: OpaquePointer
    private let output: OpaquePointer
    /// Of the peer's certificate, once `judge` found it good; nil without one, or where certificates have no node's name.
    var peer: PeerIdentity?
    var hasPeerCertificate = false
    /// Why `judge` refused, in more words than OpenSSL has for it.
    var refusal: TLSError?
    /// New keys that the peer has announced (RFC 8446 section 4.6.3), and plain bytes that came from it.
    private var keyUpdates = 0
    private var received = 0
    /// Each costs two key derivations and an answer: those that come without a cause are an attack. No known implementation updates its keys more
    /// often than every 2^24 records.
    private static let freeUpdates = 32, bytesPerUpdate = 1 << 20
    var hasTooManyKeys: Bool { keyUpdates > Self.freeUpdates + received / Self.bytesPerUpdate }

    init(_ context: TLSContext, role: TLSRole) throws(TLSError) {
        self.context = context
        self.role = role
        let operation = role.operation
        ERR_clear_error()
        let (made, memory) = (SSL_new(context.pointer), (BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem())))
        guard let ssl = made, let input = memory.0, let output = memory.1 else {
            SSL_free(made)
            BIO_free(memory.0)
            BIO_free(memory.1)
            throw TLSError(.library, operation, cause: OpenSSL.takeErrors())
        }
        (self.ssl, self.input, self.output) = (ssl, input, output)
        ccrypto_bio_never_ends(input)
        ccrypto_bio_never_ends(output)
        SSL_set_bio(ssl, input, output)  // which now owns both
        SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
        SSL_set_msg_callback(ssl) { isOurs, _, kind, bytes, count, ssl, _ in
            guard isOurs == 0, kind == SSL3_RT_HANDSHAKE, count > 0, bytes?.load(as: UInt8.self) == UInt8(SSL3_MT_KEY_UPDATE),
                let ssl, let session = SSL_get_ex_data(ssl, 0)
            else { return }
            Unmanaged<TLSSession>.fromOpaque(session).takeUnretainedValue().keyUpdates += 1
        }
        switch role {
        case .server:
            switch context.clientCertificate {
            case .required: SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
            case .optional: SSL_set_verify(ssl, SSL_VERIFY_PEER, nil)
            case .none: SSL_set_verify(ssl, SSL_VERIFY_NONE, nil)
            }
            SSL_set_accept_state(ssl)
        case .client(let server):
            SSL_set_verify(ssl, SSL_VERIFY_PEER, nil)
            switch context.trust {
            case .serverName: try expect(server, operation)
            case .cluster, .pinned: ccrypto_send_no_chain(ssl)  // a member's server has the authorities
            }
            SSL_set_connect_state(ssl)
        }
    }

    deinit { SSL_free(ssl) }

    /// A name goes into the ClientHello and must be in the certificate; an address must be in the certificate.
    private func expect(_ server: String, _ operation: String) throws(TLSError) {
        let parameters = SSL_get0_param(ssl)
        if (try? SocketAddress(ipAddress: server, port: 0)) != nil {
            try OpenSSL.check(X509_VERIFY_PARAM_set1_ip_asc(parameters, server), operation)
        } else {
            // An empty name would switch the comparison off.
            guard !server.isEmpty, !server.utf8.contains(0) else { throw TLSError(.badName, operation, cause: "the server has no name") }
            X509_VERIFY_PARAM_set_hostflags(parameters, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
            try OpenSSL.check(X509_VERIFY_PARAM_set1_host(parameters, server, 0), operation)
            try OpenSSL.check(ccrypto_say_server_name(ssl, server), operation)
        }
    }

    /// The session on whose behalf OpenSSL verifies.
    static func of(_ store: OpaquePointer?) -> TLSSession? {
        guard let store, let ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()),
            let session = SSL_get_ex_data(OpaquePointer(ssl), 0)
        else { return nil }
        return Unmanaged<TLSSession>.fromOpaque(session).takeUnretainedValue()
    }

    /// Bytes from the peer; what of them is not a whole record waits in OpenSSL.
    func feed(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.isEmpty || BIO_write(input, bytes.baseAddress, Int32(clamping: bytes.count)) == Int32(clamping: bytes.count)
    }

    /// Bytes for the peer, appended to the buffer.
    func drain(into buffer: inout ByteBuffer) {
        var start: UnsafeMutablePointer<CChar>?
        let count = ccrypto_bio_contents(output, &start)
        guard count > 0, let start else { return }
        buffer.writeBytes(UnsafeRawBufferPointer(start: start, count: count))
        _ = BIO_ctrl(output, BIO_CTRL_RESET, 0, nil)
    }

    var hasOutput: Bool { ccrypto_bio_pending(output) > 0 }

    func handshake() -> Step {
        ERR_clear_error()
        let result = SSL_do_handshake(ssl)
        guard result != 1 else { return .done }
        return step(result)
    }

    /// Appends at most one record's plain bytes. With `done` there may be more.
    func read(into buffer: inout ByteBuffer) -> Step {
        ERR_clear_error()
        let before = buffer.readableBytes
        var result: Int32 = 0
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.recordBytes) { room in
            var count = 0
            result = SSL_read_ex(ssl, room.baseAddress, room.count, &count)
            return result == 1 ? count : 0
        }
        if result == 1 { received += buffer.readableBytes - before }
        return result == 1 ? .done : step(result)
    }

    /// Turns plain bytes into records.
    func write(_ bytes: UnsafeRawBufferPointer) -> Step {
        guard !bytes.isEmpty else { return .done }
        ERR_clear_error()
        var count = 0
        let result = SSL_write_ex(ssl, bytes.baseAddress, bytes.count, &count)
        guard result != 1 else { return count == bytes.count ? .done : .failed(failure(.library, "a record was written in part")) }
        return step(result)
    }

    /// Says that this side sends no more (close_notify). The other direction stays as it is (RFC 8446 section 6.1).
    func endWriting() {
        ERR_clear_error()
        _ = SSL_shutdown(ssl)
        ERR_clear_error()
    }

    private func step(_ result: Int32) -> Step {
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: return .needsInput
        case SSL_ERROR_ZERO_RETURN: return .ended
        default: return .failed(libraryFailure())
        }
    }

    func failure(_ code: TLSError.Code, _ cause: String) -> TLSError { TLSError(code, role.operation, cause: cause) }
}

extension TLSRole {
    var operation: String {
        switch self {
        case .server: return "accept a TLS connection"
        case .client(let server): return "connect with TLS to \(server)"
        }
    }
}
