/// Addresses of containers. Each comes from exactly one place, so that none is given twice:
///
/// - from a block that this node owns: decided here, written to the local table, no store involved, while the lease lasts;
/// - a fixed address (`--ip`) of a block that nobody owns: taken alone, by compare-and-swap on its key and on its block's;
/// - an address of another node's block: only that node can know whether it is free, so it is asked (`BorrowObject`).
package import Addressing
import Fabric
import Logging
import Store

extension Controller {
    package func requestAddress(_ poolID: String, _ wanted: IPAddress?) async throws -> InterfaceAddress {
        // Of two that were made at once with this pool one goes within moments.
        _ = await wait(within: .seconds(3)) { !$0.local.holders(of: poolID).contains { $0.standing == .provisional } }
        if let holder = holder(of: poolID) {
            _ = try await usableNetwork(holder.dockerID, "give an address")
        } else if terms.scopeIsGlobal, local.pools[poolID] == nil {
            // Asked of another host's agent: that the network exists, the engine may know a moment before us.
            _ = await wait(within: .seconds(3)) { $0.network(ofPool: poolID) != nil }
        }
        guard let network = network(ofPool: poolID) else {
            if let wanted, local.pools[poolID] != nil { return try requestAuxiliary(poolID, wanted) }
            throw unknownPool(poolID, "give an address")
        }
        guard let subnet = subnet(ofPool: poolID, in: network) else { throw unknownPool(poolID, "give an address") }
        let address = try await give(network, subnet, wanted)
        // One container, one address: the subnet is reached through the gateway, or is on the link of a switched network.
        return InterfaceAddress(address, length: network.lengthOnLink(of: address))
    }

    /// An address that nobody else gets until its endpoint is there, or it is freed.
    func give(_ network: NetworkObject, _ subnet: Subnet, _ wanted: IPAddress?) async throws -> IPAddress {
        let address = try await allocate(network, subnet, wanted)
        // Another request for it may have been answered while this one waited for the store.
        guard local.allocations[network.id]?[address]?.endpoint == nil,
            giving.insert(AddressKey(network: network.id, address: address)).inserted
        else {
            throw AgentError(
                .conflict, "give address \(address) on network \(network.displayName)", cause: "a container that is just being started or removed has it",
                remedy: "choose another address, or try again in a minute")
        }
        return address
    }

    private func allocate(_ network: NetworkObject, _ subnet: Subnet, _ wanted: IPAddress?) async throws -> IPAddress {
        let operation = "give \(wanted.map { "address \($0)" } ?? "an address") on network \(network.displayName)"
        guard !isRemoved else { throw Self.removedError(operation) }
        guard !isRefused else {
            throw AgentError(
                .conflict, operation, cause: problems["registration"] ?? "another agent runs under this node's identity",
                remedy: "see 'tulle status'")
        }
        // An agent that has just started renews its lease within moments.
        _ = await wait(within: .seconds(3)) { $0.lease.isValid(at: bootSeconds()) }
        let now = bootSeconds()
        guard lease.isValid(at: now) else {
            throw AgentError(
                .storeAway, operation,
                cause: lease.validUntil == 0
                    ? "this node has no lease yet (\(distrust ?? storeFailure ?? "its store was not reached"))"
                    : "this node's lease ended \(Int(now - lease.validUntil)) s ago and the store does not renew it (\(distrust ?? storeFailure ?? problems["registration"] ?? "no reason known"))",
                remedy: "bring the store back; running containers are not affected")
        }
        if let wanted { return try await allocate(fixed: wanted, network, subnet, operation) }
        // A block that was just taken may be used up by others that waited for it, so as long as there are blocks.
        let deadline = ContinuousClock.now + .seconds(15)
        repeat {
            if let address = try pick(network, subnet) { return address }
        } while try await takeBlock(network, subnet, operation) && .now < deadline
        if let address = try pick(network, subnet) { return address }
        do { return try await borrow(nil, network, subnet, operation) } catch let error as AgentError {
            try requireAllHeard(operation)
            throw error
        }
    }

