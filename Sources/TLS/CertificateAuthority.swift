import CCrypto

/// A cluster's own certificate authority.
///
/// A node makes a key that never leaves it, and sends a `CertificateRequest`. Whoever holds the authority decides, by a token or by the node's present
/// certificate, which node that is, and `issue` puts *that* name and the request's public key, nothing else of it, into a certificate.
package struct CertificateAuthority: Sendable {
    package let certificate: Certificate
    package let key: PrivateKey
    package let cluster: String

    package static let lifetime: Int64 = 10 * 365 * 86_400
    /// How much earlier than now a certificate begins, for nodes whose clocks are behind.
    package static let clockSkew: Int64 = 3600

    /// A new authority with a new key. Times in seconds since 1970.
    package static func make(
        cluster: String, now: Int64, lifetime: Int64 = CertificateAuthority.lifetime
    ) throws(TLSError) -> CertificateAuthority {
        let operation = "make the certificate authority of \(cluster.prefix(60))"
        guard NodeName.isCluster(cluster) else { throw NodeName.badCluster(cluster) }
        let key = try PrivateKey.generate()
        let draft = try Draft(key: key.pointer, name: "tulle \(cluster)", now: now, end: now.addingReportingOverflow(lifetime).partialValue, operation)
        let pointer = draft.certificate.pointer
        try OpenSSL.check(X509_set_issuer_name(pointer, X509_get_subject_name(pointer)), operation)
        try draft.add(NID_basic_constraints, "critical,CA:TRUE,pathlen:0")
        try draft.add(NID_key_usage, "critical,keyCertSign,cRLSign")
        try draft.add(NID_subject_key_identifier, "hash")
        try draft.add(NID_authority_key_identifier, "keyid:always")
        try draft.add(uri: NodeName.authorityURI(cluster: cluster))
        return CertificateAuthority(certificate: try draft.signed(by: key), key: key, cluster: cluster)
    }

    private init(certificate: Certificate, key: PrivateKey, cluster: String) {
        self.certificate = certificate
        self.key = key
        self.cluster = cluster
    }

    /// As `certificate.pem()` and `key.pem()` gave it.
    package init(certificate pem: String, key keyText: String) throws(TLSError) {
        let operation = "read the certificate authority"
        let certificate = try Certificate(pem: pem)
        let key = try PrivateKey(pem: keyText)
        guard try key.publicKey() == certificate.publicKey else {
            throw TLSError(.keyMismatch, operation, cause: "the key is not that of the certificate")
        }
        guard certificate.isAuthority, let cluster = NodeName.cluster(ofAuthority: certificate) else {
            throw TLSError(.malformed, operation, cause: "the certificate is not of a cluster's authority")
        }
        self.init(certificate: certificate, key: key, cluster: cluster)
    }

    /// That certificate is of an authority of that cluster.
    package static func isAuthority(_ certificate: Certificate, of cluster: String) -> Bool {
        certificate.isAuthority && NodeName.cluster(ofAuthority: certificate) == cluster
    }

    /// A certificate for a node: for both ends of TLS, and ending no later than the authority itself.
    ///
    /// - Parameters:
    ///   - name: the host's name, for people; cut to the 64 characters that a common name may have.
    ///   - lifetime: seconds from now.
    package func issue(
        for publicKey: PublicKey, node: String, name: String, lifetime: Int64, now: Int64
    ) throws(TLSError) -> Certificate {
        let operation = "issue a certificate for node \(node.prefix(60))"
        let identity = try NodeName(cluster: cluster, node: node)
        guard lifetime > 0 else { throw TLSError(.badName, operation, cause: "a lifetime of \(lifetime) s is none") }
        let common = name.isEmpty ? identity.node : name
        return try publicKey.withKey(operation) { subject throws(TLSError) in
            guard try PublicKey.isP256(subject) else {
                throw TLSError(.malformed, operation, cause: "the key is not an ECDSA key on P-256")
            }
            return try certificate.withX509(operation) { issuer throws(TLSError) in
                let end = min(now.addingReportingOverflow(lifetime).partialValue, certificate.notAfter)
                let draft = try Draft(key: subject, name: common, now: now, end: end, operation, issuer: issuer)
                try OpenSSL.check(X509_set_issuer_name(draft.certificate.pointer, X509_get_subject_name(issuer)), operation)
                try draft.add(NID_basic_constraints, "critical,CA:FALSE")
                try draft.add(NID_key_usage, "critical,digitalSignature")
                try draft.add(NID_ext_key_usage, "serverAuth,clientAuth")
                try draft.add(NID_subject_key_identifier, "hash")
                try draft.add(NID_authority_key_identifier, "keyid:always")
                try draft.add(uri: identity.uri)
                return try draft.signed(by: key)
            }
        }
    }

    /// For the key of a request, and for nothing else that it claims.
    package func issue(
        for request: CertificateRequest, node: String, name: String, lifetime: Int64, now: Int64
    ) throws(TLSError) -> Certificate {
        try issue(for: request.publicKey, node: node, name: name, lifetime: lifetime, now: now)
    }
}

