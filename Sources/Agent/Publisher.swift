/// Keeps the store's record of this node equal to what the node has: its endpoints (for people, and for the question who
/// uses a network), its single addresses, the blocks of networks that are gone. Declarative: it compares and writes the difference, so it
/// does not matter what was missed.
import Addressing
import Fabric
import Store

extension Controller {
    /// Runs until cancelled: after each change, at most ten times a second, and each ten seconds.
    package func publish() async {
        while !Task.isCancelled {
            // Taken before the comparison, so that what changes meanwhile is compared again.
            let (seen, endpoints, listened) = (concerns, local.endpoints, listened)
            if isStoreReachable, distrust == nil, !isBringing, isRegistered, viewRevision >= published {
                do {
                    let operations = try publications(over: try await changedEndpoints())
                    for start in stride(from: 0, to: operations.count, by: Leaving.part) {
                        let part = Array(operations[start..<min(start + Leaving.part, operations.count)])
                        if case .committed(let revision) = try await store.commit(inView(StoreTransaction(operations: part))) {
                            published = max(published, revision)
                            try await reach(revision)
                        }
                    }
                    try await restoreUsed()
                    try await reclaim()
                    await sayRemovals()
                    await answerBorrowers()
                    try await clearAfterRemoved()
                    try await sweepTokens()
                    setProblem("publication", nil)
                } catch {
                    setProblem("publication", "\(error)")
                }
            }
            try? await Task.sleep(for: .milliseconds(100))
            _ = await wait(within: .seconds(10)) { $0.concerns != seen || $0.local.endpoints != endpoints || $0.listened != listened }
        }
    }

    /// Whether a change of the view may give this node something to write. What other nodes' containers do does not: in a large cluster that
    /// is nearly all there is, and each node would compare everything each time.
    func isConcerned(by object: ClusterView.Object) -> Bool {
        switch object {
        case .alive(let node, _): node == me.id || view.requests.values.contains { $0.values.contains { $0.owner == me.id && $0.from == node } }
        case .lease(let node, _): node == me.id
        case .endpoint(let network, let id, let value):
            local.unsaidRemovals.contains(network) || value?.node == me.id || local.endpoints[id] != nil || view.endpoints[network]?[id]?.node == me.id
        case .block(let network, _, _): local.allocations[network]?.isEmpty == false || view.networks[network]?.state == .removed
        case .address(let network, let address, let value):
            value?.node == me.id || view.addresses[network]?[address]?.node == me.id || local.allocations[network]?.isEmpty == false
        case .groups(_, let node, _): node == me.id
        case .cluster, .node, .network, .request, .token, .authority: true
        }
    }

    /// A network that was removed at the moment in which a container came to it here: whoever removed it could not know. It is in use, so
    /// it lives again.
    private func restoreUsed() async throws {
        var lost: [String: String] = [:]
        for network in view.networks.values
        where network.state == .removed && network.dockerID == nil && !local.endpoints(of: network.id).isEmpty {
            let operation = "restore network \(network.displayName), which is in use"
            let key = StoreKey.network(network.id)
            guard let entry = try await store.list(prefix: key).entries.first else { continue }
            // As it is now, which may be another than in our view.
            var living = try StoredJSON.read(NetworkObject.self, key, entry.value)
            guard living.state == .removed else { continue }
            living.state = living.name == nil ? .pending : .active
            living.removed = nil
            let claims = living.claims
            let transaction = StoreTransaction(
                conditions: [.unchanged(key: key, since: entry.modified)] + claims.map { .absent(key: $0) },
                operations: [.put(key: key, value: try StoredJSON.encode(living, over: entry), lease: nil)]
                    + claims.map { .put(key: $0, value: reference(network.id), lease: nil) })
            let isDone = try await commit(transaction, operation) != nil
            if !isDone {
                lost[network.id.short] =
                    "network \(network.displayName) was removed while containers here use it, and its name or key was taken: remove those containers"
            }
        }
        setProblems(under: "in use ", lost)
    }

    /// Addresses of living containers that the store says are nobody's, as after an emptied store was accepted: they are taken as single ones, or it is told
    /// whose they are now.
    private func reclaim() async throws {
        var lost: [String: String] = [:]
        for (id, allocations) in local.allocations {
            guard let network = view.networks[id], network.state == .active else { continue }
            for (address, allocation) in allocations where allocation.endpoint != nil && allocation.lentTo == nil {
                guard let subnet = network.subnet(containing: address) else { continue }
                let block = Allocation.block(of: address, in: subnet)
                if let owner = view.holder(of: address, in: network) {
                    guard owner != me.id else { continue }
                    let name = allocation.endpoint.flatMap { local.endpoints[$0]?.name } ?? "a container here"
                    let remedy = allocation.endpoint?.isHost == true ? "'tulle hide \(network.displayName)'" : "remove that container"
                    lost["\(address) of \(id.short)"] =
                        "\(name) has \(address) on network \(network.displayName), which belongs to node \(view.nodes[owner]?.name ?? owner.description) now: it is cut off; \(remedy)"
                    continue
                }
                let key = StoreKey.address(id, address)
                let transaction = StoreTransaction(
                    conditions: [.absent(key: key), .absent(key: StoreKey.block(id, block))],
                    operations: [.put(key: key, value: try StoredJSON.encode(AddressObject(node: me.id)), lease: nil)])
                guard try await commit(transaction, "take address \(address) again") != nil else { continue }
                guard var mine = local.allocations[id]?[address] else { continue }
                mine.isSingle = true
                try local.set(mine, address, in: id)
            }
        }
        setProblems(under: "address ", lost)
    }

