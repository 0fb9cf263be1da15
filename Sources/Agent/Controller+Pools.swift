/// Address pools: what an engine asks for before it makes a network.
///
/// `docker network create` sends RequestPool for each subnet, then the gateway and the auxiliary addresses, then CreateNetwork, which
/// names the subnet but not the pool. A pool's id is made of what was asked, so the same request again is the same pool.
package import Addressing
import Fabric

/// The options that are ours, in `--opt` and `--ipam-opt`.
package enum DriverOption {
    package static let network = "tulle.network"
    package static let blockSize = "tulle.block-size"
    package static let mtu = "tulle.mtu"
    package static let mode = "tulle.mode"
    package static let backend = "tulle.backend"
    /// Docker's own name for the MTU option.
    package static let dockerMTU = "com.docker.network.driver.mtu"
}

extension Controller {
    static let unboundSeconds = 60.0
    /// 240.0.0.0/4 (RFC 1112 section 4): hosts refuse it.
    private static let classE = IPPrefix(containing: IPAddress(v4: 0xf000_0000), length: 4)

    package func requestPool(
        prefix text: String, range rangeText: String, options: [String: String], isV6: Bool
    ) async throws -> Pool {
        let operation = text.isEmpty ? "choose a subnet" : "use subnet \(text)"
        let key = options[DriverOption.network]
        if let key, !(1...128).contains(key.utf8.count) {
            throw AgentError(
                .invalid, operation, cause: "\(DriverOption.network) has \(key.utf8.count) characters", remedy: "give it 1 to 128")
        }
        let family: AddressFamily = isV6 ? .v6 : .v4
        let blockLength = try options[DriverOption.blockSize].map { try self.blockLength($0, operation) }
        for name in options.keys where name.hasPrefix("tulle.") && ![DriverOption.network, DriverOption.blockSize].contains(name) {
            throw AgentError(
                .invalid, operation, cause: "the address option '\(name)' does not exist",
                remedy: "use \(DriverOption.network) or \(DriverOption.blockSize)")
        }
        let prefix: IPPrefix
        if text.isEmpty {
            prefix = try await choosePrefix(family, key: key)
        } else {
            guard let given = InterfaceAddress(text)?.prefix else {
                throw AgentError(
                    .invalid, operation, cause: "'\(text)' is no subnet", remedy: "write one such as 10.32.0.0/16 or fd00:32::/64")
            }
            guard !given.address.isMappedV4 else {
                throw AgentError(
                    .invalid, operation, cause: "it is an IPv4 subnet in the form of an IPv6 one", remedy: "write it as IPv4, such as 10.32.0.0/16")
            }
            prefix = given
            try await check(prefix, key: key, operation)
        }
        var range: IPPrefix?
        if !rangeText.isEmpty {
            guard let given = InterfaceAddress(rangeText)?.prefix, prefix.contains(given) else {
                throw AgentError(
                    .invalid, operation, cause: "the range \(rangeText) is not within \(prefix)",
                    remedy: "give --ip-range a part of the subnet")
            }
            range = given
        }
        if let blockLength, !(prefix.length...prefix.family.width).contains(blockLength) {
            throw AgentError(
                .invalid, operation, cause: "blocks of /\(blockLength) do not fit in \(prefix)",
                remedy: "set \(DriverOption.blockSize) to a prefix length from \(prefix.length) to \(prefix.family.width)")
        }
        let id = poolID(prefix, range: range, key: key)
        if let present = local.pools[id] {
            guard let holder = local.holders(of: id).first(where: { !leavesRoom($0, for: prefix) }) else { return present }
            throw AgentError(
                .conflict, operation, cause: "this engine's network \(holder.name ?? String(holder.dockerID.prefix(12))) has it",
                remedy: conflictRemedy)
        }
        let pool = Pool(
            id: id, prefix: prefix, range: range, key: key, blockLength: blockLength, isAutomatic: text.isEmpty,
            options: options, since: bootSeconds())
        try local.set(pool)
        return pool
    }

    /// A pool of a network goes with the network, never by the word of one engine.
    package func releasePool(_ id: String) throws {
        guard local.pools[id] != nil, local.holders(of: id).isEmpty else { return }
        try local.removePool(id)
    }

    var conflictRemedy: String {
        "choose another subnet or, for a separate network with the same addresses, add --opt \(DriverOption.network)=KEY --ipam-opt \(DriverOption.network)=KEY"
    }

