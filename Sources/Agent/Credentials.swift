/// What this node shows to the others, and whom it believes: one file in the state directory, `node.pem`, with its private key, its certificate and the
/// cluster's authorities, in that order. The node that has the authority keeps its key in `authority.pem`.
import Fabric
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
    func context(_ cluster: String) throws -> TLSContext {
        try TLSContext(
            own: .init(certificate: certificate, key: key, chain: Array(authorities.prefix(1))),
            trust: .cluster(cluster, authorities: authorities), clientCertificate: .optional, now: { Int64(wallSeconds()) })
    }

    /// The same certificate, and whom else the cluster's record names. The own authority stays.
    func trusting(_ others: [Certificate]) -> Credentials {
        var new = self
        new.authorities = Array(authorities.prefix(1))
        for other in others where !new.authorities.contains(other) { new.authorities.append(other) }
        return new
    }
}

/// The cluster's certificate authority, on the node that has its key.
struct Signer: Sendable {
    static let file = "authority.pem"
    let authority: CertificateAuthority
    /// Seconds that a node's certificate is good for.
    let lifetime: Int

    static func load(_ files: StateDirectory, lifetime: Int) throws -> Signer? {
        guard let text = try files.read(file) else { return nil }
        do { return Signer(authority: try CertificateAuthority(certificate: text, key: text), lifetime: lifetime) } catch {
            throw AgentError(
                .setup, "read \(files.path(file))", cause: error.cause, remedy: "restore the file from a copy")
        }
    }

    static func make(_ files: StateDirectory, cluster: String, lifetime: Int) throws -> Signer {
        let authority = try CertificateAuthority.make(cluster: cluster, now: Int64(wallSeconds()))
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
