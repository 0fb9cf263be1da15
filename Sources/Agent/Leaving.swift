/// How a node leaves its cluster by `tulle reset`: it removes itself from the store, as `tulle node remove` on another node does. Otherwise what
/// it held would be held for ever, and networks that its containers were on could not be removed.
import Fabric
import Store

enum Leaving {
    /// Keys that are written in one transaction: etcd takes 128 unless it is told otherwise.
    static let part = 100

    /// - Parameter store: the cluster's.
    static func leave(_ store: any Store, as node: NodeID, now: Int) async throws {
        let key = StoreKey.node(node)
        for _ in 0..<8 {
            let snapshot = try await store.list(prefix: "")
            var view = ClusterView()
            for entry in snapshot.entries {
                if let object = try? ClusterView.Object(key: entry.key, value: entry.value) { _ = view.set(object) }
            }
            // Nothing here uses it any more. The mark comes last: who has it is not answered.
            let keys = view.possessions(of: node)
            for start in stride(from: 0, to: keys.count, by: part) {
                let operations = keys[start..<min(start + part, keys.count)].map { StoreOperation.delete(key: $0) }
                _ = try await store.commit(StoreTransaction(operations: operations))
            }
            guard let entry = snapshot.entries.first(where: { $0.key == key }), var me = view.nodes[node] else { return }
            me.removed = now
            let transaction = StoreTransaction(
                conditions: [.unchanged(key: key, since: entry.modified)],
                operations: [.put(key: key, value: try StoredJSON.encode(me, over: entry.value), lease: nil)])
            do {
                if case .committed = try await store.commit(transaction) { return }
            } catch let error as StoreError where error.code == .removed {
                return
            }
        }
        throw AgentError(
            .storeAway, "leave the cluster", cause: "this node's record changed each time it was to be written",
            remedy: "see that no other agent runs under this node's identity")
    }
}

extension ClusterView {
    /// The keys of what a node holds, its own object left out.
    func possessions(of node: NodeID) -> [String] {
        var keys: [String] = []
        for (id, all) in blocks { keys += all.filter { $0.value.node == node }.map { StoreKey.block(id, $0.key) } }
        for (id, all) in addresses { keys += all.filter { $0.value.node == node }.map { StoreKey.address(id, $0.key) } }
        for (id, all) in endpoints { keys += all.filter { $0.value.node == node }.map { StoreKey.endpoint(id, $0.key) } }
        for (id, all) in requests { keys += all.filter { $0.value.from == node }.map { StoreKey.request(id, $0.key) } }
        if leases[node] != nil { keys.append(StoreKey.lease(node)) }
        if alive.contains(node) { keys.append(StoreKey.alive(node)) }
        return keys.sorted()
    }
}
