/// Keeps this node's certificate good: asks for a first certificate (a node of version 0.1), for the next one before the
/// present ends, refuses nodes that were removed; and, where the authority is, closes the door that agents of version 0.1 used,
/// once every node has a certificate.
import Fabric
import HTTP
import Logging
import Store
import TLS
import Telemetry

actor CertificateKeeper {
    private let controller: Controller
    private let keys: PeerKeys
    private let listener: PeerListener
    private let files: StateDirectory
    private let table: LocalTable
    /// Of this host, which may be one that another took the place of.
    private let signer: Signer?
    private let log: Logger
    private var membership: Membership
    private var credentials: Credentials?

    init(_ beginning: Beginning, controller: Controller, keys: PeerKeys, listener: PeerListener, files: StateDirectory, table: LocalTable, log: Logger) {
        self.controller = controller
        self.keys = keys
        self.listener = listener
        self.files = files
        self.table = table
        self.log = log
        signer = beginning.signer
        membership = beginning.membership
        credentials = beginning.credentials
    }

    /// Until cancelled.
    func run() async {
        while !Task.isCancelled {
            var pause = Duration.seconds(60)
            let seen = await controller.trust()
            keys.refuse(await controller.removedNodes())
            var failures: [String] = []
            for step in [trust, keep, publish, seal] {
                do { try await step() } catch { failures.append("\(error)") }
            }
            let left = credentials.map { Int($0.certificate.renewal) - wallSeconds() } ?? 0
            pause = left > 0 && failures.isEmpty ? min(pause, .seconds(left)) : .seconds(5)
            let end = credentials.map { ", which ends in \(max(0, Int($0.certificate.notAfter) - wallSeconds()) / 3600) h" } ?? ""
            if await controller.isStoreReachable || credentials?.isDue(at: wallSeconds()) ?? false {
                await controller.setProblem("certificate", failures.first.map { "this node's certificate\(end): \($0)" })
            }
            await controller.waitForTrust(otherThan: seen, within: pause)
        }
    }

    /// Believes authorities that took over: for a time nodes have certificates of both.
    private func trust() async throws {
        guard var new = credentials else { return }
        new.authorities = await controller.belief().extend(new.authorities)
        guard new.authorities.map(\.fingerprintText) != credentials?.authorities.map(\.fingerprintText) else { return }
        try keys.set(new.contexts(membership.cluster))
        try new.save(files)
        credentials = new
        log.notice("the cluster's authorities changed", metadata: ["count": "\(new.authorities.count)"])
    }

    private func activeSigner() async -> Signer? {
        guard let signer, await controller.maySign(signer.authority.certificate.fingerprintText) else { return nil }
        return signer
    }

    private func keep() async throws {
        let issuer = credentials?.authorities.first?.fingerprintText
        let isSuperseded = if let issuer { await controller.isSuperseded(issuer) } else { false }
        if isSuperseded || credentials?.isDue(at: wallSeconds()) ?? true { try await renew() }
        if let tls = try keys.server(log) { await listener.secure(tls) }
        await controller.setTrust(
            credentials?.certificate.fingerprintText, authority: credentials?.authorities.first?.fingerprintText,
            believed: try credentials?.authorities.map { try $0.pem() } ?? [])
    }

    /// By this node's own authority, or by the one that has it.
    private func renew() async throws {
        let (id, name) = await (controller.me.id, controller.me.name)
        if let signer = await activeSigner() {
            var new = try signer.credentials(node: id.description, name: name)
            new.authorities += (credentials?.authorities ?? []).filter { $0.publicKey != signer.authority.certificate.publicKey }
            return try adopt(new)
        }
        guard let (node, address) = await controller.authorityPlace() else {
            // A cluster of version 0.1 has none.
            guard credentials != nil else { return }
            throw AgentError(
                .setup, "renew the certificate", cause: "the node that has the cluster's authority is not known",
                remedy: "see 'tulle nodes'; the host that made the cluster has it")
        }
        let key = try PrivateKey.generate()
        let order = CertificateOrder(node: id, name: name, request: try CertificateRequest(key: key, uri: "tulle:\(id)").pem())
        let answer = try await PeerClient(address, keys: keys, expecting: { node }).send(
            HTTPRequest("POST", CertificateOrder.path, body: try StoredJSON.encode(order)), timeout: .seconds(5))
        if answer.status == 404 { return }  // Of version 0.1 still.
        if let failure = answer.failure, answer.status != 200 { throw failure }
        let made = try StoredJSON.decode(CertificateAnswer.self, answer.body)
        try adopt(try Credentials(key, made.certificate, made.authorities, node: id))
        log.notice("this node has a new certificate", metadata: ["ends": "\(credentials?.certificate.notAfter ?? 0)"])
    }

    /// Saved when it is known to be good.
    private func adopt(_ new: Credentials) throws {
        guard new.isGood(at: wallSeconds()), new.certificate.identity?.cluster == membership.cluster,
            credentials.map({ known in new.authorities.first.map { one in known.authorities.contains { $0.publicKey == one.publicKey } } ?? false }) ?? true
        else {
            throw AgentError(
                .setup, "take the node's new certificate", cause: "it is of another authority or cluster, or its dates are not those of this host's clock",
                remedy: "set the clocks of both hosts (NTP)")
        }
        try keys.set(new.contexts(membership.cluster))
        try new.save(files)
        credentials = new
    }

    private func publish() async throws {
        guard let signer = await activeSigner() else { return }
        try await controller.publish(try signer.object(controller.identity.node))
        try await controller.forgetRetired(after: signer.lifetime)
        try await controller.forgetRemoved(after: signer.lifetime)
    }

    private func seal() async throws {
        guard membership.isSealed != true else { return }
        if await activeSigner() != nil { try await controller.sealIfAllCan() }
        guard await controller.view.cluster?.isSealed == true, credentials != nil else { return }
        membership.isSealed = true
        membership.token = nil
        // The rest of it may have changed meanwhile.
        var stored = try Membership.load(table) ?? membership
        (stored.isSealed, stored.token) = (true, nil)
        try stored.save(table)
        keys.forgetToken()
        log.notice("every node has a certificate: the shared secret opens nothing any more")
    }
}

