/// A new epoch: a copy took the store's place (`tulle store promote`, `import`, `migrate`). What was acknowledged by the old one just before its end may be
/// missing in the copy, and what was given back may be in it still.
///
/// So each node first brings in what it holds by its own last view: networks, its blocks and addresses, removals; and gives up what the copy says it has and
/// it knows that it has not. Only then does it believe the copy, and says so in its own object (`epoch`). Until every node has, nobody takes a
/// block or a single address that looks free (`unheard`): nothing else could come from nodes that are away and still hold what
/// the copy does not know.
import Addressing
import Fabric
import Logging
import Store

extension Controller {
    /// - Parameter snapshot: the whole store.
    func bring(into snapshot: StoreSnapshot, epoch: UInt64) async throws {
        let copy = ClusterView(snapshot)
        for gone in view.removed.values where copy.removed[gone.id] == nil {
            try await alter(StoreKey.node(gone.id)) { (node: NodeObject) in
                var node = node
                node.removed = gone.removed
                return node
            }
        }
        var lost: [String: String] = [:]
        for network in view.networks.values {
            guard let known = copy.networks[network.id] else {
                if network.state != .removed, try await !restore(network) {
                    lost[network.id.short] =
                        "network \(network.displayName) was made just before the store was replaced, and its name or key is another's now: its containers keep what they have; remove them and the network"
                }
                continue
            }
            if network.state == .removed, known.state != .removed { try await bury(network) }
        }
        setProblems(under: "lost network ", lost)
        try await bringBlocks(copy, snapshot, epoch)
        for (id, addresses) in view.addresses {
            for (address, object) in addresses
            where object.node == me.id && copy.addresses[id]?[address] == nil && local.allocations[id]?[address] != nil {
                _ = try await put(StoreKey.address(id, address), object, if: [.exists(key: StoreKey.network(id))])
            }
        }
    }

    private func bringBlocks(_ copy: ClusterView, _ snapshot: StoreSnapshot, _ epoch: UInt64) async throws {
        for (id, blocks) in view.blocks {
            for (block, object) in blocks where object.node == me.id && !local.blocksGoing.contains(BlockKey(network: id, prefix: block)) {
                let key = StoreKey.block(id, block)
                if try await put(key, object, if: [.exists(key: StoreKey.network(id))]) { continue }
                guard let owner = copy.blocks[id]?[block]?.node, owner != me.id else { continue }
                // The one before us, who gave it back: it says so when it is heard. A removed one's are freed.
                let isHeard = (copy.nodes[owner]?.epoch ?? 1) >= epoch
                guard isHeard, copy.removed[owner] == nil else {
                    throw AgentError(
                        .storeAway, "bring block \(block) into the new store", cause: "it has it as \(view.nodes[owner]?.name ?? "\(owner)")'s, which was not heard yet",
                        remedy: "start that node's agent, or remove it with 'tulle node remove'")
                }
            }
        }
        let modified = Dictionary(snapshot.entries.map { ($0.key, $0.modified) }) { $1 }
        for (id, blocks) in copy.blocks {
            for (block, object) in blocks where object.node == me.id && view.blocks[id]?[block]?.node != me.id {
                let isUsed = (local.allocations[id] ?? [:]).contains { block.contains($0.key) && !$0.value.isSingle }
                let key = StoreKey.block(id, block)
                guard !isUsed, let modified = modified[key] else { continue }
                _ = try await store.commit(
                    StoreTransaction(conditions: [.unchanged(key: key, since: modified)], operations: [.delete(key: key)]))
            }
        }
    }

