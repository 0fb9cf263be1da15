/// Networks: one in the cluster, one on each engine, tied together by name (or key).
///
/// CreateNetwork brings neither the network's name nor its labels. So a new network is `pending` in the store until this node's
/// engine has told the name (`learn`), which is claimed by compare-and-swap. Who comes second with the same name and the same options
/// adopts the first one's network; with other options its own is quarantined.
import Addressing
package import Fabric
import Logging
import Store

package struct NetworkRequest: Sendable {
    package struct Pool: Sendable {
        package var addressSpace: String
        package var prefix: String
        package var gateway: String
        package var auxiliary: [String: String]
        package init(addressSpace: String, prefix: String, gateway: String, auxiliary: [String: String]) {
            self.addressSpace = addressSpace
            self.prefix = prefix
            self.gateway = gateway
            self.auxiliary = auxiliary
        }
    }
    package var dockerID: String
    package var options: [String: String]
    package var isInternal: Bool
    package var pools: [Pool]
    package init(dockerID: String, options: [String: String], isInternal: Bool, pools: [Pool]) {
        self.dockerID = dockerID
        self.options = options
        self.isInternal = isInternal
        self.pools = pools
    }
}

extension Controller {
    package static let addressSpace = "tulle"
    package static let globalAddressSpace = "tulle-global"

    package func createNetwork(_ request: NetworkRequest) async throws {
        let operation = "create the network"
        if local.engineNetworks[request.dockerID] != nil { return }
        let pools = try bindablePools(request, operation)
        let wanted = try describe(request, pools: pools, operation)
        try await requireStore(operation)

        if let known = try globalNetwork(like: wanted, operation) { return try bind(request.dockerID, to: known.id, pools, known, .confirmed) }
        if let known = view.network(key: wanted.key) {
            guard let difference = known.difference(from: wanted) else {
                return try bind(request.dockerID, to: known.id, pools, wanted, .confirmed)
            }
            throw AgentError(
                .conflict, operation, cause: "the network with \(DriverOption.network)=\(wanted.key) exists with another \(difference)",
                remedy: "create it with the same options, or use another key")
        }
        switch try await publish(wanted, operation) {
        case .new(let created): try bind(request.dockerID, to: created.id, pools, created, .confirmed)
        case .sameSubnet(let other):
            // Our own, of a create whose end Docker did not wait for: this is it, repeated.
            let isOurs = other.origin == me.id && other.state == .pending && local.engineNetwork(for: other.id) == nil
                && other.difference(from: wanted) == nil
            try bind(request.dockerID, to: other.id, pools, wanted, isOurs ? .confirmed : .provisional)
        }
    }

    /// The pools of the request that this engine asked of us, in order.
    private func bindablePools(_ request: NetworkRequest, _ operation: String) throws -> [Fabric.Subnet] {
        guard !request.pools.isEmpty else {
            throw AgentError(
                .invalid, operation, cause: "the network has no subnet", remedy: "add --subnet, or leave --ipv4 on")
        }
        let key = request.options[DriverOption.network]
        return try request.pools.map { asked in
            guard [Self.addressSpace, Self.globalAddressSpace].contains(asked.addressSpace) else {
                throw AgentError(
                    .invalid, operation,
                    cause: "each engine's own address driver would hand out the same addresses twice in the cluster",
                    remedy: "add '--ipam-driver tulle' to the command")
            }
            guard let prefix = InterfaceAddress(asked.prefix)?.prefix,
                let pool = local.pools.values.first(where: { $0.prefix == prefix && $0.key == key && $0.dockerID == nil })
            else {
                throw AgentError(
                    .unknown, operation, cause: "no address pool \(asked.prefix) was asked for here"
                        + (key.map { " with --ipam-opt \(DriverOption.network)=\($0)" } ?? ""),
                    remedy: key == nil
                        ? "create the network again; if you gave --ipam-opt \(DriverOption.network), give the same --opt"
                        : "give --opt \(DriverOption.network) and --ipam-opt \(DriverOption.network) the same value")
            }
            let gateway = InterfaceAddress(asked.gateway)?.address ?? IPAddress(asked.gateway) ?? pool.gateway
            guard let gateway, prefix.contains(gateway) else {
                throw AgentError(
                    .invalid, operation, cause: "the gateway '\(asked.gateway)' is not within \(prefix)",
                    remedy: "give --gateway an address of the subnet")
            }
            var auxiliary: [String: IPAddress] = [:]
            for (name, text) in asked.auxiliary { auxiliary[name] = InterfaceAddress(text)?.address ?? IPAddress(text) }
            return Subnet(
                prefix: prefix, gateway: gateway, range: pool.range, auxiliary: auxiliary,
                blockLength: pool.blockLength, isAutomatic: pool.isAutomatic, pool: terms.scopeIsGlobal ? pool.id : nil)
        }
    }