    private func poolID(_ prefix: IPPrefix, range: IPPrefix?, key: String?) -> String {
        let name = "tulle/\(prefix)" + (range.map { "/\($0)" } ?? "") + (key.map { "#\($0)" } ?? "")
        guard terms.scopeIsGlobal else { return name }
        // All engines ask by it, so it names one network for ever.
        let open = local.pools.values.first {
            $0.prefix == prefix && $0.range == range && $0.key == key && local.holders(of: $0.id).isEmpty
        }
        return open?.id ?? "\(name)@\(String(surroundings.random(), radix: 16))"
    }

    /// One that the engine is still making may be the same network, which the user and the agent make at once; and one in
    /// quarantine is not the cluster's, which the engine gets beside it.
    private func leavesRoom(_ engine: BoundNetwork, for prefix: IPPrefix) -> Bool {
        guard isLive(engine.network), view.networks[engine.network]?.subnets.contains(where: { $0.prefix == prefix }) == true
        else { return false }
        return engine.name == nil || isQuarantined(engine)
    }

    /// The pool that the engine means when it makes a network: one that no other has, or its twin's.
    func bindablePool(_ prefix: IPPrefix, key: String?) -> Pool? {
        let asked = local.pools.values.filter { $0.prefix == prefix && $0.key == key }
        return asked.first { local.holders(of: $0.id).isEmpty }
            ?? asked.first { local.holders(of: $0.id).allSatisfy { isLive($0.network) } }
    }

    private func blockLength(_ text: String, _ operation: String) throws -> Int {
        let digits = text.hasPrefix("/") ? String(text.dropFirst()) : text
        guard let length = Int(digits), (1...128).contains(length) else {
            throw AgentError(
                .invalid, operation, cause: "\(DriverOption.blockSize)=\(text) is no prefix length",
                remedy: "write the length of the blocks, such as 26")
        }
        return length
    }

    /// Adopts the subnet of the network with that key, or takes one that overlaps nothing.
    private func choosePrefix(_ family: AddressFamily, key: String?) async throws -> IPPrefix {
        if let key, let subnet = view.network(key: key)?.subnet(of: family) { return subnet.prefix }
        let used = view.live.flatMap { $0.subnets.map(\.prefix) } + local.pools.values.map(\.prefix) + (await hostRoutes())
        let seed = surroundings.random()
        guard let prefix = Allocation.freeSubnet(family, used: used, seed: seed) else {
            throw AgentError(
                .full, "choose a subnet", cause: "every subnet of the default range is in use",
                remedy: "name one with --subnet")
        }
        return prefix
    }

    private func check(_ prefix: IPPrefix, key: String?, _ operation: String) async throws {
        guard prefix.count >= 4 else {
            throw AgentError(
                .invalid, operation, cause: "it has room for a gateway and nothing else",
                remedy: "use a subnet of at least /\(prefix.family.width - 2)")
        }
        if prefix.first.isMulticast || prefix.first.isLinkLocal || prefix.first.isLoopback || prefix.first.isUnspecified
            || prefix.overlaps(Self.classE) || prefix.overlaps(EgressPair.range4) || prefix.overlaps(EgressPair.range6)
        {
            throw AgentError(
                .invalid, operation, cause: "it is reserved", remedy: "use a private range such as 10.32.0.0/16 or fd00:32::/64")
        }
        if let route = await hostRoutes().first(where: { $0.length > 0 && $0.overlaps(prefix) }) {
            throw AgentError(
                .conflict, operation, cause: "this host has a route to \(route), which overlaps it",
                remedy: "choose another subnet")
        }
        for network in view.live {
            for subnet in network.subnets where subnet.prefix.overlaps(prefix) {
                if let key {
                    // Another key is another network, whose addresses may be the same.
                    guard network.key == key else { continue }
                    guard terms.scopeIsGlobal || subnet.prefix != prefix else { continue }
                    throw AgentError(
                        .conflict, operation, cause: "the network with \(DriverOption.network)=\(key) has \(subnet.prefix)",
                        remedy: terms.scopeIsGlobal ? "use another key" : "use that subnet, or another key")
                }
                // Equal, and not on this engine yet: perhaps the same network, as `docker compose up` on each host makes it.
                let here = local.engineNetworks.values.filter { $0.network == network.id }
                if subnet.prefix == prefix, !terms.scopeIsGlobal, here.allSatisfy({ leavesRoom($0, for: prefix) }) { continue }
                throw AgentError(
                    .conflict, operation,
                    cause: "it overlaps \(subnet.prefix) of network \(network.displayName)\(whyKept(network))", remedy: conflictRemedy)
            }
        }
        for pool in local.pools.values where pool.key == key && pool.prefix != prefix && local.holders(of: pool.id).isEmpty {
            guard pool.prefix.overlaps(prefix) else { continue }
            throw AgentError(
                .conflict, operation, cause: "it overlaps \(pool.prefix), which is being set up on this engine",
                remedy: conflictRemedy)
        }
    }