    /// From our own blocks, without waiting: nothing can come between the look and the note.
    private func pick(_ network: NetworkObject, _ subnet: Subnet) throws -> IPAddress? {
        let key = SubnetKey(network: network.id, family: subnet.prefix.family)
        // Waiting for a block may have outlasted the lease.
        guard lease.isValid(at: bootSeconds()) else {
            throw AgentError(
                .storeAway, "give an address on network \(network.displayName)", cause: "this node's lease ended meanwhile",
                remedy: "bring the store back; running containers are not affected")
        }
        let blocks = view.blocks(of: network.id, owner: me.id)
            .filter { subnet.prefix.contains($0) && !isGoing($0, of: network.id) }
        let here = local.allocations[network.id] ?? [:]
        let singles = view.addresses[network.id] ?? [:]
        guard let address = Allocation.address(in: blocks, of: subnet, after: cursors[key], isTaken: {
            here[$0] != nil || singles[$0] != nil
        }) else { return nil }
        try local.set(LocalAllocation(since: bootSeconds(), isSingle: false), address, in: network.id)
        cursors[key] = address
        return address
    }

    private func allocate(
        fixed address: IPAddress, _ network: NetworkObject, _ subnet: Subnet, _ operation: String
    ) async throws -> IPAddress {
        guard subnet.prefix.contains(address), !Allocation.isReserved(address, in: subnet) else {
            throw AgentError(
                .invalid, operation,
                cause: subnet.prefix.contains(address)
                    ? "it is the subnet's first or last address, its gateway or an auxiliary address" : "it is not within \(subnet.prefix)",
                remedy: "choose another address of \(subnet.prefix)")
        }
        let item = AddressKey(network: network.id, address: address)
        guard !freeing.contains(item), !giving.contains(item) else {
            throw AgentError(.conflict, operation, cause: "a container that is just being started or removed has it", remedy: "try again in a minute")
        }
        if var present = local.allocations[network.id]?[address] {
            guard present.endpoint == nil, present.lentTo == nil else { throw inUse(address, by: present.endpoint, operation) }
            // A single address is ours when the store says so; a note alone may be one of a try that failed.
            if !present.isSingle || view.addresses[network.id]?[address]?.node == me.id {
                (present.since, present.isLoose) = (bootSeconds(), nil)
                try local.set(present, address, in: network.id)
                return address
            }
        }
        let block = Allocation.block(of: address, in: subnet)
        switch view.blocks[network.id]?[block]?.node {
        case me.id? where !isGoing(block, of: network.id):
            if let holder = view.addresses[network.id]?[address] { throw inUse(address, at: holder.node, operation) }
            try local.set(LocalAllocation(since: bootSeconds(), isSingle: false), address, in: network.id)
        case .some: return try await borrow(address, network, subnet, operation)
        case nil:
            if let holder = view.addresses[network.id]?[address] { throw inUse(address, at: holder.node, operation) }
            try await requireStore(operation)
            try requireAllHeard(operation)
            if let holder = view.holder(of: address, in: network) { throw inUse(address, at: holder, operation) }
            try await takeSingle(address, block: block, network.id, operation)
        }
        return address
    }

    /// Noted here before it is asked for, so that a lost answer leaves a note which the sweep resolves.
    private func takeSingle(_ address: IPAddress, block: IPPrefix, _ network: NetworkID, _ operation: String) async throws {
        let key = StoreKey.address(network, address)
        try local.set(LocalAllocation(since: bootSeconds(), isSingle: true, isLoose: true), address, in: network)
        let transaction = StoreTransaction(
            conditions: [.absent(key: key), .absent(key: StoreKey.block(network, block))],
            operations: [.put(key: key, value: try StoredJSON.encode(AddressObject(node: me.id)), lease: nil)])
        if try await commit(transaction, operation) != nil || view.addresses[network]?[address]?.node == me.id {
            guard var given = local.allocations[network]?[address] else { return }
            given.isLoose = nil
            return try local.set(given, address, in: network)
        }
        if local.allocations[network]?[address]?.endpoint == nil { try local.removeAllocation(address, in: network) }
        throw AgentError(
            .conflict, operation, cause: "another node took it, or its block, at this moment", remedy: "try again, or choose another address")
    }

