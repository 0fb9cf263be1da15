import CCrypto
import Synchronization

/// What a node shows, and whom it trusts: made once, never changed, shared by all connections that are made while it is current.
///
/// One connection: `TLSHandler` makes a `TLSSession` of the context that is current, feeds it the peer's bytes and sends what it answers.
/// Within the handshake OpenSSL asks for the peer's certificate to be judged (`TLSSession.judge`): its chain against `trust` at the context's
/// time, then the name in it, then the owner (`refusal`). A renewed certificate or a new set of authorities is a new context in the same `TLSContextSlot`.
package final class TLSContext: @unchecked Sendable {
    // SAFETY (@unchecked): after `init` the SSL_CTX is only used by SSL_new, which many threads may call at once; the rest are constants.
    let pointer: OpaquePointer
    let trust: Trust
    let clientCertificate: ClientCertificate
    let now: @Sendable () -> Int64
    let refusal: @Sendable (PeerIdentity?) -> String?

    /// Whose certificates are good.
    package enum Trust: Sendable {
        /// Nodes of that cluster, certified by one of its authorities.
        case cluster(String, authorities: [Certificate])
        /// A joiner: the server must show the authority whose key has this fingerprint (SHA-256, 32 bytes), and be certified by it.
        case pinned(fingerprint: [UInt8])
        /// A service of somebody else's, such as etcd: certified for the name or address that it was called by, by one of these, or, with
        /// nil, by one that the system trusts.
        case serverName(authorities: [Certificate]?)
    }

    /// What a server asks of its clients.
    package enum ClientCertificate: Sendable {
        case required, optional, none
    }

    /// What one shows oneself.
    package struct Own: Sendable {
        package var certificate: Certificate
        package var key: PrivateKey
        /// Sent after the certificate, but not by a member to a member's server, which has the authorities. With its authority in it a joiner
        /// can verify the server by the fingerprint alone.
        package var chain: [Certificate]

        package init(certificate: Certificate, key: PrivateKey, chain: [Certificate] = []) {
            self.certificate = certificate
            self.key = key
            self.chain = chain
        }
    }

    /// - Parameters:
    ///   - own: nil for a client that has no certificate (yet).
    ///   - clientCertificate: for the connections that this end accepts.
    ///   - now: seconds since 1970, asked once per handshake.
    ///   - refusal: why a peer with a good certificate is not let in (it was removed), or nil. Asked within the handshake, before the peer has
    ///     proved that it has the key: it must answer quickly, from memory, and change nothing. With nil for a client without a certificate.
    package init(
        own: Own?, trust: Trust, clientCertificate: ClientCertificate = .required, now: @escaping @Sendable () -> Int64,
        refusal: @escaping @Sendable (PeerIdentity?) -> String? = { _ in nil }
    ) throws(TLSError) {
        let operation = "set up TLS"
        guard let pointer = SSL_CTX_new(TLS_method()) else { throw TLSError(.library, operation, cause: OpenSSL.takeErrors()) }
        // From here on `deinit` frees it, also when this throws: all properties are set.
        self.pointer = pointer
        self.trust = trust
        self.clientCertificate = clientCertificate
        self.now = now
        self.refusal = refusal

        try OpenSSL.check(ccrypto_only_tls13(pointer), operation)
        ccrypto_limit_chain(pointer, 64 << 10)
        SSL_CTX_set_cert_verify_callback(pointer, { store, _ in TLSSession.of(store)?.judge(store) == true ? 1 : 0 }, nil)
        if let own { try show(own, operation) }

        let authorities: [Certificate]
        switch trust {
        case .cluster(_, let given): authorities = given
        case .serverName(.some(let given)):
            authorities = given
            // A file with only an intermediate authority is enough, as it is for etcd's own programs.
            try OpenSSL.check(X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(pointer), UInt(X509_V_FLAG_PARTIAL_CHAIN)), operation)
        case .pinned: authorities = []
        case .serverName(.none):
            authorities = []
            try OpenSSL.check(SSL_CTX_set_default_verify_paths(pointer), operation)
        }
        for authority in authorities {
            try authority.withX509(operation) { certificate throws(TLSError) in
                try OpenSSL.check(X509_STORE_add_cert(SSL_CTX_get_cert_store(pointer), certificate), operation)
            }
        }
        ERR_clear_error()
    }

    deinit { SSL_CTX_free(pointer) }

    private func show(_ own: Own, _ operation: String) throws(TLSError) {
        guard try own.key.publicKey() == own.certificate.publicKey else {
            throw TLSError(.keyMismatch, operation, cause: "the key is not that of the certificate \(own.certificate.commonName)")
        }
        try own.certificate.withX509(operation) { certificate throws(TLSError) in
            try OpenSSL.check(SSL_CTX_use_certificate(pointer, certificate), operation)
        }
        try OpenSSL.check(SSL_CTX_use_PrivateKey(pointer, own.key.pointer), operation)
        for next in own.chain {
            try next.withX509(operation) { certificate throws(TLSError) in
                try OpenSSL.check(ccrypto_add_chain(pointer, certificate), operation)
            }
        }
    }
}

/// The context that the next connection gets. Its owner replaces it when a certificate was renewed; connections keep the one they began with.
package final class TLSContextSlot: Sendable {
    private let slot: Mutex<TLSContext>

    package init(_ context: TLSContext) { slot = Mutex(context) }

    package var current: TLSContext {
        get { slot.withLock { $0 } }
        set { slot.withLock { $0 = newValue } }
    }
}
