/// How an agent begins: with what it remembers, or, at its very first start, by joining a cluster or making one.
///
///     agent.db       the node's id, the membership
///     node.pem       key and certificate, from the second kind of beginning on
///     authority.pem  the cluster's authority, on the host that made the cluster
import Fabric
import HTTP
import Logging
import Store
import TLS

struct Beginning: Sendable {
    var node: NodeID
    var membership: Membership
    /// Of a cluster that was joined just now.
    var invitation: ClusterInvitation?
    /// nil: a node of a cluster of version 0.1 that has yet to get a certificate.
    var credentials: Credentials?
    /// On the node that has the authority.
    var signer: Signer?

    init(_ configuration: Configuration, table: LocalTable, files: StateDirectory) async throws {
        node = try NodeID.kept(in: table)
        let lifetime = Int(configuration.certificateLifetime.components.seconds)
        if let known = try Membership.load(table) {
            membership = known
            credentials = try Credentials.load(files)
            signer = try Signer.load(files, lifetime: lifetime)
            // Of version 0.1: the cluster gets its authority where its store is, once.
            if signer == nil, credentials == nil, known.token != nil, known.isSealed != true, known.servesStore {
                let made = try Signer.make(files, cluster: known.cluster, lifetime: lifetime)
                signer = made
                credentials = try made.credentials(node: node.description, name: configuration.nodeName)
                try credentials?.save(files)
            }
            guard credentials != nil || known.token != nil else {
                throw AgentError(
                    .setup, "start", cause: "\(files.path(Credentials.file)), with this node's certificate, is missing",
                    remedy: "restore it from a copy; or remove this node on another host, run 'tulle reset' here and join again")
            }
            return
        }
        if let join = configuration.join {
            (membership, invitation, credentials) = try await Self.join(join, configuration, node)
            try credentials?.save(files)
            try membership.save(table)
            return
        }
        membership = Membership(cluster: try await Self.newStore(files))
        let made = try Signer.load(files, lifetime: lifetime) ?? Signer.make(files, cluster: membership.cluster, lifetime: lifetime)
        signer = made
        credentials = try made.credentials(node: node.description, name: configuration.nodeName)
        try credentials?.save(files)
        try membership.save(table)
    }

    private static func join(
        _ address: HTTPAddress, _ configuration: Configuration, _ node: NodeID
    ) async throws -> (Membership, ClusterInvitation, Credentials?) {
        guard let token = configuration.token else {
            throw AgentError(
                .setup, "join the cluster at \(address)", cause: "no token was given",
                remedy: "add --token with what 'tulle token create' prints on a host of the cluster")
        }
        guard JoinToken.looksLike(token) else {
            let (membership, invitation) = try await Joining.ask(address, token: token)
            return (membership, invitation, nil)
        }
        let parsed: JoinToken
        do { parsed = try JoinToken(parsing: token) } catch {
            throw AgentError(
                .setup, "join the cluster at \(address)", cause: error.cause,
                remedy: "copy the token again, whole, as 'tulle token create' printed it")
        }
        return try await Joining.join(address, token: parsed, node: node, name: configuration.nodeName)
    }

    /// - Returns: the cluster's id.
    private static func newStore(_ files: StateDirectory) async throws -> String {
        let store = try await EmbeddedStore.open(path: files.path("store.db"), create: true)
        let cluster = await store.identity().cluster
        let isUsed = try await store.list(prefix: "").revision > .zero
        await store.close()
        guard !isUsed else {
            throw AgentError(
                .setup, "start", cause: "\(files.path("store.db")) holds a cluster's record and agent.db beside it is missing",
                remedy: "restore agent.db; or, to begin a new cluster, move store.db away")
        }
        return cluster
    }
}