    private func published(_ endpoint: LocalEndpoint) -> EndpointObject {
        var object = EndpointObject(
            id: endpoint.id, network: endpoint.network, node: me.id, name: endpoint.name, addresses: endpoint.addresses, mac: endpoint.mac,
            created: endpoint.created)
        object.names = endpoint.names
        return object
    }

    /// What the store has of endpoints that are not any more as it says: they are written over that.
    private func changedEndpoints() async throws -> [String: StoreEntry] {
        var entries: [String: StoreEntry] = [:]
        for endpoint in local.endpoints.values {
            guard let present = view.endpoints[endpoint.network]?[endpoint.id], present != published(endpoint) else { continue }
            let key = StoreKey.endpoint(endpoint.network, endpoint.id)
            entries[key] = try await store.list(prefix: key).entries.first { $0.key == key }
        }
        for key in changedGroups { entries[key] = try await store.list(prefix: key).entries.first { $0.key == key } }
        return entries
    }

    /// - Parameter entries: what was read a moment ago; nothing is awaited from here to the commit.
    private func publications(over entries: [String: StoreEntry]) throws -> [StoreOperation] {
        var operations: [StoreOperation] = []
        for endpoint in local.endpoints.values {
            let object = published(endpoint)
            let key = StoreKey.endpoint(endpoint.network, endpoint.id)
            let present = view.endpoints[endpoint.network]?[endpoint.id]
            // One that cannot be read, of a newer version for one, is named as a problem and left as it is.
            guard present != object, !isUnreadable(key) else { continue }
            // It changed while others were read: the next look has it.
            guard present == nil || entries[key] != nil else { continue }
            operations.append(.put(key: key, value: try StoredJSON.encode(object, over: entries[key]), lease: nil))
        }
        for (network, endpoints) in view.endpoints {
            for endpoint in endpoints.values where endpoint.node == me.id && local.endpoints[endpoint.id] == nil {
                operations.append(.delete(key: StoreKey.endpoint(network, endpoint.id)))
            }
        }
        operations += try groupPublications(over: entries)
        for (network, addresses) in view.addresses {
            for (address, object) in addresses where object.node == me.id && local.allocations[network]?[address] == nil {
                // Ours by the store and unknown here: a grant that is being taken has its request still open.
                let isOpen = (view.requests[network] ?? [:]).values.contains { $0.from == me.id && $0.granted == address }
                if !isOpen { operations.append(.delete(key: StoreKey.address(network, address))) }
            }
        }
        for (network, requests) in view.requests {
            // Left over by an agent that ended while it waited.
            for (name, request) in requests where request.from == me.id && !openRequests.contains(name) {
                operations.append(.delete(key: StoreKey.request(network, name)))
            }
        }
        for network in view.networks.values where network.state == .pending && network.origin == me.id {
            // Its engine never took it: a create that was broken off.
            guard local.engineNetwork(for: network.id) == nil else {
                pendingSince[network.id] = nil
                continue
            }
            let since = pendingSince[network.id] ?? bootSeconds()
            pendingSince[network.id] = since
            guard bootSeconds() - since > Self.unboundSeconds else { continue }
            pendingSince[network.id] = nil
            operations += ([StoreKey.network(network.id)] + network.claims).map { .delete(key: $0) }
        }
        for network in view.networks.values where network.state == .removed && local.endpoints(of: network.id).isEmpty {
            for block in view.blocks(of: network.id, owner: me.id) {
                let key = BlockKey(network: network.id, prefix: block)
                if !local.blocksGoing.contains(key) { try local.setGoing(key, true) }
            }
            // Who is away has yet to learn of it, and the clock of whoever removed it, or ours, may be wrong.
            let since = removedSince[network.id] ?? bootSeconds()
            removedSince[network.id] = since
            let isKnownToAll = view.alive.isSuperset(of: view.nodes.keys) && bootSeconds() - since > Self.unboundSeconds
            let isForgotten = network.removed.map { wallSeconds() - $0 > terms.forgetAfter } ?? false
            if isForgotten, isKnownToAll, (view.blocks[network.id] ?? [:]).isEmpty, (view.endpoints[network.id] ?? [:]).isEmpty {
                operations.append(.delete(key: StoreKey.network(network.id)))
            }
        }
        removedSince = removedSince.filter { view.networks[$0.key]?.state == .removed }
        return operations
    }
}
