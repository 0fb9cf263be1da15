/// Endpoints: a container's attachment, from CreateEndpoint to DeleteEndpoint.
package import Addressing
package import Fabric

package struct EndpointRequest: Sendable {
    package var dockerID: String
    package var id: EndpointID
    /// With or without a prefix length.
    package var addresses: [String]
    package var mac: String
    package init(dockerID: String, id: EndpointID, addresses: [String], mac: String) {
        self.dockerID = dockerID
        self.id = id
        self.addresses = addresses
        self.mac = mac
    }
}

/// What a container's interface gets.
package struct Attachment: Sendable {
    package var innerLink: String
    package var gateways: [IPAddress]
    package var routes: [SandboxRoute]
}

extension Controller {
    /// The MAC that the endpoint has.
    package func createEndpoint(_ request: EndpointRequest) async throws -> MACAddress {
        let operation = "attach the container"
        let network = try await usableNetwork(request.dockerID, operation)
        let addresses = try request.addresses.filter { !$0.isEmpty }.map { text in
            guard let address = InterfaceAddress(text)?.address ?? IPAddress(text) else {
                throw AgentError(.invalid, operation, cause: "'\(text)' is no address", remedy: "report this request as a fault of the engine")
            }
            return address
        }
        guard !addresses.isEmpty else {
            throw AgentError(
                .invalid, operation, cause: "the engine named no address",
                remedy: "create the network with '--ipam-driver tulle'")
        }
        for address in addresses {
            guard !freeing.contains(AddressKey(network: network.id, address: address)), let allocation = local.allocations[network.id]?[address], allocation.lentTo == nil,
                allocation.endpoint == nil || allocation.endpoint == request.id
            else {
                throw AgentError(
                    .conflict, operation, cause: "\(address) was not given to this container", remedy: "try again")
            }
        }
        let mac: MACAddress
        if request.mac.isEmpty {
            mac = LocalEndpoint.mac(for: addresses[0])
        } else {
            guard let given = MACAddress(request.mac), !given.isMulticast, given.bits != 0 else {
                throw AgentError(
                    .invalid, operation, cause: "'\(request.mac)' is no unicast MAC address", remedy: "correct --mac-address")
            }
            guard !network.isSwitched || given != Desired.gatewayMAC(network) else {
                throw AgentError(.invalid, operation, cause: "'\(given)' is the MAC address of the network's gateway", remedy: "choose another --mac-address")
            }
            mac = given
        }
        if let present = local.endpoints[request.id] {
            guard present.network == network.id, present.addresses == addresses, present.mac == mac else {
                throw AgentError(
                    .conflict, operation, cause: "the endpoint exists with other addresses", remedy: "try again")
            }
            return mac
        }
        try local.set(
            LocalEndpoint(id: request.id, network: network.id, addresses: addresses, mac: mac, created: wallSeconds()))
        for address in addresses { giving.remove(AddressKey(network: network.id, address: address)) }
        await endpointsChanged(network.id)
        return mac
    }

    /// The network behind an engine's id, once it is settled that containers may use it.
    func usableNetwork(_ dockerID: String, _ operation: String) async throws -> NetworkObject {
        func engineNetwork() -> BoundNetwork? { local.engineNetworks[dockerID] }
        if engineNetwork() == nil, let network = await globalNetwork(dockerID) { return network }
        guard engineNetwork() != nil else {
            throw AgentError(
                .unknown, operation, cause: "network \(dockerID.prefix(12)) is not known here",
                remedy: "remove it and create it again with '-d tulle --ipam-driver tulle'")
        }
        // The name is learnt within moments of the creation.
        _ = await wait(within: .seconds(3)) {
            guard let mine = $0.local.engineNetworks[dockerID] else { return true }
            return mine.standing != .provisional && $0.view.networks[mine.network]?.state != .pending
        }
        guard let mine = engineNetwork(), let network = view.networks[mine.network] else {
            throw AgentError(
                .unknown, operation, cause: "the cluster has removed this network", remedy: "create it again")
        }
        switch mine.standing {
        case .confirmed: break
        case .quarantined(let reason):
            throw AgentError(.conflict, operation, cause: "the network is in quarantine", remedy: reason)
        case .provisional:
            throw AgentError(
                .conflict, operation, cause: "the name of this network is not known yet (its subnet is \(network.displayName)'s)",
                remedy: "see whether the agent reaches the engine: 'tulle status'")
        }
        guard network.state != .removed else {
            throw AgentError(
                .unknown, operation, cause: "network \(network.displayName) was removed from the cluster", remedy: "create it again")
        }
        return network
    }