    private func inUse(_ address: IPAddress, by endpoint: EndpointID?, _ operation: String) -> AgentError {
        let name = endpoint.flatMap { local.endpoints[$0]?.name } ?? "a container on this host"
        return AgentError(.conflict, operation, cause: "\(name) has it", remedy: "choose another address")
    }
    private func inUse(_ address: IPAddress, at node: NodeID, _ operation: String) -> AgentError {
        AgentError(
            .conflict, operation, cause: "a container on node \(view.nodes[node]?.name ?? "\(node)") has it",
            remedy: "choose another address")
    }

    // MARK: Blocks

    private func isGoing(_ block: IPPrefix, of network: NetworkID) -> Bool {
        local.blocksGoing.contains(BlockKey(network: network, prefix: block))
    }

    /// Takes one more block; false when none is free. Many requests at once share one taking.
    private func takeBlock(_ network: NetworkObject, _ subnet: Subnet, _ operation: String) async throws -> Bool {
        let key = SubnetKey(network: network.id, family: subnet.prefix.family)
        if takings.contains(key) {
            _ = await wait(within: .seconds(10)) { !$0.takings.contains(key) }
            return true
        }
        try await requireStore(operation)
        guard view.unheard.isEmpty else { return false }
        let owned = Set((view.blocks[network.id] ?? [:]).keys)
        let seed = fnv1a("\(me.id) \(network.id) \(owned.count)")
        guard let block = Allocation.freeBlock(in: subnet, owned: owned, seed: seed) else { return false }
        takings.insert(key)
        defer {
            takings.remove(key)
            viewChanged()
        }
        try await take(block, network, operation)
        return true
    }

    private func take(_ block: IPPrefix, _ network: NetworkObject, _ operation: String) async throws {
        let key = StoreKey.block(network.id, block)
        let transaction = StoreTransaction(
            conditions: [
                .absent(key: key), .exists(key: StoreKey.network(network.id)),
                // A single address of it taken meanwhile must be in our view before we allocate from it.
                .quiet(prefix: StoreKey.addresses(of: network.id), since: viewRevision),
            ],
            operations: [.put(key: key, value: try StoredJSON.encode(BlockObject(node: me.id, fence: 1)), lease: nil)])
        if try await commit(transaction, operation) == nil {
            let seen = viewRevision
            _ = await wait(within: .milliseconds(500)) { $0.viewRevision > seen }
        }
    }

    // MARK: Borrowing

