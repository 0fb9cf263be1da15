/// The commands that put another store in the place of the cluster's: `tulle store promote`, `import` and `migrate`. Each makes a whole store of the next epoch,
/// and then points this agent to it; the others follow (`Succession`), and bring in what they hold (`Controller+Epoch.swift`).
///
///     promote   the newest copy that any living node has   →  this agent
///     import    a file of `tulle store export`             →  this agent, or an etcd that lost it
///     migrate   the store itself, which takes no more      →  etcd
import Fabric
import Glibc
import HTTP
import LocalAPI
import Logging
import Store
import TLS

/// `GET /v1/replica` between agents: how new a node's copy of the store is. `GET /v1/replica/copy` is the copy, a `StoreSnapshot`.
struct ReplicaState: Codable, Hashable, Sendable {
    static let path = "/v1/replica"
    static let copyPath = "/v1/replica/copy"
    var cluster: String
    var epoch: UInt64
    var revision: Revision
}

/// `POST /v1/cluster/reach` between agents: whether that agent could use etcd there. Status 200, or 409 with the reason.
struct EtcdReach: Codable, Sendable {
    static let path = "/v1/cluster/reach"
    var url: String

    /// nil: etcd answers, with the key of a store or without.
    static func failure(_ url: String, _ configuration: Configuration) async -> String? {
        do {
            _ = try await StoreAccess.etcd(try EtcdLocation(parsing: url), configuration).identity()
            return nil
        } catch let error as StoreError where error.code == .missing {
            return nil
        } catch { return "\(error)" }
    }
}

struct StoreMoving: Sendable {
    let access: StoreAccess
    let succession: Succession
    let files: StateDirectory
    let listener: PeerListener
    /// Of nodes' certificates, in seconds.
    let lifetime: Int
    let announcement: StoreAnnouncement

    private var controller: Controller { succession.controller }
    private var cluster: String { succession.cluster }

    /// No node has seen revisions or numbers as high: what is remembered of the former store cannot be taken for the new one's.
    private static let step: UInt64 = 1_000_000

    /// Two nodes that are cut off from each other and both promote must not get the same.
    private static func epoch(after last: UInt64) -> UInt64 { (last / step + 1) * step + .random(in: 1..<step) }

    /// No higher one is believed, nor any higher revision: there must be room for the next.
    static let mostEpoch: UInt64 = 1 << 50

    // MARK: promote

    /// This agent serves the store from now on, with what the node knows that was the last to hear of it.
    func promote() async throws -> StoreMoveReport {
        let operation = "promote this node's copy of the store"
        guard !access.isServed else {
            throw AgentError(.invalid, operation, cause: "this agent serves the cluster's store", remedy: "run it on another node, when this one is lost")
        }
        try await expectStoreLost(operation)
        let others = try await askOthers(operation)
        let silent = others.filter { $0.state == nil }.map(\.node)
        let mine = try await controller.replicaState()
        let best = others.filter { $0.state?.epoch == mine.epoch }.max { ($0.state?.revision ?? .zero) < ($1.state?.revision ?? .zero) }
        var (source, copy) = ("this node", try controller.replica.snapshot())
        if let best, let state = best.state, state.revision > copy.revision {
            do { (source, copy) = (best.node.name, try await self.copy(of: best.node)) } catch {
                throw AgentError(
                    .storeAway, operation, cause: "\(best.node.name) has the newest copy and does not hand it over: \(error)",
                    remedy: "try again; without that node's agent the next best copy is taken")
            }
        }
        let report = try await begin(with: copy, after: mine.epoch, from: source, silent: Set(silent.map(\.id)), operation)
        return report.with(silent: silent.map(\.name))
    }

    /// How far each other node has got; nil where none answers. None may be further than this one's epoch: then there is a newer store already.
    private func askOthers(_ operation: String) async throws -> [(node: NodeObject, state: ReplicaState?)] {
        let nodes = await controller.view.nodes.values.filter { $0.id != controller.identity.node }.sorted { $0.name < $1.name }
        let epoch = await controller.viewEpoch
        let all = await states(of: nodes).map { node, state in
            (node: node, state: state.flatMap { $0.cluster == cluster && max($0.epoch, $0.revision.number) <= Self.mostEpoch ? $0 : nil })
        }
        if let ahead = all.first(where: { ($0.state?.epoch ?? 0) > epoch }) {
            throw AgentError(
                .conflict, operation, cause: "\(ahead.node.name) follows a newer store (epoch \(ahead.state?.epoch ?? 0))",
                remedy: "wait: this node will follow it too; or, if that one is lost as well, run the command there")
        }
        return all
    }