    private func describe(
        _ request: NetworkRequest, pools: [Subnet], _ operation: String
    ) throws -> NetworkObject {
        let known = [DriverOption.network, DriverOption.mtu, DriverOption.dockerMTU, DriverOption.mode, DriverOption.backend]
        for name in request.options.keys where name.hasPrefix("tulle.") && !known.contains(name) {
            throw AgentError(
                .invalid, operation, cause: "the option '\(name)' does not exist",
                remedy: "use one of \(known.joined(separator: ", "))")
        }
        for (name, only) in [(DriverOption.mode, "routed"), (DriverOption.backend, "vxlan")] {
            guard let value = request.options[name], value != only else { continue }
            throw AgentError(
                .invalid, operation, cause: "\(name)=\(value) is not supported by this version", remedy: "leave it out, or say \(only)")
        }
        var mtu: Int?
        if let text = request.options[DriverOption.mtu] ?? request.options[DriverOption.dockerMTU] {
            let least = pools.contains { $0.prefix.family == .v6 } ? 1280 : 576
            guard let value = Int(text), (least...9000).contains(value) else {
                throw AgentError(
                    .invalid, operation, cause: "the MTU '\(text)' is not a number from \(least) to 9000", remedy: "correct it")
            }
            mtu = value
        }
        let id = NetworkID(random: .random(in: .min ... .max))
        guard let vni = view.freeVNI(base: settings.vniBase) else {
            throw AgentError(
                .full, operation, cause: "no VNI is left from \(settings.vniBase) on", remedy: "remove networks that nobody uses")
        }
        let key = request.options[DriverOption.network]
        let pool = local.pools.values.first { $0.prefix == pools[0].prefix && $0.dockerID == nil && $0.key == key }
        let addressOptions = pool?.options ?? [:]
        return NetworkObject(
            id: id, key: key ?? id.description, name: nil, state: .pending, vni: vni,
            subnets: pools, isInternal: request.isInternal, mtu: mtu,
            options: request.options.filter { $0.key != DriverOption.network },
            addressOptions: addressOptions.filter { $0.key != DriverOption.network }, origin: me.id,
            dockerID: terms.scopeIsGlobal ? request.dockerID : nil)
    }

    private enum Publication {
        case new(NetworkObject)
        /// Another host was faster with the same subnet; it may be the same network, which the name will tell.
        case sameSubnet(NetworkObject)
    }

    /// Puts a new network into the store. All creations of the cluster are serialised by the condition that no network changed since
    /// our view, so that two overlapping ones cannot both come.
    private func publish(_ wanted: NetworkObject, _ operation: String) async throws -> Publication {
        var network = wanted
        for _ in 0..<16 {
            if network.key == network.id.description, network.dockerID == nil, let same = network.subnets.compactMap({ sameSubnet($0.prefix) }).first {
                return .sameSubnet(same)
            }
            for other in view.live where other.key == network.key || network.key == network.id.description {
                for (mine, theirs) in network.subnets.flatMap({ mine in other.subnets.map { (mine, $0) } })
                where mine.prefix.overlaps(theirs.prefix) && other.key == other.id.description {
                    throw AgentError(
                        .conflict, operation, cause: "\(mine.prefix) overlaps \(theirs.prefix) of network \(other.displayName)\(whyKept(other))",
                        remedy: conflictRemedy)
                }
            }
            guard let vni = view.freeVNI(base: settings.vniBase) else { break }
            network.vni = vni
            let transaction = StoreTransaction(
                conditions: [
                    .quiet(prefix: StoreKey.networks, since: viewRevision), .absent(key: StoreKey.vni(vni)),
                    .absent(key: StoreKey.networkKey(network.key)),
                ],
                operations: [
                    .put(key: StoreKey.network(network.id), value: try StoredJSON.encode(network), lease: nil),
                    .put(key: StoreKey.vni(vni), value: reference(network.id), lease: nil),
                    .put(key: StoreKey.networkKey(network.key), value: reference(network.id), lease: nil),
                ])
            if try await commit(transaction, operation) != nil { return .new(network) }
            // Somebody was faster: look at what came.
            let seen = viewRevision
            _ = await wait(within: .seconds(1)) { $0.viewRevision > seen }
        }
        throw AgentError(
            .conflict, operation, cause: "others created networks each time this one was to be written", remedy: "try again")
    }

