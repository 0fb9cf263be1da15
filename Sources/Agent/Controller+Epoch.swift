/// A new epoch: a copy took the store's place (`tulle store promote`, `import`, `migrate`). What was acknowledged by the old one just before its end may be
/// missing in the copy, and what was given back may be in it still.
///
/// So each node brings its part before it believes the copy: first it makes known whom and what it knows (nodes, removals, authorities), then
/// it gives up what the copy says it has and it has not, then it claims what it has: networks, its blocks with the single addresses in them, its
/// own single addresses. Only then does it say so in its own object (`epoch`). Until every node has, nobody takes a block or a single
/// address that looks free (`unheard`): nothing else could come from nodes that are away and hold what the copy does not know.
import Addressing
import Fabric
import Logging
import Store

extension Controller {
    /// - Parameter snapshot: the whole store.
    func bring(into snapshot: StoreSnapshot, epoch: UInt64) async throws {
        let copy = ClusterView(snapshot)
        try await introduce(copy)
        try await giveUp(copy, snapshot)
        for network in view.networks.values where network.state == .removed && copy.networks[network.id].map({ $0.state != .removed }) ?? false {
            try await bury(network)
        }
        var lost: [String: String] = [:]
        for network in view.networks.values where copy.networks[network.id] == nil {
            // A pending one is its origin's alone, and a tombstone needs no successor.
            guard network.state == .active || (network.state == .pending && network.origin == me.id) else { continue }
            guard try await !restore(network) else { continue }
            lost[network.id.short] =
                "network \(network.displayName) was made just before the store was replaced, and its name or key is another's now: its containers keep what they have; remove them and the network"
        }
        setProblems(under: "lost network ", lost)
        try await claim(copy, epoch)
    }

    /// Who and whom this node knows and the copy does not. A node that nobody had heard of would not be missed (`unheard`).
    private func introduce(_ copy: ClusterView) async throws {
        for gone in view.removed.values where copy.removed[gone.id] == nil {
            let key = StoreKey.node(gone.id)
            guard try await !put(key, gone) else { continue }
            try await alter(key) { (node: NodeObject) in
                var node = node
                node.removed = gone.removed
                return node
            }
        }
        for node in view.nodes.values where copy.nodes[node.id] == nil && copy.removed[node.id] == nil { _ = try await put(StoreKey.node(node.id), node) }
        if copy.authority != nil {
            for authority in view.authorities.values where copy.authorities[authority.fingerprint] == nil {
                var old = authority
                old.retired = old.retired ?? wallSeconds()
                _ = try await put(StoreKey.authority(old.fingerprint), old)
            }
        }
    }

    /// What this node gave back after the copy was made, or was giving back.
    private func giveUp(_ copy: ClusterView, _ snapshot: StoreSnapshot) async throws {
        let modified = Dictionary(snapshot.entries.map { ($0.key, $0.modified) }) { $1 }
        func delete(_ key: String) async throws {
            guard let modified = modified[key] else { return }
            _ = try await store.commit(StoreTransaction(conditions: [.unchanged(key: key, since: modified)], operations: [.delete(key: key)]))
        }
        for (id, blocks) in copy.blocks {
            for (block, object) in blocks where object.node == me.id {
                let going = BlockKey(network: id, prefix: block)
                guard !isUsed(block, of: id), local.blocksGoing.contains(going) || view.blocks[id]?[block]?.node != me.id else { continue }
                try await delete(StoreKey.block(id, block))
            }
        }
        for (id, addresses) in copy.addresses {
            for (address, object) in addresses where object.node == me.id && local.allocations[id]?[address] == nil {
                try await delete(StoreKey.address(id, address))
            }
        }
    }

    private func isUsed(_ block: IPPrefix, of id: NetworkID) -> Bool {
        (local.allocations[id] ?? [:]).contains { block.contains($0.key) && !$0.value.isSingle }
    }

    // MARK: Claims

