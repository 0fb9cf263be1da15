/// `tulle store migrate`: the embedded store becomes etcd's.
import Fabric
import HTTP
import LocalAPI
import Store

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

extension StoreMoving {
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
            await listener.advertised, epoch: NewStore.epoch(after: await controller.viewEpoch), node: controller.identity.node, url: url)
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

    func servingNode() async -> String {
        let view = await controller.view
        return view.cluster?.storeNode.flatMap { view.nodes[$0]?.name } ?? "the node that serves it"
    }

    /// The cluster's object comes last: without it nobody takes what is there for a store.
    ///
    /// - Parameter remedy: after a failure; nil: to clear away what is there.
    func fill(
        _ etcd: EtcdStore, _ location: EtcdLocation, _ identity: StoreIdentity, _ copy: StoreSnapshot, _ operation: String, remedy: String? = nil
    ) async throws {
        do {
            let owner = try await etcd.found(identity)
            guard owner == identity else {
                throw AgentError(
                    .conflict, operation, cause: "cluster \(owner.cluster) has \(owner.cluster == cluster ? "an earlier try of this command" : "its store") there",
                    remedy: remedy ?? (owner.cluster == cluster
                        ? "if no agent uses it, delete what is there ('etcdctl del --prefix \(location.prefix)') and try again"
                        : "give the address another prefix"))
            }
            let entries = try new.renewed(copy, identity, storeNode: nil, operation)
            let last = entries.filter { $0.key == StoreKey.cluster }
            let rest = entries.filter { $0.key != StoreKey.cluster }
            for start in stride(from: 0, to: rest.count, by: Leaving.part / 2) {
                try await put(rest[start..<min(start + Leaving.part / 2, rest.count)], etcd)
            }
            try await put(last[...], etcd)
        } catch let error as StoreError {
            throw AgentError(
                .storeAway, operation, cause: "\(error)",
                remedy: remedy ?? "nothing was changed here; mend that, delete what is in etcd ('etcdctl del --prefix \(location.prefix)') and try again")
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