    /// One that answers and is believed is not lost.
    private func expectStoreLost(_ operation: String) async throws {
        guard await controller.distrust == nil else { return }
        let store: any Store = access.locator.map { locator in RemoteStore(timeout: .seconds(2)) { locator.client } } ?? access.store
        guard let identity = try? await store.identity(), identity.cluster == cluster else { return }
        throw AgentError(
            .conflict, operation, cause: "the store at \(access.description) answers",
            remedy: "to move it, stop the agent there first and start it when this is done; it will follow")
    }

    private func states(of nodes: [NodeObject]) async -> [(NodeObject, ReplicaState?)] {
        await withTaskGroup(of: (NodeObject, ReplicaState?).self) { group in
            for node in nodes {
                group.addTask {
                    let answer = try? await ask(node, ReplicaState.path, within: .seconds(2))
                    return (node, answer.flatMap { try? StoredJSON.decode(ReplicaState.self, $0) })
                }
            }
            return await group.reduce(into: []) { $0.append($1) }.sorted { $0.0.name < $1.0.name }
        }
    }

    private func copy(of node: NodeObject) async throws -> StoreSnapshot {
        try StoredJSON.decode(StoreSnapshot.self, try await ask(node, ReplicaState.copyPath, within: .seconds(20)))
    }

    private func ask(_ node: NodeObject, _ path: String, within limit: Duration) async throws -> [UInt8] {
        guard let address = ConfigurationValue.join(node.agent) else { throw StoreError(.unreachable, "ask \(node.name)", cause: "its address is none") }
        let answer = try await PeerClient(address, keys: succession.keys, expecting: { node.id.description }).send(HTTPRequest("GET", path), timeout: limit)
        guard answer.status == 200 else { throw answer.failure ?? StoreError(.badAnswer, "ask \(node.name)", cause: "status \(answer.status)") }
        return answer.body
    }

    /// Makes this agent's store of that copy; it is served when the agent has begun anew.
    ///
    /// - Parameter silent: nodes that do not answer.
    private func begin(
        with copy: StoreSnapshot, after last: UInt64, from source: String, silent: Set<NodeID>, _ operation: String
    ) async throws -> StoreMoveReport {
        guard max(last, copy.revision.number, await controller.viewRevision.number) <= Self.mostEpoch else {
            throw AgentError(.invalid, operation, cause: "the copy's revision or epoch is none", remedy: "take another copy")
        }
        let identity = StoreIdentity(cluster: cluster, epoch: Self.epoch(after: last))
        let me = controller.identity.node
        var entries = try renewed(copy, identity, storeNode: me, operation)
        if await isAuthorityLost(ClusterView(copy), silent) {
            // What the lost one signed is good until it ends.
            let object = try newAuthority(operation)
            entries = try entries.map { try Self.retired($0) }
            entries.append(Self.entry(StoreKey.authority(object.fingerprint), try StoredJSON.encode(object)))
        }
        let revision = Revision(max(copy.revision, await controller.viewRevision).number + Self.step)
        let snapshot = StoreSnapshot(revision: revision, entries: entries.sorted { $0.key < $1.key })
        try await EmbeddedStore.make(path: files.path("store.db"), identity, snapshot)
        try succession.remember { membership in
            (membership.storeURL, membership.storeHost, membership.storePort, membership.storeNode) = (nil, nil, nil, nil)
        }
        succession.log.notice(
            "this agent takes the cluster's store over", metadata: ["epoch": "\(identity.epoch)", "revision": "\(copy.revision.number)", "from": "\(source)"])
        succession.beginAnew()
        return StoreMoveReport(cluster: cluster, epoch: identity.epoch, revision: copy.revision.number, source: source, place: "this node")
    }

    /// Its key is where nobody answers, or is not where the copy says.
    private func isAuthorityLost(_ copy: ClusterView, _ silent: Set<NodeID>) async -> Bool {
        guard let authority = copy.authority, let node = await controller.view.nodes[authority.node] else { return true }
        guard node.id == controller.identity.node else { return silent.contains(node.id) || copy.cluster?.storeNode == node.id }
        return (try? Signer.load(files, cluster: cluster, lifetime: lifetime))??.authority.certificate.fingerprintText != authority.fingerprint
    }

