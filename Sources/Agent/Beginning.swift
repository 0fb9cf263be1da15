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
            membership = known.isMoved == true ? Self.followMoved(configuration.store, known) : try Self.follow(configuration.store, known)
            if membership.storeURL != known.storeURL { try membership.save(table) }
            credentials = try Credentials.load(files)
            try credentials?.check(node: node, cluster: membership.cluster, files)
            signer = try Signer.load(files, cluster: membership.cluster, lifetime: lifetime)
            if signer == nil, credentials == nil, membership.servesStore, membership.isSealed != true {
                // The first host of a cluster of version 0.1.
                signer = try Signer.make(files, cluster: membership.cluster, lifetime: lifetime)
            }
            try await renew(configuration, files, table)
            guard credentials != nil || known.token != nil else {
                throw AgentError(
                    .setup, "start", cause: "\(files.path(Credentials.file)), with this node's certificate, is missing",
                    remedy: "restore it from a copy; or remove this node on another host, run 'tulle reset' here and join again")
            }
            return
        }
        // Beside an authority it is what a first start left that was broken off.
        let isStray = try files.read(Credentials.file) != nil && files.read(Signer.file) == nil
        guard !isStray || configuration.join != nil else {
            throw AgentError(
                .setup, "start", cause: "\(files.path(Credentials.file)) is a node's certificate, and agent.db beside it knows no cluster",
                remedy: "restore agent.db from a copy; or join again with --join and --token; or, to begin a new cluster, move \(Credentials.file) away")
        }
        if let join = configuration.join {
            (membership, invitation, credentials) = try await Self.join(join, configuration, node, table)
            membership = try Self.follow(configuration.store, membership)
            try credentials?.save(files)
            try membership.save(table)
            try table.delete(Self.joiningKey)
            return
        }
        switch configuration.store {
        case .etcd(let url):
            membership = Membership(cluster: try await Self.newCluster(url, configuration))
            (membership.storeURL, membership.isFounding) = (url, true)
        case .embedded, nil: membership = Membership(cluster: try await Self.newStore(files))
        }
        let made = try Signer.make(files, cluster: membership.cluster, lifetime: lifetime)
        signer = made
        credentials = try made.credentials(node: node.description, name: configuration.nodeName)
        try credentials?.save(files)
        try membership.save(table)
    }

    /// A certificate that cannot be renewed any more by showing it: by the authority here, or with a token and the key that the cluster knows.
    private mutating func renew(_ configuration: Configuration, _ files: StateDirectory, _ table: LocalTable) async throws {
        guard credentials?.isGood(at: wallSeconds()) != true else { return }
        if let present = credentials, let join = configuration.join, let text = configuration.token, JoinToken.looksLike(text) {
            (_, _, credentials) = try await Joining.join(
                join, token: try JoinToken(parsing: text), node: node, name: configuration.nodeName, key: present.key)
        } else if let signer {
            // One that another took the place of signs nothing that anybody believes.
            var view = ClusterView()
            _ = try? Replica(path: files.path("replica.db"), log: Logger(label: "store")).load(into: &view)
            guard view.authority.map({ $0.fingerprint == signer.authority.certificate.fingerprintText }) ?? true else { return }
            credentials = try signer.credentials(node: node.description, name: configuration.nodeName)
        }
        try credentials?.save(files)
    }

    /// The store is the cluster's from now on.
    ///
    /// - Parameter isDone: false if it is another's: nothing was made, and the next start begins again.
    func founded(_ table: LocalTable, _ files: StateDirectory, _ isDone: Bool) throws {
        guard isDone else {
            try Membership.forget(table)
            for name in [Credentials.file, Signer.file] { files.remove(name) }
            return
        }
        var done = membership
        done.isFounding = nil
        try done.save(table)
    }

    private static func join(
        _ address: HTTPAddress, _ configuration: Configuration, _ node: NodeID, _ table: LocalTable
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
        return try await Joining.join(
            address, token: parsed, node: node, name: configuration.nodeName, key: try keyToJoin(table))
    }

    private static let joiningKey = "joining"

    /// Kept from before this host asks until it is let in: if the answer is lost, the next start asks with the same key, and takes no second use of
    /// the token.
    static func keyToJoin(_ table: LocalTable) throws -> PrivateKey {
        if let kept = try table.value(joiningKey), let key = try? PrivateKey(pem: String(decoding: kept, as: UTF8.self)) { return key }
        let key = try PrivateKey.generate()
        try table.put(joiningKey, Array(key.pem().utf8))
        try table.sync()
        return key
    }

    /// After a move by command: what `--store` said then is over, what it says newly of etcd counts.
    private static func followMoved(_ choice: StoreChoice?, _ membership: Membership) -> Membership {
        var membership = membership
        if case .etcd(let url) = choice, membership.storeURL != nil, url != membership.givenURL { membership.storeURL = url }
        return membership
    }

    /// What is set up, held to what the node remembers: etcd's address may change, the kind of store not.
    private static func follow(_ choice: StoreChoice?, _ membership: Membership) throws -> Membership {
        var membership = membership
        switch (choice, membership.storeURL) {
        case (nil, _), (.embedded, nil): break
        case (.etcd(let url), .some): membership.storeURL = url
        case (.etcd, nil), (.embedded, .some):
            throw AgentError(
                .setup, "start", cause: "the cluster of this node has \(membership.storeURL == nil ? "an agent's embedded store" : "its store in etcd"), and --store says otherwise",
                remedy: "leave --store out; 'tulle store migrate' moves a cluster to etcd")
        }
        return membership
    }

    /// Of a cluster whose store is to be in that etcd.
    /// - Returns: its id.
    private static func newCluster(_ url: String, _ configuration: Configuration) async throws -> String {
        let location = try EtcdLocation(parsing: url)
        let store = try StoreAccess.etcd(location, configuration)
        do {
            throw StoreAccess.taken(location, try await store.identity().cluster)
        } catch let error as StoreError where error.code == .missing {
            if let key = try await store.anyKey() {
                throw AgentError(
                    .setup, "make a cluster with its store at \(location)", cause: "below that prefix are keys of somebody else's, such as \(key)",
                    remedy: "give the address another prefix (etcd://HOST/PREFIX); nothing was written. If they are left of a cluster of tulle's, delete them first")
            }
            return NodeID(random: .random(in: .min ... .max)).description
        }
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
                remedy: "restore agent.db; or, to begin a new cluster, move store.db, \(Credentials.file) and \(Signer.file) away")
        }
        return cluster
    }
}
