/// Requests out of their JSON and answers into it. Field names are Go's, of the engine's `drivers/remote/api` and
/// `ipams/remote/api`.

extension EndpointKey {
    init(_ fields: FieldReader) throws(DockerError) {
        self.init(networkID: try fields.identifier("NetworkID"), endpointID: try fields.identifier("EndpointID"))
    }
}

extension NetworkPool {
    static func list(_ fields: FieldReader, _ name: String) throws(DockerError) -> [NetworkPool] {
        var pools: [NetworkPool] = []
        for entry in try fields.readers(name) {
            pools.append(
                NetworkPool(
                    addressSpace: try entry.text("AddressSpace"), pool: try entry.requiredText("Pool"),
                    gateway: try entry.optionalText("Gateway"), auxiliaryAddresses: try entry.textMap("AuxAddresses")))
        }
        return pools
    }
}

extension CreateNetworkRequest {
    init(_ fields: FieldReader) throws(DockerError) {
        networkID = try fields.identifier("NetworkID")
        options = try NetworkOptions(fields.reader("Options"))
        ipv4 = try NetworkPool.list(fields, "IPv4Data")
        ipv6 = try NetworkPool.list(fields, "IPv6Data")
    }
}

extension AllocateNetworkRequest {
    init(_ fields: FieldReader) throws(DockerError) {
        networkID = try fields.identifier("NetworkID")
        options = try fields.textMap("Options")
        ipv4 = try NetworkPool.list(fields, "IPv4Data")
        ipv6 = try NetworkPool.list(fields, "IPv6Data")
    }
}

extension CreateEndpointRequest {
    init(_ fields: FieldReader) throws(DockerError) {
        endpoint = try EndpointKey(fields)
        let interface = try fields.reader("Interface")
        address = try interface.optionalText("Address")
        addressIPv6 = try interface.optionalText("AddressIPv6")
        macAddress = try interface.optionalText("MacAddress")
        options = try EndpointOptions(fields.reader("Options"))
    }
}

extension JoinRequest {
    init(_ fields: FieldReader) throws(DockerError) {
        endpoint = try EndpointKey(fields)
        sandboxKey = try fields.requiredText("SandboxKey")
        options = try EndpointOptions(fields.reader("Options"))
    }
}

extension ExternalConnectivityRequest {
    init(_ fields: FieldReader) throws(DockerError) {
        endpoint = try EndpointKey(fields)
        options = try EndpointOptions(fields.reader("Options"))
    }
}

extension Discovery {
    init(_ fields: FieldReader) throws(DockerError) {
        type = try fields.integer("DiscoveryType")
        data = fields.fields["DiscoveryData"] ?? .null
    }
}

extension PoolRequest {
    init(_ fields: FieldReader) throws(DockerError) {
        addressSpace = try fields.text("AddressSpace")
        pool = try fields.optionalText("Pool")
        subPool = try fields.optionalText("SubPool")
        options = try fields.textMap("Options")
        isIPv6 = try fields.bool("V6")
    }
}

extension AddressRequest {
    init(_ fields: FieldReader) throws(DockerError) {
        poolID = try fields.requiredText("PoolID")
        address = try fields.optionalText("Address")
        options = try fields.textMap("Options")
    }
}

extension NetworkCapabilities {
    var json: JSONValue {
        .object(["Scope": .text(scope.rawValue)].adding("ConnectivityScope", connectivityScope?.rawValue))
    }
}

extension CreateEndpointResponse {
    var json: JSONValue {
        let interface = [String: JSONValue]().adding("Address", address).adding("AddressIPv6", addressIPv6)
            .adding("MacAddress", macAddress)
        return interface.isEmpty ? [:] : ["Interface": .object(interface)]
    }
}

extension JoinResponse {
    var json: JSONValue {
        var fields = [String: JSONValue]().adding("Gateway", gateway).adding("GatewayIPv6", gatewayIPv6)
        if let interface {
            fields["InterfaceName"] = ["SrcName": .text(interface.source), "DstPrefix": .text(interface.prefix)]
        }
        if !routes.isEmpty { fields["StaticRoutes"] = .list(routes.map(\.json)) }
        if disablesGatewayService { fields["DisableGatewayService"] = true }
        return .object(fields)
    }
}

extension JoinResponse.Route {
    /// RouteType 0 goes by a next hop, 1 is on the link.
    fileprivate var json: JSONValue {
        .object(
            ["Destination": .text(destination), "RouteType": .integer(nextHop == nil ? 1 : 0)].adding("NextHop", nextHop))
    }
}

extension AddressCapabilities {
    var json: JSONValue {
        ["RequiresMACAddress": .bool(requiresMACAddress), "RequiresRequestReplay": .bool(requiresRequestReplay)]
    }
}

extension AddressSpaces {
    var json: JSONValue { ["LocalDefaultAddressSpace": .text(local), "GlobalDefaultAddressSpace": .text(global)] }
}

extension PoolResponse {
    var json: JSONValue { ["PoolID": .text(poolID), "Pool": .text(pool), "Data": .texts(data)] }
}

extension AddressResponse {
    var json: JSONValue { ["Address": .text(address), "Data": .texts(data)] }
}

extension JSONValue {
    static func texts(_ texts: [String: String]) -> JSONValue { .object(texts.mapValues { .text($0) }) }
}

extension [String: JSONValue] {
    /// With the field, unless the text is nil.
    func adding(_ name: String, _ text: String?) -> [String: JSONValue] {
        guard let text else { return self }
        return merging([name: .text(text)]) { $1 }
    }
}
