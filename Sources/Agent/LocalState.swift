/// What this node's agent remembers by itself, durably, in one table: who it is, and what its engine asked for. Each
/// change is written before the engine is answered, so that an agent killed at any instruction knows what it promised.
package import Addressing
package import Fabric
package import Store

/// A network as this node's engine knows it.
package struct BoundNetwork: Hashable, Sendable, Codable {
    package enum Standing: Hashable, Sendable, Codable {
        /// It is the cluster's network.
        case confirmed
        /// Same subnet as a network of the cluster; whether it is that one depends on the name, not learnt yet.
        case provisional
        /// It lost a conflict: no endpoint gets on. The reason, for the user.
        case quarantined(String)
    }
    package var v = storeFormat
    package var dockerID: String
    package var network: NetworkID
    package var pools: [String]
    package var standing: Standing
    /// As the engine has it; nil until learnt.
    package var name: String?
    /// What the engine's create asked for, to be compared with the cluster's network once the name is known.
    package var wanted: NetworkObject
}

/// An address pool that the engine asked for.
package struct Pool: Hashable, Sendable, Codable {
    package var v = storeFormat
    package var id: String
    package var prefix: IPPrefix
    package var range: IPPrefix?
    package var key: String?
    package var blockLength: Int?
    package var isAutomatic: Bool
    package var options: [String: String]
    package var gateway: IPAddress?
    /// CLOCK_BOOTTIME seconds; a pool that no network was created with goes after a minute.
    package var since: Double
}

/// An address of ours that a container has or is about to have.
package struct LocalAllocation: Hashable, Sendable, Codable {
    package var v = storeFormat
    package var endpoint: EndpointID?
    /// CLOCK_BOOTTIME seconds; one that no endpoint came for goes after a minute.
    package var since: Double
    /// Taken by itself, outside our blocks: `addresses/…` in the store is ours.
    package var isSingle: Bool
    /// Lent to that node from a block of ours.
    package var lentTo: NodeID?
    /// true: no engine has it in its hand. It let it go, and the store has yet to hear of that; or it was never given it.
    package var isLoose: Bool?

    /// Given to the engine, which has made no endpoint with it yet, or has deleted that and is about to release the address.
    var isInHand: Bool { endpoint == nil && lentTo == nil && isLoose != true }
}

/// A block of a network.
package struct BlockKey: Hashable, Sendable, Codable {
    package var network: NetworkID
    package var prefix: IPPrefix
}

