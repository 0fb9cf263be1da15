/// How a node leaves its cluster by `tulle reset`: it removes itself from the store, as `tulle node remove` on another node does. Otherwise what
/// it held would be held for ever, and networks that its containers were on could not be removed.
import Fabric
import Store

enum Leaving {
    /// Keys that are written in one transaction: etcd takes 128 unless it is told otherwise.
    static let part = 100

    /// - Parameter store: the cluster's.
    static func leave(_ store: any Store, as node: NodeID, now: Int) async throws {
        do {
            // Nothing here uses it any more. The mark comes last: who has it is not answered.
            _ = try await clear(store, after: [node])
            let key = StoreKey.node(node)
            for _ in 0..<8 {
                guard let entry = try await store.list(prefix: key).entries.first(where: { $0.key == key }) else { return }
                var me = try StoredJSON.read(NodeObject.self, key, entry.value)
                me.removed = now
                let transaction = StoreTransaction(
                    conditions: [.unchanged(key: key, since: entry.modified)],
                    operations: [.put(key: key, value: try StoredJSON.encode(me, over: entry), lease: nil)])
                if case .committed = try await store.commit(transaction) { return }
            }
        } catch let error as StoreError where error.code == .removed {
            return
        }
        throw AgentError(
            .storeAway, "leave the cluster", cause: "this node's record changed each time it was to be written",
            remedy: "see that no other agent runs under this node's identity")
    }

    /// Deletes what nodes hold, each key only as it was read: whoever took it since keeps it.
    ///
    /// - Returns: the revision of the last deletion.
    static func clear(_ store: any Store, after nodes: Set<NodeID>) async throws -> Revision {
        var last = Revision.zero
        for _ in 0..<8 {
            let snapshot = try await store.list(prefix: "")
            let keys = Set(ClusterView(snapshot).possessions(of: nodes))
            let entries = snapshot.entries.filter { keys.contains($0.key) }
            guard !entries.isEmpty else { return last }
            for start in stride(from: 0, to: entries.count, by: part / 2) {
                let some = entries[start..<min(start + part / 2, entries.count)]
                let outcome = try await store.commit(
                    StoreTransaction(
                        conditions: some.map { .unchanged(key: $0.key, since: $0.modified) }, operations: some.map { .delete(key: $0.key) }))
                if case .committed(let revision) = outcome { last = revision }
            }
        }
        throw AgentError(
            .storeAway, "free what removed nodes held", cause: "it changed each time it was to be deleted", remedy: "it is tried again")
    }
}

extension ClusterView {
    /// The keys of what nodes hold, their own objects left out; one pass over the view, for it is asked after each change.
    func possessions(of nodes: Set<NodeID>) -> [String] {
        guard !nodes.isEmpty else { return [] }
        var keys: [String] = []
        for (id, all) in blocks { keys += all.filter { nodes.contains($0.value.node) }.map { StoreKey.block(id, $0.key) } }
        for (id, all) in addresses { keys += all.filter { nodes.contains($0.value.node) }.map { StoreKey.address(id, $0.key) } }
        for (id, all) in endpoints { keys += all.filter { nodes.contains($0.value.node) }.map { StoreKey.endpoint(id, $0.key) } }
        for (id, all) in groups { keys += all.filter { nodes.contains($0.key) }.map { StoreKey.groups(id, $0.key) } }
        for (id, all) in requests { keys += all.filter { nodes.contains($0.value.from) }.map { StoreKey.request(id, $0.key) } }
        // Nobody else can name them, and what others made with the same subnet waits for that name.
        for network in networks.values where network.state == .pending && network.dockerID == nil && nodes.contains(network.origin) {
            keys += [StoreKey.network(network.id)] + network.claims
        }
        keys += nodes.filter { leases[$0] != nil }.map(StoreKey.lease)
        keys += nodes.filter(alive.contains).map(StoreKey.alive)
        return keys.sorted()
    }
}
