import CCrypto

/// A public key: its DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
package struct PublicKey: Sendable, Hashable {
    package let der: [UInt8]

    /// SHA-256 of the DER, 32 bytes: what a token pins.
    package var fingerprint: [UInt8] { Digest.sha256(der) }
    /// In hexadecimal digits.
    package var fingerprintText: String { Digest.hexadecimal(fingerprint) }

    init(_ key: OpaquePointer, _ operation: String) throws(TLSError) {
        der = try OpenSSL.bytes(operation) { i2d_PUBKEY_bio($0, key) }
    }

    /// As it is in the certificate, without OpenSSL's search for an encoder: that takes longer than a signature.
    init(ofCertificate certificate: OpaquePointer, _ operation: String) throws(TLSError) {
        let info = X509_get_X509_PUBKEY(certificate)
        let count = i2d_X509_PUBKEY(info, nil)
        guard let info, count > 0 else { throw TLSError(.malformed, operation, cause: OpenSSL.takeErrors()) }
        der = [UInt8](unsafeUninitializedCapacity: Int(count)) { room, written in
            var next = room.baseAddress
            written = Int(max(0, i2d_X509_PUBKEY(info, &next)))
        }
    }

    /// Lets `body` use the key as OpenSSL's object.
    func withKey<Result>(_ operation: String, _ body: (OpaquePointer) throws(TLSError) -> Result) throws(TLSError) -> Result {
        let key = try OpenSSL.reading(der, operation) { bio throws(TLSError) in
            try Owned(d2i_PUBKEY_bio(bio, nil), operation, .malformed) { EVP_PKEY_free($0) }
        }
        return try body(key.pointer)
    }
}

/// A node's or an authority's private key. Its bytes stay in OpenSSL's memory, which it overwrites when it frees them.
package final class PrivateKey: @unchecked Sendable {
    // SAFETY (@unchecked): an EVP_PKEY that nobody changes may be used by many threads at once (openssl-threads(7)), and nothing here changes it.
    let pointer: OpaquePointer

    private init(taking pointer: OpaquePointer) { self.pointer = pointer }

    deinit { EVP_PKEY_free(pointer) }

    /// A new ECDSA key on P-256.
    package static func generate() throws(TLSError) -> PrivateKey {
        guard let key = ccrypto_make_p256() else { throw TLSError(.library, "make a key", cause: OpenSSL.takeErrors()) }
        return PrivateKey(taking: key)
    }

    /// From PEM, PKCS#8 or the older forms, without a password. Of any kind that OpenSSL can use in TLS.
    package convenience init(pem: String) throws(TLSError) {
        let operation = "read a private key"
        let key = try OpenSSL.reading(Array(pem.utf8), operation) { bio throws(TLSError) in
            guard let key = PEM_read_bio_PrivateKey(bio, nil, noPassword, nil) else {
                throw TLSError(.malformed, operation, cause: "it holds no private key without a password (\(OpenSSL.takeErrors()))")
            }
            return key
        }
        self.init(taking: key)
    }

    /// PKCS#8 in PEM (RFC 5958, RFC 7468 section 10), not encrypted: keep it in a file that only root may read.
    package func pem() throws(TLSError) -> String {
        let bytes = try OpenSSL.bytes("write a private key") { PEM_write_bio_PKCS8PrivateKey($0, pointer, nil, nil, 0, nil, nil) }
        return String(decoding: bytes, as: UTF8.self)
    }

    package func publicKey() throws(TLSError) -> PublicKey { try PublicKey(pointer, "read a key's public half") }
}

/// SHA-256 (FIPS 180-4), and bytes as text.
package enum Digest {
    package static func sha256(_ bytes: [UInt8]) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: Int(SHA256_DIGEST_LENGTH))
        _ = SHA256(bytes, bytes.count, &digest)
        return digest
    }

    /// What `hexadecimal` gave; nil for anything else.
    package static func bytes(hexadecimal digits: String) -> [UInt8]? {
        let all = Array(digits.utf8)
        guard all.count % 2 == 0 else { return nil }
        func value(_ digit: UInt8) -> UInt8? {
            switch digit {
            case 0x30...0x39: digit - 0x30
            case 0x61...0x66: digit - 0x57
            default: nil
            }
        }
        var bytes: [UInt8] = []
        for start in stride(from: 0, to: all.count, by: 2) {
            guard let high = value(all[start]), let low = value(all[start + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    /// Two lower-case digits for each byte.
    package static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