    /// The entries as the next epoch begins with them: nobody has shown a sign of life in it, or brought anything.
    private func renewed(_ copy: StoreSnapshot, _ identity: StoreIdentity, storeNode: NodeID?, _ operation: String) throws -> [StoreEntry] {
        try copy.entries.filter { !$0.key.hasPrefix(StoreKey.alive) }.map { entry in
            if entry.key.hasPrefix(StoreKey.nodes), var node = try? StoredJSON.decode(NodeObject.self, entry.value), node.epoch != nil {
                node.epoch = nil
                return Self.entry(entry.key, try StoredJSON.encode(node, over: entry))
            }
            guard entry.key == StoreKey.cluster else { return entry }
            var object = try StoredJSON.read(ClusterObject.self, entry.key, entry.value)
            guard object.id == cluster, object.isSealed == true else {
                throw AgentError(
                    .storeRefused, operation, cause: object.id == cluster ? "agents of version 0.1 are in the cluster still" : "the copy is of cluster \(object.id)",
                    remedy: object.id == cluster ? "bring the store's host back and upgrade them first" : "take one of cluster \(cluster)")
            }
            (object.storeNode, object.epoch) = (storeNode, identity.epoch)
            return Self.entry(entry.key, try StoredJSON.encode(object, over: entry))
        }.requiring(StoreKey.cluster, operation)
    }

    private static func retired(_ entry: StoreEntry) throws -> StoreEntry {
        guard entry.key.hasPrefix(StoreKey.authorities), var object = try? StoredJSON.decode(AuthorityObject.self, entry.value), object.retired == nil
        else { return entry }
        object.retired = wallSeconds()
        return Self.entry(entry.key, try StoredJSON.encode(object, over: entry))
    }

    private static func entry(_ key: String, _ value: [UInt8]) -> StoreEntry {
        StoreEntry(key: key, value: value, created: .zero, modified: .zero, lease: nil)
    }

    // MARK: The authority

    /// This node signs from now on. What the one before signed is good until it ends.
    func takeAuthority() async throws -> AuthorityReport {
        let operation = "take the certificate authority over"
        try await controller.requireStore(operation)
        let me = controller.identity.node
        let view = await controller.view
        guard view.cluster?.isSealed == true else {
            throw AgentError(.storeRefused, operation, cause: "agents of version 0.1 are in the cluster still", remedy: "upgrade them first")
        }
        guard view.authority?.node != me else {
            throw AgentError(.invalid, operation, cause: "this node is where it is: it has it", remedy: "run it on another node, when this one is lost")
        }
        let entries = try await access.store.list(prefix: StoreKey.authorities).entries
        let object = try newAuthority(operation)
        let old = try entries.map { ($0, try Self.retired($0)) }.filter { $0.0 != $0.1 }
        let transaction = StoreTransaction(
            conditions: old.map { .unchanged(key: $0.0.key, since: $0.0.modified) },
            operations: old.map { .put(key: $0.1.key, value: $0.1.value, lease: nil) }
                + [.put(key: StoreKey.authority(object.fingerprint), value: try StoredJSON.encode(object), lease: nil)])
        guard try await controller.commit(transaction, operation) != nil else {
            throw AgentError(.conflict, operation, cause: "another node took it at this moment", remedy: "see 'tulle nodes'; try again if need be")
        }
        succession.log.notice("this node has the cluster's certificate authority now", metadata: ["fingerprint": "\(object.fingerprint)"])
        succession.beginAnew()
        return AuthorityReport(node: await controller.me.name, fingerprint: object.fingerprint)
    }

    /// With this node's word for it, by which the others believe it.
    private func newAuthority(_ operation: String) throws -> AuthorityObject {
        guard let credentials = try Credentials.load(files) else {
            throw AgentError(.setup, operation, cause: "this node has no certificate", remedy: "run it on another node")
        }
        let signer = try Signer.make(files, cluster: cluster, lifetime: lifetime)
        var object = try signer.object(controller.identity.node)
        object.voucher = try Belief.voucher(for: signer.authority, by: credentials)
        return object
    }

    // MARK: export, import