    // MARK: Addresses of a pool that no network has yet

    /// The gateway: the same on every engine.
    package func requestGateway(_ poolID: String, _ wanted: String) throws -> InterfaceAddress {
        let operation = "set the gateway"
        if let subnet = network(ofPool: poolID).flatMap({ subnet(ofPool: poolID, in: $0) }) {
            return InterfaceAddress(subnet.gateway, length: subnet.prefix.length)
        }
        guard var pool = local.pools[poolID] else { throw unknownPool(poolID, operation) }
        let gateway: IPAddress
        if wanted.isEmpty {
            let known = pool.key.flatMap { view.network(key: $0) } ?? sameSubnet(pool.prefix)
            guard let first = known?.subnets.first(where: { $0.prefix == pool.prefix })?.gateway ?? pool.gateway
                ?? pool.prefix.first.advanced(by: 1)
            else { throw unknownPool(poolID, operation) }
            gateway = first
        } else {
            guard let given = IPAddress(wanted), pool.prefix.contains(given), given != pool.prefix.first,
                given.family == .v6 || given != pool.prefix.last
            else {
                throw AgentError(
                    .invalid, operation, cause: "\(wanted) is no host's address within \(pool.prefix)",
                    remedy: "give --gateway an address of the subnet that is not its first or last")
            }
            gateway = given
        }
        pool.gateway = gateway
        try local.set(pool)
        return InterfaceAddress(gateway, length: pool.prefix.length)
    }

    /// An auxiliary address; its name comes with CreateNetwork.
    package func requestAuxiliary(_ poolID: String, _ wanted: IPAddress) throws -> InterfaceAddress {
        guard let pool = local.pools[poolID] else { throw unknownPool(poolID, "reserve \(wanted)") }
        guard pool.prefix.contains(wanted), wanted != pool.gateway else {
            throw AgentError(
                .invalid, "reserve \(wanted)", cause: wanted == pool.gateway ? "it is the gateway" : "it is not within \(pool.prefix)",
                remedy: "give --aux-address an address of the subnet")
        }
        return InterfaceAddress(wanted, length: pool.prefix.length)
    }

    func unknownPool(_ id: String, _ operation: String) -> AgentError {
        AgentError(
            .unknown, operation, cause: "there is no address pool \(id) here",
            remedy: "remove the network and create it again")
    }

    /// A living network without a key of its own with exactly that subnet.
    func sameSubnet(_ prefix: IPPrefix) -> NetworkObject? {
        view.live.first { !$0.hasOwnKey && $0.subnets.contains { $0.prefix == prefix } }
    }

    /// Of the engine's networks with that pool the one that counts.
    func holder(of poolID: String) -> BoundNetwork? {
        func rank(_ engine: BoundNetwork) -> Int {
            guard isLive(engine.network) else { return 3 }
            return switch engine.standing {
            case .confirmed: 0
            case .provisional: 1
            case .quarantined: 2
            }
        }
        return local.holders(of: poolID).min { rank($0) < rank($1) }
    }

    /// The network that a pool belongs to; with global scope also one whose pool another engine asked for.
    func network(ofPool id: String) -> NetworkObject? {
        if let holder = holder(of: id) { return view.networks[holder.network] }
        guard terms.scopeIsGlobal else { return nil }
        return view.live.first { $0.subnets.contains { $0.pool == id } }
    }

    func subnet(ofPool id: String, in network: NetworkObject) -> Subnet? {
        let prefix = local.pools[id]?.prefix
        return network.subnets.first { $0.pool == id } ?? network.subnets.first { $0.prefix == prefix }
    }
}