extension PeerKeys {
    /// For this node's TCP port; nil before its first certificate.
    func server(_ log: Logger) throws -> HTTPServerTLS? {
        guard let slot = try slot() else { return nil }
        var tls = HTTPServerTLS(slot, alsoPlain: token != nil)
        let limiter = RepeatLimiter(interval: .seconds(60))
        tls.failed = { error, place in
            limiter.log(
                to: log, .info, key: "\(error.code)", "a connection to this agent was not secure", metadata: ["from": "\(place)", "error": "\(error)"])
        }
        return tls
    }
}

/// What, when it changes, gives `CertificateKeeper` something to do. Compared after each change of the view, so it must cost little in a large cluster.
struct Trust: Hashable, Sendable {
    var removed: Int
    var authorities: Set<String>
    var nodes: Int
    /// Nodes with a certificate; not counted any more once the cluster is sealed.
    var certified: Int?
}

extension Controller {
    func trust() -> Trust {
        let isSealed = view.cluster?.isSealed == true
        return Trust(
            removed: view.removed.count, authorities: Set(view.authorities.keys), nodes: view.nodes.count,
            certified: isSealed ? nil : view.nodes.values.count { $0.fingerprint != nil })
    }

    func waitForTrust(otherThan seen: Trust, within limit: Duration) async {
        _ = await wait(within: limit) { $0.trust() != seen }
    }

    /// UUIDs, as certificates have them.
    func removedNodes() -> Set<String> { Set(view.removed.keys.map(\.description)) }

    func setTrust(_ fingerprint: String?, authority: String?, believed: [String]) {
        shownAuthority = authority
        self.believed = believed
        guard me.fingerprint != fingerprint else { return }
        me.fingerprint = fingerprint
        viewChanged()
    }

    /// Whether that authority, of this node, is the one that signs. Where there is none yet it may become it.
    func maySign(_ fingerprint: String) -> Bool { view.authority.map { $0.fingerprint == fingerprint } ?? view.authorities.isEmpty }

    /// Retired ones by which nobody's certificate is any more.
    func forgetRetired(after lifetime: Int) async throws {
        let limit = wallSeconds() - 2 * lifetime
        let old = view.authorities.values.filter { ($0.retired ?? .max) < limit }.map(\.fingerprint)
        guard !old.isEmpty, isStoreReachable, distrust == nil else { return }
        _ = try await commit(StoreTransaction(operations: old.map { .delete(key: StoreKey.authority($0)) }), "forget retired authorities")
    }

    /// This node's authority, for all to know.
    func publish(_ object: AuthorityObject) async throws {
        guard isStoreReachable, distrust == nil, view.cluster != nil, view.authorities.isEmpty else { return }
        let key = StoreKey.authority(object.fingerprint)
        _ = try await commit(
            StoreTransaction(
                conditions: [.absent(key: key)], operations: [.put(key: key, value: try StoredJSON.encode(object), lease: nil)]),
            "publish the cluster's authority")
    }

    func sealIfAllCan() async throws {
        guard isStoreReachable, distrust == nil, let cluster = view.cluster, cluster.isSealed != true, view.nodes[me.id] != nil else { return }
        let old = view.nodes.values.filter { $0.fingerprint == nil }.map(\.name).sorted()
        setProblem(
            "old agents",
            old.isEmpty ? nil : "agents of an older version join with the shared secret still, on \(old.joined(separator: ", ")): upgrade them, or remove those nodes")
        guard old.isEmpty else { return }
        // Nobody registers meanwhile.
        let seen = viewRevision
        guard let entry = try await store.list(prefix: StoreKey.cluster).entries.first(where: { $0.key == StoreKey.cluster }) else { return }
        var sealed = try StoredJSON.read(ClusterObject.self, entry.key, entry.value)
        sealed.isSealed = true
        _ = try await commit(
            StoreTransaction(
                conditions: [.unchanged(key: StoreKey.cluster, since: entry.modified), .quiet(prefix: StoreKey.nodes, since: seen)],
                operations: [.put(key: StoreKey.cluster, value: try StoredJSON.encode(sealed, over: entry), lease: nil)]),
            "seal the cluster")
    }
}
