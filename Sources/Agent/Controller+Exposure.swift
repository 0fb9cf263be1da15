/// The host itself on a network: `tulle expose` and `tulle hide`.
///
/// An exposure is an endpoint whose container is the host. It has its addresses as any container's (a block of this node, or `--address` by the rules
/// of `--ip`), its row in agent.db, so that it comes back with the agent and the host, and its object in the store, so that all see it and
/// the network stays. Only what is laid out for it differs (`Desired+Outside`), and that no engine knows it: nothing but `hide` ends it.
package import Addressing
package import Fabric
import Logging

extension Controller {
    /// The host's endpoints.
    var exposures: [LocalEndpoint] { local.endpoints.values.filter(\.id.isHost) }

    /// - Parameters:
    ///   - name: the network's name, or its id.
    ///   - wanted: at most one address of each family; of a family without one any is given.
    package func expose(_ name: String, addresses texts: [String]) async throws -> LocalEndpoint {
        let operation = "expose network \(name)"
        let wanted = try texts.map { text in
            guard let address = IPAddress(text) else {
                throw AgentError(.invalid, operation, cause: "'\(text)' is no address", remedy: "give --address an address of the network")
            }
            return address
        }
        try await beginExposing(operation)
        defer { endExposing() }
        let network = try exposable(name, operation)
        guard wanted.allSatisfy({ network.subnet(containing: $0) != nil }), Set(wanted.map(\.family)).count == wanted.count else {
            throw AgentError(
                .invalid, operation, cause: "\(wanted.map(\.description).joined(separator: " and ")) cannot be the host's there",
                remedy: "give one address of \(network.subnets.map(\.prefix.description).joined(separator: ", or one of "))")
        }
        let id = EndpointID.host(me.id, network.id)
        if let present = local.endpoints[id] {
            guard Set(wanted).isSubset(of: present.addresses) else {
                throw AgentError(
                    .conflict, operation, cause: "this host has \(present.addresses.map(\.description).joined(separator: " and ")) there already",
                    remedy: "'tulle hide \(name)' first")
            }
            return present
        }
        try await refuseOverlap(network, operation)
        let addresses = try await takeAddresses(network, wanted)
        var endpoint = LocalEndpoint(
            id: id, network: network.id, addresses: addresses, mac: LocalEndpoint.mac(for: addresses[0]), created: wallSeconds())
        endpoint.name = Self.exposureName
        do {
            try local.set(endpoint)
            for address in addresses { giving.remove(AddressKey(network: network.id, address: address)) }
            viewChanged()
            let failures = await reconciler.settle(.network(network.id)) + reconciler.settle(.host)
            let links = [
                nil, EgressPair(network: network, settings: settings).hostLink, Desired.egressLink, endpoint.outerLink, Desired.hostPort(of: network.id),
            ]
            // What else fails is tried again, and is no fault of this.
            if let fatal = failures.first(where: { !$0.isSkipped && links.contains($0.step.link) }) {
                throw AgentError(.kernel, operation, cause: "the kernel refused: \(fatal.reason)", remedy: "see 'tulle plan' and the agent's log")
            }
        } catch {
            await withdraw(endpoint)
            throw error
        }
        log.notice("the host joined a network", metadata: ["network": "\(network.displayName)", "addresses": "\(addresses)"])
        return endpoint
    }

    /// In lists, where a container's name stands; no container can be called so.
    static let exposureName = "(host)"

    /// Returns when nothing is left of it in the kernel.
    package func hide(_ name: String) async throws -> LocalEndpoint {
        let operation = "hide network \(name)"
        try await beginExposing(operation)
        defer { endExposing() }
        let found = exposures.first { endpoint in
            endpoint.network.description == name || endpoint.network.short == name || view.networks[endpoint.network]?.name == name
        }
        guard let found else {
            let all = exposures.map { view.networks[$0.network]?.displayName ?? $0.network.short }.sorted()
            throw AgentError(
                .unknown, operation, cause: "this host has not joined such a network",
                remedy: all.isEmpty ? "nothing is to be done" : "it has joined \(all.joined(separator: ", "))")
        }
        await withdraw(found)
        log.notice("the host left a network", metadata: ["network": "\(view.networks[found.network]?.displayName ?? found.network.short)"])
        return found
    }

    /// One after the other: two networks with one subnet must not both look free.
    private func beginExposing(_ operation: String) async throws {
        _ = await wait(within: .seconds(20)) { !$0.isExposing }
        guard !isExposing else {
            throw AgentError(.conflict, operation, cause: "another network is being exposed or hidden", remedy: "try again")
        }
        isExposing = true
    }

    private func endExposing() {
        isExposing = false
        viewChanged()
    }

    /// The endpoint first, then its addresses: when nothing in the kernel has them any more.
    private func withdraw(_ endpoint: LocalEndpoint) async {
        attempt("forget an exposure") { try local.removeEndpoint(endpoint.id, now: bootSeconds()) }
        viewChanged()
        _ = await reconciler.settle(.network(endpoint.network))
        _ = await reconciler.settle(.host)
        for address in endpoint.addresses { await giveBack(address, endpoint.network) }
    }

    private func giveBack(_ address: IPAddress, _ network: NetworkID) async {
        guard let present = local.allocations[network]?[address], present.endpoint == nil else { return }
        // If the store does not answer, the sweep does it.
        do { try await letGo(address, present, in: network) } catch {
            log.notice("an address is given back later", metadata: ["address": "\(address)", "error": "\(error)"])
        }
    }

    private func takeAddresses(_ network: NetworkObject, _ wanted: [IPAddress]) async throws -> [IPAddress] {
        var taken: [IPAddress] = []
        do {
            for subnet in network.subnets {
                taken.append(try await give(network, subnet, wanted.first { $0.family == subnet.prefix.family }))
            }
        } catch {
            for address in taken { await giveBack(address, network.id) }
            throw error
        }
        return taken
    }

    private func exposable(_ name: String, _ operation: String) throws -> NetworkObject {
        let all = view.live.filter { $0.state == .active }
        guard let network = all.first(where: { $0.name == name || $0.id.description == name || $0.id.short == name }) else {
            throw AgentError(
                .unknown, operation, cause: "the cluster has no such network",
                remedy: all.isEmpty ? "create it first" : "it has \(all.map(\.displayName).sorted().joined(separator: ", "))")
        }
        return network
    }

    /// On the host subnets must tell networks apart.
    private func refuseOverlap(_ network: NetworkObject, _ operation: String) async throws {
        for other in exposures.compactMap({ view.networks[$0.network] }) where other.id != network.id {
            for (mine, theirs) in network.subnets.flatMap({ mine in other.subnets.map { (mine.prefix, $0.prefix) } }) where mine.overlaps(theirs) {
                throw AgentError(
                    .conflict, operation, cause: "its subnet \(mine) overlaps \(theirs) of network \(other.displayName), which this host has joined",
                    remedy: "'tulle hide \(other.displayName)' first")
            }
        }
        for node in view.nodes.values where network.subnet(containing: node.underlay) != nil {
            throw AgentError(
                .conflict, operation, cause: "its subnets contain \(node.underlay), the address of node \(node.name), to which the host would have no way any more",
                remedy: "use a network with another subnet")
        }
        for route in await hostRoutes() {
            guard let mine = network.subnets.map(\.prefix).first(where: { $0.overlaps(route) }) else { continue }
            throw AgentError(
                .conflict, operation, cause: "its subnet \(mine) overlaps \(route), to which this host has a route",
                remedy: "see 'ip route'; remove that route, or use a network with another subnet")
        }
    }
}