    /// - Parameter publishes: the container publishes ports, which Docker's own gateway bridge serves; then no gateway of ours.
    package func join(_ id: EndpointID, sandbox: String, publishes: Bool) async throws -> Attachment {
        let operation = "attach the container"
        guard var endpoint = local.endpoints[id], let network = view.networks[endpoint.network] else {
            throw AgentError(.unknown, operation, cause: "the endpoint is not known here", remedy: "start the container again")
        }
        try checkPublishing(network, publishes, operation)
        let hasGateway = !network.isInternal && !publishes
        // Docker (29, not 20.10) mounts the sandbox before it calls Join, and wants to find the link outside all the same.
        joining.insert(id)
        defer { joining.remove(id) }
        if endpoint.sandbox != sandbox || endpoint.hasGateway != hasGateway || endpoint.wasSeen {
            endpoint.wasSeen = false
            endpoint.sandbox = sandbox
            endpoint.hasGateway = hasGateway
            try local.set(endpoint)
        }
        let failures = await reconciler.settle(.network(network.id))
        // One lost route to a peer is retried and stops nobody; the container's own link, or the network's tunnel, does.
        let fatal = failures.first { failure in
            if failure.isSkipped { return false }
            switch failure.step {
            case .createLink(_, Desired.tunnelLink, _), .createLink(_, Desired.bridgeLink, _), .setPort(_, Desired.tunnelLink, _): return true
            case .deleteRoute: return false
            default: return failure.step.link == nil || failure.step.link == endpoint.outerLink
            }
        }
        if let fatal {
            throw AgentError(
                .kernel, operation, cause: "the kernel refused: \(fatal.reason)", remedy: "see 'tulle plan' and the agent's log")
        }
        let subnets = network.subnets.filter { subnet in
            endpoint.addresses.contains { $0.family == subnet.prefix.family }
        }
        return Attachment(
            innerLink: endpoint.innerLink, gateways: hasGateway ? subnets.map(\.gateway) : [],
            routes: Desired.containerRoutes(network, addresses: endpoint.addresses, hasGateway: hasGateway))
    }

    package func leave(_ id: EndpointID) throws {
        guard var endpoint = local.endpoints[id], endpoint.sandbox != nil else { return }
        endpoint.sandbox = nil
        endpoint.wasSeen = false
        try local.set(endpoint)
    }

    package func deleteEndpoint(_ id: EndpointID) async throws {
        guard let endpoint = local.endpoints[id] else { return }
        try local.removeEndpoint(id, now: bootSeconds())
        // Its release comes next, and must not take it from somebody who got it meanwhile.
        for address in endpoint.addresses where local.allocations[endpoint.network]?[address] != nil {
            giving.insert(AddressKey(network: endpoint.network, address: address))
        }
        await endpointsChanged(endpoint.network)
    }

    /// The container's name, which the engine tells later.
    package func name(_ id: EndpointID, _ name: String) throws {
        guard var endpoint = local.endpoints[id], endpoint.name != name else { return }
        endpoint.name = name
        try local.set(endpoint)
        viewChanged()
    }

    func endpointsChanged(_ network: NetworkID) async {
        await reconciler.mark(.network(network))
        await reconciler.mark(.host)
        viewChanged()
    }
}