    func reference(_ id: NetworkID) -> [UInt8] { Array(#"{"network":"\#(id)","v":1}"#.utf8) }

    private func bind(
        _ dockerID: String, to id: NetworkID, _ pools: [Subnet], _ wanted: NetworkObject, _ standing: BoundNetwork.Standing
    ) throws {
        let key = wanted.key == wanted.id.description ? nil : wanted.key
        var bound: [String] = []
        for subnet in pools {
            guard var pool = local.pools.values.first(where: {
                $0.prefix == subnet.prefix && $0.dockerID == nil && $0.key == key
            }) else { continue }
            pool.dockerID = dockerID
            try local.set(pool)
            bound.append(pool.id)
        }
        try local.set(
            BoundNetwork(dockerID: dockerID, network: id, pools: bound, standing: standing, wanted: wanted))
        viewChanged()
    }

    // MARK: The name

    /// What the engine told about one of its networks.
    package func learn(_ dockerID: String, name: String, labels: [String: String], isAttachable: Bool) async throws {
        guard var mine = local.engineNetworks[dockerID], mine.name != name || mine.standing == .provisional else { return }
        let operation = "name network \(name)"
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
            network.name = name
            network.labels = labels
            network.isAttachable = isAttachable
            network.state = .active
            let transaction = StoreTransaction(
                conditions: [.unchanged(key: key, since: entry.modified)] + (isOurs ? [.absent(key: StoreKey.networkName(name))] : []),
                operations: [.put(key: key, value: try StoredJSON.encode(network, over: entry.value), lease: nil)]
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
        if let difference = other.difference(from: mine.wanted) {
            let isOnlyAutomatic = mine.wanted.subnets.allSatisfy(\.isAutomatic) && other.subnets.allSatisfy(\.isAutomatic)
            mine.standing = .quarantined(
                isOnlyAutomatic
                    ? "network \(mine.name ?? "?") was created on two hosts at once; this engine's copy is being replaced"
                    : "network \(mine.name ?? "?") exists in the cluster with another \(difference)\(whyKept(other)): remove this one with 'docker network rm \(mine.name ?? "?")' or give it another name")
        } else {
            mine.standing = .confirmed
        }
        mine.network = other.id
        try local.set(mine)
        _ = try await commit(
            StoreTransaction(operations: [
                .delete(key: StoreKey.network(pending.id)), .delete(key: StoreKey.vni(pending.vni)),
                .delete(key: StoreKey.networkKey(pending.key)),
            ]), operation)
    }

    /// Around the agent's own removal of a copy from its engine.
    package func setWithdrawing(_ dockerID: String, _ isOn: Bool) {
        if isOn { withdrawing.insert(dockerID) } else { withdrawing.remove(dockerID) }
    }

    // MARK: The end

    package func deleteNetwork(_ dockerID: String) async throws {
        defer { viewChanged() }
        guard let mine = local.engineNetworks[dockerID] else {
            return try await removeGlobalNetwork(dockerID)
        }
        // Only the user's word about the engine's last copy is a word about the cluster's network. A copy whose name was never
        // learnt is one that the engine gave up while it made it.
        let isLast = !local.engineNetworks.values.contains { $0.network == mine.network && $0.dockerID != dockerID }
        let isNamed = mine.name != nil || view.networks[mine.network]?.state == .pending
        let isWord = mine.standing == .confirmed && isLast && isNamed && !withdrawing.contains(dockerID)
        if isWord { try local.setUnsaidRemoval(mine.network, true) }
        try local.removeEngineNetwork(dockerID)
        guard isWord else { return }
        await sayRemovals()
    }

    /// Turns networks that the user removed into tombstones, unless somebody still uses them: then they stay, and the engine gets
    /// its copy back (`EngineSync`).
    package func sayRemovals() async {
        for id in local.unsaidRemovals {
            guard isStoreReachable, distrust == nil else { return }
            do {
                if try await bury(id) { try local.setUnsaidRemoval(id, false) }
                setProblem("removal \(id.short)", nil)
            } catch {
                setProblem("removal \(id.short)", "\(error)")
            }
        }
    }

    /// False when it has users for whose end it waits.
    private func bury(_ id: NetworkID) async throws -> Bool {
        let isGlobal = view.networks[id]?.dockerID != nil
        if isGlobal, kept[id] != nil, !users(of: id).isEmpty { return false }
        // Containers removed on other hosts a moment ago take a moment to be known here.
        _ = await wait(within: .seconds(1)) { $0.users(of: id).isEmpty }
        for _ in 0..<8 {
            let seen = viewRevision
            if try await buryOnce(id, seen: seen) { return !isGlobal || view.networks[id]?.state == .removed }
            _ = await wait(within: .seconds(1)) { $0.viewRevision > seen }
        }
        throw AgentError(
            .storeAway, "remove the network", cause: "containers came and went each time it was to be removed", remedy: "it is tried again")
    }

    /// For errors: why a network that was removed on this engine is still there.
    func whyKept(_ network: NetworkObject?) -> String {
        guard let network, let reason = kept[network.id], !users(of: network.id).isEmpty else { return "" }
        return " (\(reason))"
    }

    private func users(of id: NetworkID) -> [EndpointObject] {
        (view.endpoints[id] ?? [:]).values.filter { $0.node != me.id || local.endpoints[$0.id] != nil }
    }

    /// False when something changed since that revision.
    private func buryOnce(_ id: NetworkID, seen: Revision) async throws -> Bool {
        guard let network = view.networks[id], network.state != .removed else { return true }
        let users = users(of: id)
        guard users.isEmpty else {
            let nodes = Set(users.map { view.nodes[$0.node]?.name ?? $0.node.description }).sorted().joined(separator: ", ")
            kept[id] = network.dockerID == nil
                ? "it was removed on this engine and made again: \(users.count) endpoint(s) on \(nodes) use it; remove those containers first"
                : "it was removed in Docker: it goes when the \(users.count) endpoint(s) on \(nodes) that still use it have ended"
            log.notice(
                "the network stays: other hosts have endpoints on it",
                metadata: ["network": "\(network.displayName)", "endpoints": "\(users.count)", "nodes": "\(nodes)"])
            return true
        }
        let key = StoreKey.network(id)
        guard let entry = try await store.list(prefix: key).entries.first else { return true }
        var gone = network
        gone.state = .removed
        gone.removed = wallSeconds()
        var operations: [StoreOperation] = [
            .put(key: key, value: try StoredJSON.encode(gone, over: entry.value), lease: nil),
            .delete(key: StoreKey.vni(network.vni)), .delete(key: StoreKey.networkKey(network.key)),
        ]
        if let name = network.name, network.dockerID == nil { operations.append(.delete(key: StoreKey.networkName(name))) }
        let transaction = StoreTransaction(
            conditions: [
                .unchanged(key: key, since: entry.modified),
                .quiet(prefix: StoreKey.endpoints(of: id), since: seen),
            ], operations: operations)
        return try await commit(transaction, "remove network \(network.displayName)") != nil
    }
}

extension NetworkObject {
    /// The first thing in which two descriptions of a network differ, in a word; nil when they are the same.
    package func difference(from other: NetworkObject) -> String? {
        func plain(_ subnets: [Subnet]) -> [Subnet] {
            subnets.map { subnet in
                var subnet = subnet
                subnet.isAutomatic = false
                subnet.pool = nil
                return subnet
            }.sorted { $0.prefix < $1.prefix }
        }
        if plain(subnets) != plain(other.subnets) {
            let mine = Set(subnets.map(\.prefix))
            return mine == Set(other.subnets.map(\.prefix)) ? "gateway, range or auxiliary address" : "subnet"
        }
        if isInternal != other.isInternal { return "--internal" }
        if mtu != other.mtu { return "MTU" }
        if options != other.options { return "set of options" }
        return nil
    }
}