/// A certificate before it is signed.
private struct Draft: ~Copyable {
    let certificate: Owned<OpaquePointer>
    private let operation: String
    private let issuer: OpaquePointer?

    init(
        key: OpaquePointer, name: String, now: Int64, end: Int64, _ operation: String, issuer: OpaquePointer? = nil
    ) throws(TLSError) {
        self.operation = operation
        self.issuer = issuer
        certificate = try Draft.make(key: key, name: name, now: now, end: end, operation)
    }

    private static func make(
        key: OpaquePointer, name: String, now: Int64, end: Int64, _ operation: String
    ) throws(TLSError) -> Owned<OpaquePointer> {
        let certificate = try Owned(X509_new(), operation) { X509_free($0) }
        let pointer = certificate.pointer
        let begin = max(0, now) - CertificateAuthority.clockSkew
        guard now >= 0, begin < end, end <= CertificateTime.latest else {
            throw TLSError(.badName, operation, cause: "a certificate cannot be valid from \(begin) to \(end) seconds after 1970")
        }
        try OpenSSL.check(X509_set_version(pointer, 2), operation)  // 2 is version 3
        try OpenSSL.check(X509_set_pubkey(pointer, key), operation)
        guard ASN1_TIME_set(X509_getm_notBefore(pointer), time_t(begin)) != nil, ASN1_TIME_set(X509_getm_notAfter(pointer), time_t(end)) != nil
        else { throw TLSError(.library, operation, cause: OpenSSL.takeErrors()) }
        // 128 random bits (RFC 5280 section 4.1.2.2: positive, at most 20 bytes).
        var generator = SystemRandomNumberGenerator()
        let random = (0..<16).map { UInt8.random(in: ($0 == 0 ? 1 : 0)...255, using: &generator) }
        let number = try Owned(BN_bin2bn(random, 16, nil), operation) { BN_free($0) }
        guard BN_to_ASN1_INTEGER(number.pointer, X509_get_serialNumber(pointer)) != nil else {
            throw TLSError(.library, operation, cause: OpenSSL.takeErrors())
        }
        let common = Array(String(name.unicodeScalars.prefix(64)).utf8)
        let subject = X509_get_subject_name(pointer)
        try OpenSSL.check(
            X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, common, Int32(common.count), -1, 0), operation)
        return certificate
    }

    func add(_ extension: Int32, _ value: String) throws(TLSError) {
        // An authority is its own issuer.
        try OpenSSL.check(ccrypto_add_extension(certificate.pointer, issuer ?? certificate.pointer, `extension`, value), operation)
    }

    func add(uri: String) throws(TLSError) {
        try OpenSSL.check(ccrypto_add_uri(certificate.pointer, uri, Int32(uri.utf8.count)), operation)
    }

    func signed(by key: PrivateKey) throws(TLSError) -> Certificate {
        guard X509_sign(certificate.pointer, key.pointer, EVP_sha256()) > 0 else {
            throw TLSError(.library, operation, cause: OpenSSL.takeErrors())
        }
        // Read anew from its bytes, as every other node will.
        return try Certificate(der: try OpenSSL.bytes(operation) { i2d_X509_bio($0, certificate.pointer) })
    }
}

extension PublicKey {
    fileprivate static func isP256(_ key: OpaquePointer) throws(TLSError) -> Bool {
        guard EVP_PKEY_is_a(key, "EC") == 1 else { return false }
        var name = [CChar](repeating: 0, count: 80)
        var count = 0
        guard EVP_PKEY_get_group_name(key, &name, name.count, &count) == 1 else { return false }
        return ["prime256v1", "P-256"].contains(String(decoding: name.prefix(count).map(UInt8.init(bitPattern:)), as: UTF8.self))
    }
}