    /// All of the store at one revision.
    func export() async throws -> StoreBackup {
        let operation = "export the store"
        do {
            let identity = try await access.store.identity()
            let snapshot = try await access.store.list(prefix: "")
            return StoreBackup(
                cluster: identity.cluster, epoch: identity.epoch, revision: snapshot.revision.number, time: .now(),
                entries: snapshot.entries.filter { !$0.key.hasPrefix(StoreKey.alive) }.compactMap { entry in
                    String(validating: entry.value, as: UTF8.self).map { .init(key: entry.key, value: $0) }
                })
        } catch let error as StoreError {
            throw AgentError(.storeAway, operation, cause: "\(error)", remedy: "see 'tulle status'")
        }
    }

    func `import`(_ backup: StoreBackup) async throws -> StoreMoveReport {
        let operation = "import a store"
        guard backup.v == 1 else {
            throw AgentError(.invalid, operation, cause: "the file has format \(backup.v), this version knows 1", remedy: "use the version of tulle that made it")
        }
        guard backup.cluster == cluster else {
            throw AgentError(
                .storeRefused, operation, cause: "the file is of cluster \(backup.cluster), this node belongs to \(cluster)", remedy: "take the right file")
        }
        let isOver = await access.isServed ? controller.distrust != nil : true
        guard isOver else {
            throw AgentError(.conflict, operation, cause: "this agent serves the cluster's store, and it is sound", remedy: "an import replaces a store that is lost or damaged")
        }
        try await expectStoreLost(operation)
        let silent = Set(try await askOthers(operation).filter { $0.state == nil }.map(\.node.id))
        // A token that was revoked or used since would open the cluster again.
        let entries = backup.entries.filter { !$0.key.hasPrefix(StoreKey.tokens) }
        guard Set(entries.map(\.key)).count == entries.count, max(backup.epoch, backup.revision) <= Self.mostEpoch else {
            throw AgentError(.invalid, operation, cause: "the file has a key twice, or its revision or epoch is none", remedy: "take another one")
        }
        let copy = StoreSnapshot(
            revision: Revision(backup.revision), entries: entries.map { Self.entry($0.key, Array($0.value.utf8)) }.sorted { $0.key < $1.key })
        _ = try renewed(copy, StoreIdentity(cluster: cluster, epoch: 1), storeNode: nil, operation)
        let last = max(backup.epoch, await controller.viewEpoch)
        guard case .external(let etcd, let location) = access else {
            await access.embedded?.close()
            return try await begin(with: copy, after: last, from: "the file", silent: silent, operation)
        }
        // etcd answers, and is empty.
        let identity = StoreIdentity(cluster: cluster, epoch: Self.epoch(after: last))
        try await fill(etcd, location, identity, copy, operation)
        return StoreMoveReport(cluster: cluster, epoch: identity.epoch, revision: copy.revision.number, source: "the file", place: location.description)
    }

    // MARK: migrate

    /// Moves the store that this agent serves to etcd. Writes wait meanwhile; traffic does not.
    func migrate(to url: String) async throws -> StoreMoveReport {
        let operation = "move the store to etcd"
        guard let store = access.embedded else {
            throw AgentError(
                .invalid, operation, cause: "this agent does not serve the store, which is at \(access.description)",
                remedy: access.locator == nil ? "to move etcd itself, add members and remove the old ones with etcdctl" : "run it on \(await servingNode())")
        }
        guard await controller.distrust == nil, await controller.view.cluster?.isSealed == true else {
            throw AgentError(.storeRefused, operation, cause: "the store is not believed, or agents of version 0.1 are in the cluster", remedy: "see 'tulle status'")
        }
        let location: EtcdLocation
        do { location = try EtcdLocation(parsing: url) } catch { throw AgentError(.invalid, operation, cause: error.cause, remedy: error.remedy) }
        let etcd = try StoreAccess.etcd(location, succession.configuration)
        try await expectReach(url, operation)
        let place = StorePlace(
            await listener.advertised, epoch: Self.epoch(after: await controller.viewEpoch), node: controller.identity.node, url: url)
        await store.freeze("the store is being moved to etcd")
        do {
            let copy = try await store.list(prefix: "")
            let identity = StoreIdentity(cluster: cluster, epoch: place.epoch ?? 1)
            try await fill(etcd, location, identity, copy, operation)
            try succession.remember { membership in
                membership.storeURL = url
                (membership.storeHost, membership.storePort, membership.storeNode) = (nil, nil, nil)
            }
            let silent = await announcement.tellAtOnce(place, controller.otherAgents(), rounds: 1)
            let names = await controller.names(of: silent)
            succession.beginAnew()
            return StoreMoveReport(
                cluster: cluster, epoch: identity.epoch, revision: copy.revision.number, source: "this node", place: location.description, silent: names)
        } catch {
            await store.freeze(nil)
            throw error
        }
    }