    private func claim(_ copy: ClusterView, _ epoch: UInt64) async throws {
        for (id, blocks) in ownBlocks(copy) {
            let known = Set(try await store.list(prefix: StoreKey.network(id)).entries.map(\.key)).contains(StoreKey.network(id))
            guard known else { continue }
            for (block, object) in blocks {
                // Others' single addresses in it, so that none of them is given again: this node's view has them all.
                for (address, single) in view.addresses[id] ?? [:] where block.contains(address) && single.node != me.id {
                    guard copy.addresses[id]?[address] == nil, view.removed[single.node] == nil, copy.removed[single.node] == nil else { continue }
                    _ = try await put(StoreKey.address(id, address), single)
                }
                for (address, allocation) in local.allocations[id] ?? [:] where block.contains(address) {
                    guard let borrower = allocation.lentTo, view.removed[borrower] == nil, copy.removed[borrower] == nil else { continue }
                    _ = try await put(StoreKey.address(id, address), AddressObject(node: borrower))
                }
                if copy.blocks[id]?[block]?.node == me.id { continue }
                try await take(StoreKey.block(id, block), object, epoch) { (other: BlockObject) in other.node }
            }
        }
        for (id, addresses) in view.addresses {
            // One that no container has may be on its way back.
            for (address, object) in addresses where object.node == me.id && local.allocations[id]?[address]?.endpoint != nil {
                if copy.addresses[id]?[address]?.node == me.id { continue }
                try await take(StoreKey.address(id, address), object, epoch) { (other: AddressObject) in other.node }
            }
        }
    }

    /// By the view, and by what was given from them: a replica may be lost.
    private func ownBlocks(_ copy: ClusterView) -> [NetworkID: [IPPrefix: BlockObject]] {
        // One that is on its way back may be another's by now, unless something was given from it.
        var own: [NetworkID: [IPPrefix: BlockObject]] = [:]
        for (id, blocks) in view.blocks {
            own[id] = blocks.filter { block, object in
                object.node == me.id && (!local.blocksGoing.contains(BlockKey(network: id, prefix: block)) || isUsed(block, of: id))
            }
        }
        for (id, allocations) in local.allocations {
            guard let network = view.networks[id] ?? copy.networks[id] else { continue }
            for (address, allocation) in allocations where !allocation.isSingle {
                guard let subnet = network.subnet(containing: address) else { continue }
                let block = Allocation.block(of: address, in: subnet)
                guard view.blocks[id]?[block] == nil else { continue }
                own[id, default: [:]][block] = BlockObject(node: me.id, fence: 1)
            }
        }
        return own
    }

    /// Makes a key of this node's object. It may be another's still, who gave it up after the copy was made: then it is waited for until that node was heard, or removed.
    private func take<Value: Codable>(_ key: String, _ value: Value, _ epoch: UInt64, owner: (Value) -> NodeID) async throws {
        for _ in 0..<8 {
            if try await put(key, value) { return }
            guard let entry = try await store.list(prefix: key).entries.first(where: { $0.key == key }) else { continue }
            let other = owner(try StoredJSON.read(Value.self, key, entry.value))
            if other == me.id { return }
            let node = try await store.list(prefix: StoreKey.node(other)).entries.first.map { try StoredJSON.read(NodeObject.self, $0.key, $0.value) }
            if let node, node.removed == nil, view.removed[other] == nil {
                // It has given up what it gives up, so this is its own by right; `reclaim` tells whom that cuts off.
                if (node.epoch ?? 1) >= epoch { return }
                throw AgentError(
                    .storeAway, "bring \(key) into the new store", cause: "it is \(node.name)'s there, which was not heard yet",
                    remedy: "start the agent there; or, if that node is gone for good, 'tulle node remove \(node.name)'")
            }
            _ = try await store.commit(
                StoreTransaction(
                    conditions: [.unchanged(key: key, since: entry.modified)], operations: [.put(key: key, value: try StoredJSON.encode(value), lease: nil)]))
        }
        throw AgentError(.storeAway, "bring \(key) into the new store", cause: "it changed each time it was to be written", remedy: "it is tried again")
    }

