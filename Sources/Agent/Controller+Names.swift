/// The name of a network, which only the engine's own API tells: who claims it first in the store has it.
import Fabric
import Store

extension Controller {
    /// What the engine told about one of its networks.
    package func learn(_ dockerID: String, name: String, labels: [String: String], isAttachable: Bool) async throws {
        guard var mine = local.engineNetworks[dockerID], mine.name != name || mine.standing == .provisional || isOver(mine) else { return }
        let operation = "name network \(name)"
        if isOver(mine) || (mine.standing == .provisional && wasGivenUp(mine.network)) {
            // The name is told again once it is the cluster's.
            (mine.standing, mine.name) = (.provisional, nil)
            try await settleAnew(&mine, name, operation)
            return viewChanged()
        }
        let network = view.networks[mine.network]
        if network?.state == .pending {
            // Whose it is is told by the one that made it.
            guard mine.standing == .confirmed else { return }
            try await claimName(mine, name: name, labels: labels, isAttachable: isAttachable, operation)
            return
        }
        mine.name = name
        if mine.standing == .provisional {
            if let network, network.name == name, network.difference(from: mine.wanted) == nil {
                mine.standing = .confirmed
            } else {
                mine.standing = .quarantined(
                    "network \(name) has the subnet of network \(network?.displayName ?? "?"), which another host created: remove it with 'docker network rm \(name)' and \(conflictRemedy)")
            }
        }
        try local.set(mine)
        viewChanged()
    }

    private func claimName(
        _ engine: BoundNetwork, name: String, labels: [String: String], isAttachable: Bool, _ operation: String
    ) async throws {
        var mine = engine
        mine.name = name
        for _ in 0..<4 {
            guard var network = view.networks[mine.network], network.state == .pending else { break }
            // With global scope Docker keeps the names, one for each network or not.
            let isOurs = network.dockerID == nil
            if isOurs, let other = view.network(name: name) {
                return try await yield(mine, network, to: other, operation)
            }
            let key = StoreKey.network(network.id)
            guard let entry = try await store.list(prefix: key).entries.first else { break }
            // As it is now: it may have been named or removed since our view.
            network = try StoredJSON.read(NetworkObject.self, key, entry.value)
            guard network.state == .pending else { break }
            network.name = name
            network.labels = labels
            network.isAttachable = isAttachable
            network.state = .active
            let value = try StoredJSON.encode(network, over: entry)
            if let excess = Self.excess(of: value, name: name) {
                mine.standing = .quarantined("its \(excess): remove it with 'docker network rm' and create it anew with less")
                return try await giveUp(mine, network, operation)
            }
            let transaction = StoreTransaction(
                conditions: [.unchanged(key: key, since: entry.modified)] + (isOurs ? [.absent(key: StoreKey.networkName(name))] : []),
                operations: [.put(key: key, value: value, lease: nil)]
                    + (isOurs ? [.put(key: StoreKey.networkName(name), value: reference(network.id), lease: nil)] : []))
            if try await commit(transaction, operation) != nil { return try local.set(mine) }
            let seen = viewRevision
            _ = await wait(within: .milliseconds(200)) { $0.viewRevision > seen }
        }
        // Not learnt: the next look at the engine tries again.
    }

    /// The name was taken first by another host's network: ours goes from the store.
    private func yield(
        _ engine: BoundNetwork, _ pending: NetworkObject, to other: NetworkObject, _ operation: String
    ) async throws {
        var mine = engine
        settle(&mine, on: other)
        try await giveUp(mine, pending, operation)
    }

    /// The pending network goes from the store.
    private func giveUp(_ mine: BoundNetwork, _ pending: NetworkObject, _ operation: String) async throws {
        try local.set(mine)
        _ = try await commit(
            StoreTransaction(operations: [
                .delete(key: StoreKey.network(pending.id)), .delete(key: StoreKey.vni(pending.vni)),
                .delete(key: StoreKey.networkKey(pending.key)),
            ]), operation)
    }

    /// What the user gave too much of, for the store.
    private static func excess(of value: [UInt8], name: String) -> String? {
        if StoreKey.networkName(name).utf8.count > StoreLimits.keyBytes { return "name is longer than the cluster's store takes" }
        guard value.count > StoreLimits.valueBytes else { return nil }
        return "labels and options have \(value.count / 1024) KiB, and the cluster's store takes \(StoreLimits.valueBytes / 1024)"
    }

    /// It stands in quarantine for a network that was removed since.
    private func isOver(_ mine: BoundNetwork) -> Bool {
        isQuarantined(mine) && distrust == nil && view.networks[mine.network]?.state == .removed
    }

    /// Another network of the cluster has its name: it is that one, or stands in quarantine.
    private func settle(_ mine: inout BoundNetwork, on other: NetworkObject) {
        if let difference = other.difference(from: mine.wanted) {
            let isOnlyAutomatic = mine.wanted.subnets.allSatisfy(\.isAutomatic) && other.subnets.allSatisfy(\.isAutomatic)
            mine.standing = .quarantined(
                isOnlyAutomatic
                    ? "network \(mine.name ?? "?") was created on two hosts at once; this engine's copy is being replaced: try again in a moment"
                    : "network \(mine.name ?? "?") exists in the cluster with another \(difference)\(whyKept(other)): remove this one with 'docker network rm \(mine.name ?? "?")' or give it another name")
        } else {
            mine.standing = .confirmed
        }
        mine.network = other.id
    }

    /// The store no longer has a network that was never named: its host broke it off, or it became another one.
    private func wasGivenUp(_ id: NetworkID) -> Bool {
        guard distrust == nil, view.cluster != nil else { return false }
        guard let network = view.networks[id] else { return true }
        return network.state == .removed && network.name == nil
    }

    /// A network that waited for the name of one with its subnet, and that was given up: it stands for itself again.
    private func settleAnew(_ mine: inout BoundNetwork, _ name: String, _ operation: String) async throws {
        if let other = view.network(name: name) {
            mine.name = name
            settle(&mine, on: other)
        } else {
            switch try await publish(mine.wanted, operation) {
            case .new(let created): (mine.network, mine.wanted, mine.standing) = (created.id, created, .confirmed)
            case .sameSubnet(let other): mine.network = other.id
            }
            guard local.engineNetworks[mine.dockerID] != nil else { return }
        }
        try local.set(mine)
    }
}