    /// Every living node must be able to follow.
    private func expectReach(_ url: String, _ operation: String) async throws {
        let (nodes, alive) = await (controller.view.nodes, controller.view.alive)
        if let failure = await EtcdReach.failure(url, succession.configuration) {
            throw AgentError(.storeAway, operation, cause: failure, remedy: "nothing was changed; mend that and try again")
        }
        let body = try StoredJSON.encode(EtcdReach(url: url))
        let failures = await withTaskGroup(of: String?.self) { group in
            for node in nodes.values where alive.contains(node.id) && node.id != controller.identity.node {
                group.addTask {
                    guard let address = ConfigurationValue.join(node.agent) else { return nil }
                    let client = PeerClient(address, keys: succession.keys, expecting: { node.id.description })
                    do {
                        let answer = try await client.send(HTTPRequest("POST", EtcdReach.path, body: body), timeout: .seconds(10))
                        return answer.status == 200 ? nil : "\(node.name): \(String(decoding: answer.body, as: UTF8.self))"
                    } catch { return "\(node.name): \(error)" }
                }
            }
            return await group.reduce(into: [String]()) { if let failure = $1 { $0.append(failure) } }
        }
        guard failures.isEmpty else {
            throw AgentError(
                .storeAway, operation, cause: "not every node could follow: \(failures.sorted().prefix(5).joined(separator: "; "))",
                remedy: "nothing was changed; mend that, or stop those agents, and try again")
        }
    }

    private func servingNode() async -> String {
        let view = await controller.view
        return view.cluster?.storeNode.flatMap { view.nodes[$0]?.name } ?? "the node that serves it"
    }

    /// The cluster's object comes last: without it nobody takes what is there for a store.
    private func fill(_ etcd: EtcdStore, _ location: EtcdLocation, _ identity: StoreIdentity, _ copy: StoreSnapshot, _ operation: String) async throws {
        do {
            let owner = try await etcd.found(identity)
            guard owner == identity else {
                throw AgentError(
                    .conflict, operation, cause: "cluster \(owner.cluster) has \(owner.cluster == cluster ? "an earlier try of this command" : "its store") there",
                    remedy: owner.cluster == cluster
                        ? "if no agent uses it, delete what is there ('etcdctl del --prefix \(location.prefix)') and try again"
                        : "give the address another prefix")
            }
            let entries = try renewed(copy, identity, storeNode: nil, operation)
            let last = entries.filter { $0.key == StoreKey.cluster }
            let rest = entries.filter { $0.key != StoreKey.cluster }
            for start in stride(from: 0, to: rest.count, by: Leaving.part / 2) {
                try await put(rest[start..<min(start + Leaving.part / 2, rest.count)], etcd)
            }
            try await put(last[...], etcd)
        } catch let error as StoreError {
            throw AgentError(
                .storeAway, operation, cause: "\(error)",
                remedy: "nothing was changed here; mend that, delete what is in etcd ('etcdctl del --prefix \(location.prefix)') and try again")
        }
    }

    private func put(_ entries: ArraySlice<StoreEntry>, _ store: EtcdStore) async throws {
        let outcome = try await store.commit(
            StoreTransaction(
                conditions: entries.map { .absent(key: $0.key) }, operations: entries.map { .put(key: $0.key, value: $0.value, lease: nil) }))
        if case .conflict(let condition) = outcome {
            throw StoreError(.foreign, "fill the store", cause: "something is there already (\(condition))", remedy: "Give the address another prefix.")
        }
    }
}

extension [StoreEntry] {
    fileprivate func requiring(_ key: String, _ operation: String) throws -> Self {
        guard contains(where: { $0.key == key }) else {
            throw AgentError(.storeRefused, operation, cause: "the copy lacks the cluster's own object", remedy: "take another copy")
        }
        return self
    }
}

extension Controller {
    func replicaState() throws -> ReplicaState {
        ReplicaState(cluster: expectedCluster, epoch: try replica.epoch(), revision: try replica.revision())
    }

    func names(of agents: [HTTPAddress]) -> [String] {
        let all = Set(agents.map(\.description))
        return view.nodes.values.filter { node in ConfigurationValue.join(node.agent).map { all.contains($0.description) } ?? false }.map(\.name).sorted()
    }
}
