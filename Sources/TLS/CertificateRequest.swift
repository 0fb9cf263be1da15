import CCrypto

/// A request for a certificate (PKCS#10, RFC 2986). It proves that the requester has the private key; what else it claims, an authority
/// does not copy.
package struct CertificateRequest: Sendable, Equatable {
    package let der: [UInt8]
    package let publicKey: PublicKey
    /// The URIs that the requester would like; a wish, nothing more.
    package let uris: [String]

    /// A request signed with the key.
    package init(key: PrivateKey, uri: String) throws(TLSError) {
        let operation = "request a certificate"
        let request = try Owned(X509_REQ_new(), operation) { X509_REQ_free($0) }
        try OpenSSL.check(X509_REQ_set_version(request.pointer, 0), operation)
        try OpenSSL.check(X509_REQ_set_pubkey(request.pointer, key.pointer), operation)
        try OpenSSL.check(ccrypto_request_uri(request.pointer, uri, Int32(uri.utf8.count)), operation)
        guard X509_REQ_sign(request.pointer, key.pointer, EVP_sha256()) > 0 else {
            throw TLSError(.library, operation, cause: OpenSSL.takeErrors())
        }
        try self.init(request.pointer, operation)
    }

    /// From DER, with the signature verified.
    package init(der: [UInt8]) throws(TLSError) {
        let operation = "read a request for a certificate"
        self = try OpenSSL.reading(der, operation) { bio throws(TLSError) in
            let request = try Owned(d2i_X509_REQ_bio(bio, nil), operation, .malformed) { X509_REQ_free($0) }
            guard ccrypto_bio_pending(bio) == 0 else { throw TLSError(.malformed, operation, cause: "more bytes follow the request") }
            return try CertificateRequest(request.pointer, operation)
        }
    }

    /// From PEM, with the signature verified.
    package init(pem: String) throws(TLSError) {
        let operation = "read a request for a certificate"
        self = try OpenSSL.reading(Array(pem.utf8), operation) { bio throws(TLSError) in
            let request = try Owned(PEM_read_bio_X509_REQ(bio, nil, noPassword, nil), operation, .malformed) { X509_REQ_free($0) }
            return try CertificateRequest(request.pointer, operation)
        }
    }

    private init(_ request: OpaquePointer, _ operation: String) throws(TLSError) {
        guard let key = X509_REQ_get0_pubkey(request) else {
            throw TLSError(.malformed, operation, cause: "its public key cannot be read (\(OpenSSL.takeErrors()))")
        }
        guard X509_REQ_verify(request, key) == 1 else {
            throw TLSError(.malformed, operation, cause: "it is not signed with its own key (\(OpenSSL.takeErrors()))")
        }
        der = try OpenSSL.bytes(operation) { i2d_X509_REQ_bio($0, request) }
        publicKey = try PublicKey(key, operation)
        let names = ccrypto_request_names(request)
        uris = Certificate.uris(names)
        GENERAL_NAMES_free(names)
        ERR_clear_error()
    }

    package func pem() throws(TLSError) -> String {
        let operation = "write a request for a certificate"
        let bytes = try OpenSSL.reading(der, operation) { bio throws(TLSError) in
            let request = try Owned(d2i_X509_REQ_bio(bio, nil), operation, .malformed) { X509_REQ_free($0) }
            let pointer = request.pointer
            return try OpenSSL.bytes(operation) { PEM_write_bio_X509_REQ($0, pointer) }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