    /// Asks owners of blocks, one after the other, for one address (or for that one).
    private func borrow(
        _ wanted: IPAddress?, _ network: NetworkObject, _ subnet: Subnet, _ operation: String
    ) async throws -> IPAddress {
        let owned = (view.blocks[network.id] ?? [:]).filter { subnet.prefix.contains($0.key) && $0.value.node != me.id }
        let asked = wanted.map { [Allocation.block(of: $0, in: subnet)] } ?? lenders(owned, of: network.id)
        var lastRefusal: String?
        // Docker waits no longer than 30 s for an answer.
        let deadline = ContinuousClock.now + .seconds(15)
        for block in asked where .now < deadline {
            guard let owner = owned[block]?.node else { continue }
            let name = "\(me.id)-\(String(surroundings.random(), radix: 16))"
            let key = StoreKey.request(network.id, name)
            openRequests.insert(name)
            defer { openRequests.remove(name) }
            let request = BorrowObject(from: me.id, owner: owner, block: block, address: wanted)
            _ = try await commit(
                StoreTransaction(operations: [.put(key: key, value: try StoredJSON.encode(request), lease: nil)]), operation)
            _ = await wait(within: .seconds(3)) {
                guard let present = $0.view.requests[network.id]?[name] else { return true }
                return present.refusal != nil || present.granted != nil
            }
            let answer = view.requests[network.id]?[name]
            // The question is withdrawn unless the answer came at this moment: then the withdrawal finds it changed, and it counts.
            if answer?.granted == nil, answer?.refusal == nil {
                let ownerName = view.nodes[owner]?.name ?? "\(owner)"
                lastRefusal = "node \(ownerName), which owns \(block), does not answer"
                try await rewrite(key, operation) { (old: BorrowObject) in
                    var old = old
                    if old.granted == nil { old.refusal = "withdrawn" }
                    return old
                }
            }
            let final = view.requests[network.id]?[name]
            if let granted = final?.granted {
                try local.set(LocalAllocation(since: bootSeconds(), isSingle: true), granted, in: network.id)
            }
            _ = try await commit(StoreTransaction(operations: [.delete(key: key)]), operation)
            if let granted = final?.granted { return granted }
            if let refusal = final?.refusal, refusal != "withdrawn" { lastRefusal = refusal }
        }
        if let wanted {
            throw AgentError(
                .conflict, operation, cause: lastRefusal ?? "\(wanted) belongs to another node's block",
                remedy: "choose another address, or see 'tulle nodes'")
        }
        throw AgentError(
            .full, operation,
            cause: "no address is left in \(subnet.range.map { "the range \($0) of " } ?? "")\(subnet.prefix)"
                + (lastRefusal.map { " (\($0))" } ?? ""),
            remedy: "remove containers that are not needed, or create a network with a larger --subnet")
    }

    /// A block of each living owner, those first that seem to have most left.
    private func lenders(_ owned: [IPPrefix: BlockObject], of network: NetworkID) -> [IPPrefix] {
        var used: [NodeID: Double] = [:]
        for endpoint in (view.endpoints[network] ?? [:]).values { used[endpoint.node, default: 0] += 1 }
        let owners = Dictionary(grouping: owned.filter { view.alive.contains($0.value.node) }, by: \.value.node)
        return owners.map { node, blocks in
            (block: blocks[0].key, left: blocks.reduce(0) { $0 + Double($1.key.count) } - (used[node] ?? 0))
        }.sorted { ($0.left, $1.block) > ($1.left, $0.block) }.map(\.block)
    }

    /// Answers what others ask of our blocks.
    package func answerBorrowers() async {
        for (id, requests) in view.requests {
            for (name, request) in requests
            where request.owner == me.id && request.granted == nil && request.refusal == nil && view.alive.contains(request.from) {
                do { try await answer(request, name, id) } catch {
                    log.warning("cannot answer a request for an address", metadata: ["error": "\(error)"])
                }
            }
        }
    }

