/// Docker's network and address driver, in terms of the `Controller`. A request changes the state and waits until the kernel has
/// it; nothing here asks the engine anything, which would deadlock it.
import Addressing
import Docker
import Fabric

struct DockerDriver: NetworkDriver, AddressDriver {
    let controller: Controller

    // MARK: Networks

    func capabilities() async -> NetworkCapabilities {
        NetworkCapabilities(scope: controller.terms.scopeIsGlobal ? .global : .local, connectivityScope: .global)
    }

    func createNetwork(_ request: CreateNetworkRequest) async throws {
        let pools = (request.ipv4 + request.ipv6).map {
            NetworkRequest.Pool(
                addressSpace: $0.addressSpace, prefix: $0.pool, gateway: $0.gateway ?? "",
                auxiliary: $0.auxiliaryAddresses)
        }
        try await controller.createNetwork(
            NetworkRequest(
                dockerID: request.networkID, options: request.options.driver, isInternal: request.options.isInternal,
                pools: pools))
    }
    func deleteNetwork(id: String) async throws { try await controller.deleteNetwork(id) }

    // MARK: Endpoints

    func createEndpoint(_ request: CreateEndpointRequest) async throws -> CreateEndpointResponse {
        let mac = try await controller.createEndpoint(
            EndpointRequest(
                dockerID: request.endpoint.networkID, id: EndpointID(request.endpoint.endpointID),
                addresses: [request.address, request.addressIPv6].compactMap { $0 },
                mac: request.macAddress ?? request.options.macAddress ?? ""))
        // Answering what was given is an error to the engine.
        return CreateEndpointResponse(macAddress: request.macAddress == nil ? mac.description : nil)
    }
    func deleteEndpoint(_ endpoint: EndpointKey) async throws {
        try await controller.deleteEndpoint(EndpointID(endpoint.endpointID))
    }
    func endpointInfo(_ endpoint: EndpointKey) async throws -> [String: String] { [:] }

    func join(_ request: JoinRequest) async throws -> JoinResponse {
        let attachment = try await controller.join(
            EndpointID(request.endpoint.endpointID), sandbox: request.sandboxKey,
            publishes: !request.options.portMappings.isEmpty)
        func gateway(_ family: AddressFamily) -> String? {
            attachment.gateways.first { $0.family == family }?.description
        }
        return JoinResponse(
            interface: JoinResponse.Interface(source: attachment.innerLink, prefix: "eth"), gateway: gateway(.v4), gatewayIPv6: gateway(.v6),
            routes: attachment.routes.map {
                JoinResponse.Route(destination: $0.destination.description, nextHop: $0.nextHop?.description)
            })
    }
    func leave(_ endpoint: EndpointKey) async throws { try await controller.leave(EndpointID(endpoint.endpointID)) }

    // Egress is the network's own; ports are published by the engine's gateway bridge.
    func programExternalConnectivity(_ request: ExternalConnectivityRequest) async throws {}
    func revokeExternalConnectivity(_ endpoint: EndpointKey) async throws {}

    // The cluster knows its nodes and networks by the store, not by the engines.
    func allocateNetwork(_ request: AllocateNetworkRequest) async throws -> [String: String] { request.options }
    func freeNetwork(id: String) async throws {}
    func discoverNew(_ discovery: Discovery) async throws {}
    func discoverDelete(_ discovery: Discovery) async throws {}

    // MARK: Addresses

    func capabilities() async -> AddressCapabilities { AddressCapabilities() }
    func defaultAddressSpaces() async -> AddressSpaces {
        AddressSpaces(local: Controller.addressSpace, global: Controller.globalAddressSpace)
    }

    func requestPool(_ request: PoolRequest) async throws -> PoolResponse {
        let pool = try await controller.requestPool(
            prefix: request.pool ?? "", range: request.subPool ?? "", options: request.options, isV6: request.isIPv6)
        return PoolResponse(poolID: pool.id, pool: pool.prefix.description)
    }
    func releasePool(id: String) async throws { try await controller.releasePool(id) }

    func requestAddress(_ request: AddressRequest) async throws -> AddressResponse {
        if request.isGateway {
            return AddressResponse(
                address: try await controller.requestGateway(request.poolID, request.address ?? "").description)
        }
        let wanted = try request.address.map { try parse($0, "give address \($0)") }
        return AddressResponse(address: try await controller.requestAddress(request.poolID, wanted).description)
    }
    func releaseAddress(poolID: String, address: String) async throws {
        try await controller.releaseAddress(poolID, parse(address, "release address \(address)"))
    }

    private func parse(_ text: String, _ operation: String) throws -> IPAddress {
        guard let address = IPAddress(text) ?? InterfaceAddress(text)?.address else {
            throw AgentError(.invalid, operation, cause: "it is no address", remedy: "correct it")
        }
        return address
    }
}
