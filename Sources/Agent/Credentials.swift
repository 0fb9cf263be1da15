/// What this node shows to the others, and whom it believes: one file in the state directory, `node.pem`, with its private key, its certificate and the
/// cluster's authorities, in that order. The node that has the authority keeps its key in `authority.pem`.
import Fabric
import Store
import TLS

struct Credentials: Sendable {
    static let file = "node.pem"
    var key: PrivateKey
    var certificate: Certificate
    /// The first is the certificate's own.
    var authorities: [Certificate]

    init(key: PrivateKey, certificate: Certificate, authorities: [Certificate]) {
        self.key = key
        self.certificate = certificate
        self.authorities = authorities
    }

    /// nil where there are none (yet).
    static func load(_ files: StateDirectory) throws -> Credentials? {
        guard let text = try files.read(file) else { return nil }
        do {
            let all = try Certificate.all(pem: text)
            guard let own = all.first, own.identity != nil, all.count > 1 else {
                throw TLSError(.malformed, "read it", cause: "it has no certificate of a node with its authority")
            }
            return Credentials(key: try PrivateKey(pem: text), certificate: own, authorities: Array(all.dropFirst()))
        } catch let error as TLSError {
            throw AgentError(
                .setup, "read \(files.path(file))", cause: error.cause,
                remedy: "restore the file from a copy; or remove the node on another host, run 'tulle reset' here and join again")
        }
    }

    func save(_ files: StateDirectory) throws {
        let all = [try key.pem(), try certificate.pem()] + (try authorities.map { try $0.pem() })
        try files.write(Self.file, all.joined())
    }

    /// For both ends: a server that asks for certificates and lets those without one as far as joining.
    func contexts(_ cluster: String) -> PeerKeys.Contexts {
        { refusal in
            try TLSContext(
                own: .init(certificate: certificate, key: key, chain: Array(authorities.prefix(1))),
                trust: .cluster(cluster, authorities: authorities), clientCertificate: .optional, now: { Int64(wallSeconds()) },
                refusal: refusal)
        }
    }

    /// It has begun and not ended.
    func isGood(at now: Int) -> Bool { (certificate.notBefore...certificate.notAfter).contains(Int64(now)) }

    /// It is time for the next one: a third of its life is left, or this host's clock was wrong when it was made.
    func isDue(at now: Int) -> Bool { !isGood(at: now) || Int64(now) >= certificate.renewal }

    /// - Throws: if they are not this node's of that cluster.
    func check(node: NodeID, cluster: String, _ files: StateDirectory) throws {
        guard certificate.identity?.node == node.description, certificate.identity?.cluster == cluster else {
            throw AgentError(
                .setup, "start", cause: "\(files.path(Self.file)) is the certificate of another node or cluster than \(files.path("agent.db")) names",
                remedy: "restore both from the same copy; or, to begin anew, run 'tulle reset'")
        }
        guard let own = authorities.first, certificate.isIssued(by: own) else {
            throw AgentError(
                .setup, "start", cause: "the certificate in \(files.path(Self.file)) is not signed by the authority in it",
                remedy: "restore the file from a copy")
        }
    }
}

extension Certificate {
    /// When to ask for the next one: a third of its time is left then. Seconds since 1970.
    var renewal: Int64 {
        // It begins earlier than it was made.
        let lifetime = notAfter - notBefore - CertificateAuthority.clockSkew
        return notAfter - max(lifetime, 3) / 3
    }
}

/// The cluster's certificate authority, on the node that has its key.
struct Signer: Sendable {
    static let file = "authority.pem"
    /// No clock that says less is right: 2026-11-21.
    private static let present: Int64 = 1_795_219_200
    let authority: CertificateAuthority
    /// Seconds that a node's certificate is good for.
    let lifetime: Int

    static func load(_ files: StateDirectory, cluster: String, lifetime: Int) throws -> Signer? {
        guard let text = try files.read(file) else { return nil }
        let authority: CertificateAuthority
        do { authority = try CertificateAuthority(certificate: text, key: text) } catch {
            throw AgentError(
                .setup, "read \(files.path(file))", cause: error.cause, remedy: "restore the file from a copy")
        }
        guard authority.cluster == cluster else {
            throw AgentError(
                .setup, "start", cause: "\(files.path(file)) is the authority of cluster \(authority.cluster), and this node belongs to \(cluster)",
                remedy: "put the right file back, or move this one away")
        }
        return Signer(authority: authority, lifetime: lifetime)
    }

    static func make(_ files: StateDirectory, cluster: String, lifetime: Int) throws -> Signer {
        // Good from the beginning of time: a clock that is wrong at this moment must not matter for ever.
        let end = max(Int64(wallSeconds()), Self.present) + CertificateAuthority.lifetime
        let authority = try CertificateAuthority.make(cluster: cluster, now: CertificateAuthority.clockSkew, lifetime: end)
        try files.write(file, try authority.key.pem() + authority.certificate.pem())
        return Signer(authority: authority, lifetime: lifetime)
    }

    /// As the store names it, at the node that has it.
    func object(_ node: NodeID) throws -> AuthorityObject {
        AuthorityObject(
            fingerprint: authority.certificate.fingerprintText, certificate: try authority.certificate.pem(), node: node, created: wallSeconds())
    }

    /// For the node's own key; nothing else of the request counts.
    func sign(_ request: CertificateRequest, node: String, name: String) throws -> Certificate {
        try authority.issue(for: request, node: node, name: name, lifetime: Int64(lifetime), now: Int64(wallSeconds()))
    }

    /// This node's own.
    func credentials(node: String, name: String) throws -> Credentials {
        let key = try PrivateKey.generate()
        let certificate = try authority.issue(
            for: try key.publicKey(), node: node, name: name, lifetime: Int64(lifetime), now: Int64(wallSeconds()))
        return Credentials(key: key, certificate: certificate, authorities: [authority.certificate])
    }
}