    /// A network that the copy lacks; false if its name or key is taken.
    private func restore(_ network: NetworkObject) async throws -> Bool {
        var network = network
        for _ in 0..<8 {
            let claims = [StoreKey.vni(network.vni), StoreKey.networkKey(network.key)]
                + (network.dockerID == nil ? network.name.map { [StoreKey.networkName($0)] } ?? [] : [])
            let keys = [StoreKey.network(network.id)] + claims
            let outcome = try await store.commit(
                StoreTransaction(
                    conditions: keys.map { .absent(key: $0) },
                    operations: [.put(key: keys[0], value: try StoredJSON.encode(network), lease: nil)]
                        + claims.map { .put(key: $0, value: reference(network.id), lease: nil) }))
            guard case .conflict(let failed) = outcome else {
                log.notice("network restored in the new store", metadata: ["network": "\(network.displayName)"])
                return true
            }
            // Another node brought it.
            if failed == .absent(key: keys[0]) { return true }
            guard failed == .absent(key: StoreKey.vni(network.vni)),
                let free = ClusterView(try await store.list(prefix: "")).freeVNI(base: settings.vniBase)
            else { return false }
            network.vni = free
        }
        return false
    }

    /// The tombstone of a network that the copy has alive.
    private func bury(_ network: NetworkObject) async throws {
        let claims = [StoreKey.vni(network.vni), StoreKey.networkKey(network.key)]
            + (network.dockerID == nil ? network.name.map { [StoreKey.networkName($0)] } ?? [] : [])
        let entries = try await store.list(prefix: "").entries
        // A name may be a later network's by now.
        let own = claims.filter { claim in entries.contains { $0.key == claim && $0.value == reference(network.id) } }
        let key = StoreKey.network(network.id)
        guard let entry = entries.first(where: { $0.key == key }) else { return }
        _ = try await store.commit(
            StoreTransaction(
                conditions: [.unchanged(key: key, since: entry.modified)],
                operations: [.put(key: key, value: try StoredJSON.encode(network, over: entry), lease: nil)] + own.map { .delete(key: $0) }))
    }

    /// False if the key is there.
    private func put(_ key: String, _ value: some Codable, if conditions: [StoreCondition]) async throws -> Bool {
        let outcome = try await store.commit(
            StoreTransaction(
                conditions: [.absent(key: key)] + conditions, operations: [.put(key: key, value: try StoredJSON.encode(value), lease: nil)]))
        if case .committed = outcome { return true }
        return false
    }

    /// By compare-and-swap, without the view, which is not of this store yet.
    private func alter<Value: Codable & Equatable>(_ key: String, _ change: (Value) -> Value) async throws {
        for _ in 0..<8 {
            guard let entry = try await store.list(prefix: key).entries.first(where: { $0.key == key }) else { return }
            let old = try StoredJSON.read(Value.self, entry.key, entry.value)
            let new = change(old)
            guard new != old else { return }
            let outcome = try await store.commit(
                StoreTransaction(
                    conditions: [.unchanged(key: key, since: entry.modified)],
                    operations: [.put(key: key, value: try StoredJSON.encode(new, over: entry), lease: entry.lease)]))
            if case .committed = outcome { return }
        }
    }

    // MARK: Who was not heard yet

    /// - Throws: while what looks free in the store may be somebody's.
    func requireAllHeard(_ operation: String) throws {
        let unheard = view.unheard
        guard let first = unheard.first else { return }
        throw AgentError(.storeAway, operation, cause: Self.unheardText(unheard), remedy: "start the agents there; or, if a node is gone for good: 'tulle node remove \(first.name)'")
    }

    static let unheardTopic = "unheard"

    func noteUnheard() {
        let unheard = view.unheard
        setProblem(
            Self.unheardTopic,
            unheard.first.map { "\(Self.unheardText(unheard)): start the agents there; or, if a node is gone for good, 'tulle node remove \($0.name)'" })
    }

    private static func unheardText(_ nodes: [NodeObject]) -> String {
        let names = nodes.prefix(5).map(\.name).joined(separator: ", ") + (nodes.count > 5 ? " and \(nodes.count - 5) more" : "")
        return "no node takes new addresses from what looks free, for \(names) \(nodes.count == 1 ? "was" : "were") not heard since the store was replaced"
    }
}

extension ClusterView {
    /// What is junk is left out.
    init(_ snapshot: StoreSnapshot) {
        self.init()
        for entry in snapshot.entries {
            if let object = try? Object(key: entry.key, value: entry.value) { _ = set(object) }
        }
    }
}
