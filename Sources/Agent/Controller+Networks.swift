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
        let (pools, subnets) = try bindablePools(request, operation)
        let wanted = try describe(request, subnets, addressOptions: local.pools[pools[0]]?.options ?? [:], operation)
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

    /// The pools of the request that this engine asked of us, in order, and what they are for the network.
    private func bindablePools(_ request: NetworkRequest, _ operation: String) throws -> (ids: [String], subnets: [Subnet]) {
        guard !request.pools.isEmpty else {
            throw AgentError(
                .invalid, operation, cause: "the network has no subnet", remedy: "add --subnet, or leave --ipv4 on")
        }
        let key = request.options[DriverOption.network]
        var found: (ids: [String], subnets: [Subnet]) = ([], [])
        for asked in request.pools {
            guard [Self.addressSpace, Self.globalAddressSpace].contains(asked.addressSpace) else {
                throw AgentError(
                    .invalid, operation,
                    cause: "each engine's own address driver would hand out the same addresses twice in the cluster",
                    remedy: "add '--ipam-driver tulle' to the command")
            }
            guard let prefix = InterfaceAddress(asked.prefix)?.prefix, let pool = bindablePool(prefix, key: key) else {
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
            found.ids.append(pool.id)
            found.subnets.append(
                Subnet(
                    prefix: prefix, gateway: gateway, range: pool.range, auxiliary: auxiliary,
                    blockLength: pool.blockLength, isAutomatic: pool.isAutomatic, pool: terms.scopeIsGlobal ? pool.id : nil))
        }
        return found
    }

    private func describe(
        _ request: NetworkRequest, _ pools: [Subnet], addressOptions: [String: String], _ operation: String
    ) throws -> NetworkObject {
        let known = [DriverOption.network, DriverOption.mtu, DriverOption.dockerMTU, DriverOption.mode, DriverOption.backend, Egress.option]
        for name in request.options.keys where name.hasPrefix("tulle.") && !known.contains(name) {
            throw AgentError(
                .invalid, operation, cause: "the option '\(name)' does not exist",
                remedy: "use one of \(known.joined(separator: ", "))")
        }
        for (name, only) in [(DriverOption.backend, "vxlan")] {
            guard let value = request.options[name], value != only else { continue }
            throw AgentError(
                .invalid, operation, cause: "\(name)=\(value) is not supported by this version", remedy: "leave it out, or say \(only)")
        }
        let modeText = request.options[DriverOption.mode] ?? NetworkObject.Mode.routed.rawValue
        guard let mode = NetworkObject.Mode(rawValue: modeText) else {
            let known = NetworkObject.Mode.allCases.map(\.rawValue).joined(separator: " or ")
            throw AgentError(
                .invalid, operation, cause: "\(DriverOption.mode)=\(modeText) is not supported by this version", remedy: "leave it out, or say \(known)")
        }
        try checkEgress(request, pools, operation)
        var mtu: Int?
        if let text = request.options[DriverOption.mtu] ?? request.options[DriverOption.dockerMTU] {
            let least = pools.contains { $0.prefix.family == .v6 } ? 1280 : 576
            guard let value = Int(text), (least...9000).contains(value) else {
                throw AgentError(
                    .invalid, operation, cause: "the MTU '\(text)' is not a number from \(least) to 9000", remedy: "correct it")
            }
            mtu = value
        }
        let id = NetworkID(random: UInt128(surroundings.random()) << 64 | UInt128(surroundings.random()))
        guard let vni = view.nextVNI(base: settings.vniBase) else {
            throw AgentError(
                .full, operation, cause: "no VNI is left from \(settings.vniBase) on", remedy: "remove networks that nobody uses")
        }
        var network = NetworkObject(
            id: id, key: request.options[DriverOption.network] ?? id.description, name: nil, state: .pending, vni: vni,
            subnets: pools, isInternal: request.isInternal, mtu: mtu,
            options: request.options.filter { $0.key != DriverOption.network },
            addressOptions: addressOptions.filter { $0.key != DriverOption.network }, origin: me.id,
            dockerID: terms.scopeIsGlobal ? request.dockerID : nil)
        if mode != .routed { network.mode = mode }
        // An agent that knows no such option would open a way out, or another.
        if network.egress != .masquerade { network.v = modeFormat }
        return network
    }

    enum Publication {
        case new(NetworkObject)
        /// Another host was faster with the same subnet; it may be the same network, which the name will tell.
        case sameSubnet(NetworkObject)
    }

    /// Puts a new network into the store. All creations of the cluster are serialised by the condition that no network changed since
    /// our view, so that two overlapping ones cannot both come.
    func publish(_ wanted: NetworkObject, _ operation: String) async throws -> Publication {
        var network = wanted
        for _ in 0..<16 {
            if !network.hasOwnKey, network.dockerID == nil, let same = network.subnets.compactMap({ sameSubnet($0.prefix) }).first {
                return .sameSubnet(same)
            }
            if let gone = copying.compactMap({ view.networks[$0] }).first(where: {
                $0.state == .removed && Set($0.subnets.map(\.prefix)) == Set(network.subnets.map(\.prefix))
            }) {
                throw AgentError(
                    .conflict, operation, cause: "network \(gone.displayName) was removed from the cluster at this moment",
                    remedy: "create it again")
            }
            for other in view.live where other.key == network.key || !network.hasOwnKey {
                for (mine, theirs) in network.subnets.flatMap({ mine in other.subnets.map { (mine, $0) } })
                where mine.prefix.overlaps(theirs.prefix) && !other.hasOwnKey {
                    throw AgentError(
                        .conflict, operation, cause: "\(mine.prefix) overlaps \(theirs.prefix) of network \(other.displayName)\(whyKept(other))",
                        remedy: conflictRemedy)
                }
            }
            guard let vni = view.nextVNI(base: settings.vniBase) else { break }
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
        _ dockerID: String, to id: NetworkID, _ pools: [String], _ wanted: NetworkObject, _ standing: BoundNetwork.Standing
    ) throws {
        try local.set(BoundNetwork(dockerID: dockerID, network: id, pools: pools, standing: standing, wanted: wanted))
        viewChanged()
    }

    // MARK: The engine's copy

    /// Around the agent's own removal of a copy from its engine.
    package func setWithdrawing(_ dockerID: String, _ isOn: Bool) {
        if isOn { withdrawing.insert(dockerID) } else { withdrawing.remove(dockerID) }
    }

    /// Around the agent's own making of a copy on its engine.
    package func setCopying(_ id: NetworkID, _ isOn: Bool) {
        if isOn { copying.insert(id) } else { copying.remove(id) }
    }

    func isLive(_ id: NetworkID) -> Bool { view.networks[id].map { $0.state != .removed } ?? false }

    // MARK: The end

    package func deleteNetwork(_ dockerID: String) async throws {
        defer { viewChanged() }
        guard let mine = local.engineNetworks[dockerID] else {
            return try await removeGlobalNetwork(dockerID)
        }
        // Only the user's word about the engine's last copy is a word about the cluster's network. A copy whose name was never
        // learnt is one that the engine gave up while it made it.
        let isLast = !local.engineNetworks.values.contains {
            $0.network == mine.network && $0.dockerID != dockerID && !isQuarantined($0)
        }
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
                ? "it was removed on this engine and made again: \(users.count) endpoint(s) on \(nodes) use it; remove those containers first\(users.contains { $0.id.isHost } ? ", and 'tulle hide' it where a host has joined it" : "")"
                : "it was removed in Docker: it goes when the \(users.count) endpoint(s) on \(nodes) that still use it have ended"
            log.notice(
                "the network stays: other hosts have endpoints on it",
                metadata: ["network": "\(network.displayName)", "endpoints": "\(users.count)", "nodes": "\(nodes)"])
            return true
        }
        let key = StoreKey.network(id)
        guard let entry = try await store.list(prefix: key).entries.first else { return true }
        // As it is now: its name may have been claimed since our view.
        var gone = try StoredJSON.read(NetworkObject.self, key, entry.value)
        guard gone.state != .removed else { return true }
        gone.state = .removed
        gone.removed = wallSeconds()
        let transaction = StoreTransaction(
            conditions: [
                .unchanged(key: key, since: entry.modified),
                .quiet(prefix: StoreKey.endpoints(of: id), since: seen),
            ],
            operations: [.put(key: key, value: try StoredJSON.encode(gone, over: entry), lease: nil)] + gone.claims.map { .delete(key: $0) })
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
        if mode != other.mode { return DriverOption.mode }
        if mtu != other.mtu { return "MTU" }
        if options != other.options { return "set of options" }
        return nil
    }
}