    // MARK: Networks

    /// A network that the copy lacks; false if its name or key is taken.
    private func restore(_ network: NetworkObject) async throws -> Bool {
        var network = network
        for _ in 0..<8 {
            let claims = network.claims
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
                let free = ClusterView(try await store.list(prefix: "")).nextVNI(base: settings.vniBase)
            else { return false }
            network.vni = free
        }
        return false
    }

    /// The tombstone of a network that the copy has alive.
    private func bury(_ network: NetworkObject) async throws {
        let entries = try await store.list(prefix: "").entries
        let key = StoreKey.network(network.id)
        guard let entry = entries.first(where: { $0.key == key }) else { return }
        let there = try StoredJSON.read(NetworkObject.self, key, entry.value)
        // A name may be a later network's by now.
        let own = Set(network.claims + there.claims).filter { claim in entries.contains { $0.key == claim && $0.value == reference(network.id) } }
        _ = try await store.commit(
            StoreTransaction(
                conditions: [.unchanged(key: key, since: entry.modified)],
                operations: [.put(key: key, value: try StoredJSON.encode(network, over: entry), lease: nil)] + own.sorted().map { .delete(key: $0) }))
    }

    // MARK: Writing, without the view, which is not of this store yet

    /// False if the key is there.
    private func put(_ key: String, _ value: some Codable) async throws -> Bool {
        let outcome = try await store.commit(
            StoreTransaction(conditions: [.absent(key: key)], operations: [.put(key: key, value: try StoredJSON.encode(value), lease: nil)]))
        if case .committed = outcome { return true }
        return false
    }

    /// By compare-and-swap.
    func alter<Value: Codable & Equatable>(_ key: String, _ change: (Value) -> Value) async throws {
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
        throw AgentError(.storeAway, "bring \(key) into the new store", cause: "it changed each time it was to be written", remedy: "it is tried again")
    }

    // MARK: Who was not heard yet

    /// - Throws: while what looks free in the store may be somebody's.
    func requireAllHeard(_ operation: String) throws {
        let unheard = view.unheard
        guard let first = unheard.first else { return }
        throw AgentError(.storeAway, operation, cause: Self.unheardText(unheard), remedy: Self.unheardRemedy(first))
    }

    static let unheardTopic = "unheard"

    func noteUnheard() {
        let unheard = view.unheard
        setProblem(
            Self.unheardTopic,
            unheard.first.map { "\(Self.unheardText(unheard)): \(Self.unheardRemedy($0))" })
    }

    private static func unheardRemedy(_ node: NodeObject) -> String {
        "start the agents there; or, if a node is gone for good, 'tulle node remove \(node.name)'"
    }

    private static func unheardText(_ nodes: [NodeObject]) -> String {
        let names = nodes.prefix(5).map(\.name).joined(separator: ", ") + (nodes.count > 5 ? " and \(nodes.count - 5) more" : "")
        return "no node takes new addresses from what looks free, for \(names) \(nodes.count == 1 ? "was" : "were") not heard since the store was replaced"
    }

    /// That node's word is in the store, or counts no more.
    func isHeard(_ node: NodeID) -> Bool { view.removed[node] != nil || (view.nodes[node]?.epoch ?? 1) >= view.epoch }
}

extension ClusterView {
    /// What is junk is left out.
    init(_ snapshot: StoreSnapshot) {
        self.init()
        for entry in snapshot.entries {
            if let object = try? Object(key: entry.key, value: entry.value) { _ = set(object) }
        }
    }

    /// While there may be networks that the store does not know, from numbers that they do not have: each epoch begins with others.
    func nextVNI(base: UInt32) -> VNI? {
        guard !unheard.isEmpty else { return freeVNI(base: base) }
        return freeVNI(base: base + 4096 * UInt32(epoch / NewStore.step % 1024))
    }
}