package struct LocalState: Sendable {
    /// Empty blocks of ours on their way back to the store: whether they are still ours is not known, so nothing is given from them.
    package private(set) var blocksGoing: Set<BlockKey> = []
    package var engineNetworks: [String: BoundNetwork] = [:]
    package var pools: [String: Pool] = [:]
    package var allocations: [NetworkID: [IPAddress: LocalAllocation]] = [:]
    package var endpoints: [EndpointID: LocalEndpoint] = [:]
    /// Networks that the user removed here while the store was away.
    package var unsaidRemovals: Set<NetworkID> = []
    /// This node, when others said that it was removed from the cluster.
    package private(set) var removed: NodeObject?

    private let table: LocalTable

    /// - Parameter now: CLOCK_BOOTTIME seconds.
    /// - Throws: `AgentError` for a row that is not what it should be.
    package init(_ table: LocalTable, now: Double) throws {
        self.table = table
        for (key, value) in try table.all("engine/") {
            let item = try StoredJSON.row(BoundNetwork.self, key, value)
            engineNetworks[item.dockerID] = item
        }
        for (key, value) in try table.all("pool/") {
            var item = try StoredJSON.row(Pool.self, key, value)
            // The clock began again if the machine did.
            item.since = min(item.since, now)
            pools[item.id] = item
        }
        for (key, value) in try table.all("endpoint/") {
            let item = try StoredJSON.row(LocalEndpoint.self, key, value)
            endpoints[item.id] = item
        }
        for (key, value) in try table.all("allocation/") {
            let parts = key.split(separator: "/").map(String.init)
            guard parts.count == 3, let network = NetworkID(parts[1]), let address = IPAddress(parts[2]) else { continue }
            var item = try StoredJSON.row(LocalAllocation.self, key, value)
            item.since = min(item.since, now)
            allocations[network, default: [:]][address] = item
        }
        for (key, value) in try table.all("going/") { blocksGoing.insert(try StoredJSON.row(BlockKey.self, key, value)) }
        removed = try table.value("removed").map { try StoredJSON.row(NodeObject.self, "removed", $0) }
        for (key, _) in try table.all("removal/") {
            if let id = NetworkID(String(key.dropFirst("removal/".count))) { unsaidRemovals.insert(id) }
        }
    }

    // MARK: Changes: to the table first, then to the value

    package mutating func set(_ network: BoundNetwork) throws {
        try table.put("engine/\(network.dockerID)", StoredJSON.encode(network))
        engineNetworks[network.dockerID] = network
    }
    package mutating func removeEngineNetwork(_ dockerID: String) throws {
        // A pool goes with the last network that has it.
        let freed = (engineNetworks[dockerID]?.pools ?? []).filter { holders(of: $0).count == 1 }
        try table.apply([.delete(key: "engine/\(dockerID)")] + freed.map { .delete(key: "pool/\($0)") })
        engineNetworks[dockerID] = nil
        for id in freed { pools[id] = nil }
    }
    package mutating func set(_ pool: Pool) throws {
        try table.put("pool/\(pool.id)", StoredJSON.encode(pool))
        pools[pool.id] = pool
    }
    package mutating func removePool(_ id: String) throws {
        try table.delete("pool/\(id)")
        pools[id] = nil
    }
    package mutating func set(_ allocation: LocalAllocation, _ address: IPAddress, in network: NetworkID) throws {
        try table.put("allocation/\(network)/\(address)", StoredJSON.encode(allocation))
        allocations[network, default: [:]][address] = allocation
    }
    package mutating func removeAllocation(_ address: IPAddress, in network: NetworkID) throws {
        try table.delete("allocation/\(network)/\(address)")
        allocations[network]?[address] = nil
    }
    /// The endpoint and the binding of its addresses, at once.
    package mutating func set(_ endpoint: LocalEndpoint) throws {
        var changes: [LocalTable.Change] = [.put(key: "endpoint/\(endpoint.id)", value: try StoredJSON.encode(endpoint))]
        var bound: [IPAddress: LocalAllocation] = [:]
        for address in endpoint.addresses {
            guard var allocation = allocations[endpoint.network]?[address], allocation.endpoint != endpoint.id
            else { continue }
            allocation.endpoint = endpoint.id
            bound[address] = allocation
            changes.append(.put(
                key: "allocation/\(endpoint.network)/\(address)", value: try StoredJSON.encode(allocation)))
        }
        try table.apply(changes)
        endpoints[endpoint.id] = endpoint
        for (address, allocation) in bound { allocations[endpoint.network, default: [:]][address] = allocation }
    }
    /// The endpoint goes; its addresses wait for their release by the engine, or for the sweep.
    package mutating func removeEndpoint(_ id: EndpointID, now: Double) throws {
        guard let endpoint = endpoints[id] else { return }
        var changes: [LocalTable.Change] = [.delete(key: "endpoint/\(id)")]
        var freed: [IPAddress: LocalAllocation] = [:]
        for address in endpoint.addresses {
            guard var allocation = allocations[endpoint.network]?[address], allocation.endpoint == id else { continue }
            allocation.endpoint = nil
            allocation.since = now
            freed[address] = allocation
            changes.append(.put(
                key: "allocation/\(endpoint.network)/\(address)", value: try StoredJSON.encode(allocation)))
        }
        try table.apply(changes)
        endpoints[id] = nil
        for (address, allocation) in freed { allocations[endpoint.network, default: [:]][address] = allocation }
    }
    package mutating func setGoing(_ block: BlockKey, _ isGoing: Bool) throws {
        let key = "going/\(block.network)/\(block.prefix)"
        if isGoing {
            try table.put(key, StoredJSON.encode(block))
            blocksGoing.insert(block)
        } else {
            try table.delete(key)
            blocksGoing.remove(block)
        }
    }
    package mutating func setUnsaidRemoval(_ id: NetworkID, _ isWanted: Bool) throws {
        if isWanted {
            try table.put("removal/\(id)", Array("{}".utf8))
            unsaidRemovals.insert(id)
        } else if unsaidRemovals.contains(id) {
            try table.delete("removal/\(id)")
            unsaidRemovals.remove(id)
        }
    }

    package mutating func setRemoved(_ node: NodeObject) throws {
        try table.put("removed", StoredJSON.encode(node))
        removed = node
    }

    // MARK: Questions

    package func endpoints(of network: NetworkID) -> [LocalEndpoint] {
        endpoints.values.filter { $0.network == network }
    }
    /// The engine's networks that were made with a pool: one; two when the user and the agent made the same network at once.
    package func holders(of pool: String) -> [BoundNetwork] { engineNetworks.values.filter { $0.pools.contains(pool) } }
    package func engineNetwork(for network: NetworkID) -> BoundNetwork? {
        let all = engineNetworks.values.filter { $0.network == network }
        // Beside one in quarantine, the one that counts.
        return all.first { $0.standing == .confirmed } ?? all.first
    }
}