    private func answer(_ request: BorrowObject, _ name: String, _ id: NetworkID) async throws {
        let operation = "lend an address"
        let key = StoreKey.request(id, name)
        guard let network = view.networks[id], let subnet = network.subnet(containing: request.block.address),
            let entry = try await store.list(prefix: key).entries.first
        else { return }
        var reply = request
        let here = local.allocations[id] ?? [:]
        let singles = view.addresses[id] ?? [:]
        let isTaken = { (address: IPAddress) in here[address] != nil || singles[address] != nil }
        let blocks = view.blocks(of: id, owner: me.id).filter { subnet.prefix.contains($0) && !isGoing($0, of: id) }
        let candidate = request.address.map { isTaken($0) ? nil : $0 }
            ?? Allocation.address(in: blocks, of: subnet, after: nil, isTaken: isTaken)
        // Ours no more from here on, before anybody else can have it.
        let lent = LocalAllocation(since: bootSeconds(), isSingle: false, lentTo: request.from)
        var owned: StoreEntry?
        if let candidate, let block = blocks.first(where: { $0.contains(candidate) }) {
            try local.set(lent, candidate, in: id)
            do {
                let entry = try await store.list(prefix: StoreKey.block(id, block)).entries.first
                if let entry, try StoredJSON.read(BlockObject.self, entry.key, entry.value).node == me.id { owned = entry }
            } catch {
                try local.removeAllocation(candidate, in: id)
                throw error
            }
            if owned == nil { try local.removeAllocation(candidate, in: id) }
        }
        guard let candidate, let owned else {
            reply.refusal = request.address.map { "a container on node \(me.name) has \($0)" }
                ?? "node \(me.name) has no address left in its blocks"
            _ = try await commit(
                StoreTransaction(
                    conditions: [.unchanged(key: key, since: entry.modified)],
                    operations: [.put(key: key, value: try StoredJSON.encode(reply, over: entry), lease: nil)]),
                operation)
            return
        }
        reply.granted = candidate
        let addressKey = StoreKey.address(id, candidate)
        let transaction = StoreTransaction(
            conditions: [
                .unchanged(key: key, since: entry.modified), .absent(key: addressKey),
                .unchanged(key: owned.key, since: owned.modified),
            ],
            operations: [
                .put(key: key, value: try StoredJSON.encode(reply, over: entry), lease: nil),
                .put(key: addressKey, value: try StoredJSON.encode(AddressObject(node: request.from)), lease: nil),
            ])
        // After an error it may have been done: the sweep takes the address back when the store says so.
        if try await commit(transaction, operation) == nil { try local.removeAllocation(candidate, in: id) }
    }

    // MARK: Release

    package func releaseAddress(_ poolID: String, _ address: IPAddress) async throws {
        // Gateways and auxiliary addresses are the network's; one engine's release frees nothing.
        guard let network = network(ofPool: poolID), let present = local.allocations[network.id]?[address],
            present.lentTo == nil
        else { return }
        if let endpoint = present.endpoint, local.endpoints[endpoint] != nil {
            log.warning(
                "an address was released before its endpoint; the sweep will free it",
                metadata: ["address": "\(address)", "endpoint": "\(endpoint)"])
            return
        }
        try await letGo(address, present, in: network.id)
    }

    /// Of an address that nobody has any more.
    func letGo(_ address: IPAddress, _ present: LocalAllocation, in network: NetworkID) async throws {
        // If the store does not answer, the next container with it has it again, after a restart of the agent too.
        var released = present
        if present.isSingle {
            released.isLoose = true
            try local.set(released, address, in: network)
        }
        giving.remove(AddressKey(network: network, address: address))
        try await free(address, released, in: network)
    }

    /// A single address goes back to the store first: if that fails the note stays, and the sweep tries again.
    func free(_ address: IPAddress, _ present: LocalAllocation, in network: NetworkID) async throws {
        if present.isSingle {
            let item = AddressKey(network: network, address: address)
            guard isRegistered, freeing.insert(item).inserted else { return }
            defer { freeing.remove(item) }
            let operation = "release address \(address)"
            try await requireStore(operation)
            let key = StoreKey.address(network, address)
            if let entry = try await store.list(prefix: key).entries.first(where: { $0.key == key }),
                try StoredJSON.read(AddressObject.self, key, entry.value).node == me.id
            {
                _ = try await commit(
                    StoreTransaction(
                        conditions: [.unchanged(key: key, since: entry.modified)], operations: [.delete(key: key)]), operation)
            }
        }
        guard local.allocations[network]?[address] == present else { return }
        try local.removeAllocation(address, in: network)
        giving.remove(AddressKey(network: network, address: address))
    }
}
