import CCrypto

/// An X.509 certificate (RFC 5280) as a value: its DER bytes, and what this program asks of them, read once.
package struct Certificate: Sendable, Hashable {
    package let der: [UInt8]
    package let publicKey: PublicKey
    /// Lower-case hexadecimal digits.
    package let serial: String
    /// Seconds since 1970, both included.
    package let notBefore: Int64
    package let notAfter: Int64
    /// The first common name of subject and issuer; empty without one.
    package let commonName: String
    package let issuerName: String
    /// The URIs of the subject alternative names, in order.
    package let uris: [String]
    /// It may sign other certificates.
    package let isAuthority: Bool

    /// SHA-256 of the public key (not of the certificate): it stays when the certificate is renewed with the same key.
    package var fingerprint: [UInt8] { publicKey.fingerprint }
    /// The fingerprint in hexadecimal digits.
    package var fingerprintText: String { Digest.hexadecimal(fingerprint) }
    /// The node that it is for, if it is one of a cluster.
    package var identity: PeerIdentity? { PeerIdentity(self) }

    package static func == (left: Certificate, right: Certificate) -> Bool { left.der == right.der }
    package func hash(into hasher: inout Hasher) { hasher.combine(der) }

    /// From DER; bytes after its end are an error.
    package init(der: [UInt8]) throws(TLSError) {
        let operation = "read a certificate"
        self = try OpenSSL.reading(der, operation) { bio throws(TLSError) in
            let parsed = try Owned(d2i_X509_bio(bio, nil), operation, .malformed) { X509_free($0) }
            guard ccrypto_bio_pending(bio) == 0 else { throw TLSError(.malformed, operation, cause: "more bytes follow the certificate") }
            return try Certificate(parsed.pointer)
        }
    }

    /// The first certificate of a PEM text.
    package init(pem: String) throws(TLSError) {
        self = try Certificate.all(pem: pem)[0]
    }

    /// All certificates of a PEM text, such as a file of authorities; at least one.
    package static func all(pem: String) throws(TLSError) -> [Certificate] {
        let operation = "read certificates"
        return try OpenSSL.reading(Array(pem.utf8), operation) { bio throws(TLSError) in
            var all: [Certificate] = []
            while let next = PEM_read_bio_X509(bio, nil, noPassword, nil) {
                let parsed = try Owned(next, operation) { X509_free($0) }
                all.append(try Certificate(parsed.pointer))
            }
            // The end shows as "no start line"; anything else is a damaged certificate after good ones.
            let error = ERR_peek_last_error()
            let isEnd = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE
            let cause = OpenSSL.takeErrors()
            guard isEnd, !all.isEmpty else { throw TLSError(.malformed, operation, cause: "it holds no certificate (\(cause))") }
            return all
        }
    }

    package func pem() throws(TLSError) -> String {
        let bytes = try withX509("write a certificate") { certificate throws(TLSError) in
            try OpenSSL.bytes("write a certificate") { PEM_write_bio_X509($0, certificate) }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The authority's key signed this certificate, and the names agree. The dates are not looked at.
    package func isIssued(by authority: Certificate) -> Bool {
        let result = try? withX509("check an issuer") { certificate throws(TLSError) in
            try authority.withX509("check an issuer") { issuer throws(TLSError) in
                guard X509_check_issued(issuer, certificate) == X509_V_OK, let key = X509_get0_pubkey(issuer) else { return false }
                return X509_verify(certificate, key) == 1
            }
        }
        ERR_clear_error()
        return result ?? false
    }

    init(_ certificate: OpaquePointer) throws(TLSError) {
        let operation = "read a certificate"
        guard X509_get0_pubkey(certificate) != nil else {
            throw TLSError(.malformed, operation, cause: "its public key cannot be read (\(OpenSSL.takeErrors()))")
        }
        der = try OpenSSL.bytes(operation) { i2d_X509_bio($0, certificate) }
        publicKey = try PublicKey(ofCertificate: certificate, operation)
        serial = try Certificate.digits(X509_get0_serialNumber(certificate), operation)
        notBefore = try CertificateTime.seconds(X509_get0_notBefore(certificate), operation)
        notAfter = try CertificateTime.seconds(X509_get0_notAfter(certificate), operation)
        commonName = Certificate.commonName(X509_get_subject_name(certificate))
        issuerName = Certificate.commonName(X509_get_issuer_name(certificate))
        let names = ccrypto_names(certificate)
        uris = Certificate.uris(names)
        GENERAL_NAMES_free(names)
        isAuthority = X509_check_ca(certificate) == 1
        ERR_clear_error()
    }

    /// Lets `body` use the certificate as OpenSSL's object.
    func withX509<Result>(_ operation: String, _ body: (OpaquePointer) throws(TLSError) -> Result) throws(TLSError) -> Result {
        let parsed = try OpenSSL.reading(der, operation) { bio throws(TLSError) in
            try Owned(d2i_X509_bio(bio, nil), operation, .malformed) { X509_free($0) }
        }
        return try body(parsed.pointer)
    }

    private static func digits(_ serial: UnsafePointer<ASN1_INTEGER>?, _ operation: String) throws(TLSError) -> String {
        let number = try Owned(ASN1_INTEGER_to_BN(serial, nil), operation, .malformed) { BN_free($0) }
        var bytes = [UInt8](repeating: 0, count: Int(BN_num_bits(number.pointer) + 7) / 8)
        _ = BN_bn2bin(number.pointer, &bytes)
        return Digest.hexadecimal(bytes)
    }

    private static func commonName(_ name: OpaquePointer?) -> String {
        let index = X509_NAME_get_index_by_NID(name, NID_commonName, -1)
        guard index >= 0, let entry = X509_NAME_get_entry(name, index), let data = X509_NAME_ENTRY_get_data(entry) else { return "" }
        var start: UnsafeMutablePointer<UInt8>?
        let count = ASN1_STRING_to_UTF8(&start, data)
        guard let start, count >= 0 else { return "" }
        defer { CRYPTO_free(start, #fileID, #line) }
        return String(decoding: UnsafeBufferPointer(start: start, count: Int(count)), as: UTF8.self)
    }

    /// Only what is text without control characters: a name with a zero byte in it would look like another one to C.
    static func uris(_ names: OpaquePointer?) -> [String] {
        guard let names else { return [] }
        return (0..<max(0, ccrypto_name_count(names))).compactMap { index in
            var count: Int32 = 0
            guard let start = ccrypto_name_uri(names, index, &count), count > 0 else { return nil }
            let bytes = UnsafeBufferPointer(start: start, count: Int(count))
            guard bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else { return nil }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}
