import Docker
import HTTP
import Logging
import Synchronization

/// What a driver was asked.
enum Asked: Equatable, Sendable {
    case createNetwork(CreateNetworkRequest), deleteNetwork(String)
    case createEndpoint(CreateEndpointRequest), deleteEndpoint(EndpointKey), endpointInfo(EndpointKey)
    case join(JoinRequest), leave(EndpointKey)
    case program(ExternalConnectivityRequest), revoke(EndpointKey)
    case allocate(AllocateNetworkRequest), free(String)
    case discoverNew(Discovery), discoverDelete(Discovery)
    case requestPool(PoolRequest), releasePool(String), requestAddress(AddressRequest)
    case releaseAddress(String, String)
}

struct Refusal: Error, CustomStringConvertible {
    var description: String
}

/// Both drivers: writes down what it is asked and answers what it is told to.
final class RecordingDriver: NetworkDriver, AddressDriver {
    private let asked = Mutex<[Asked]>([])
    let networkCapabilities: NetworkCapabilities
    let addressCapabilities: AddressCapabilities
    let endpoint: CreateEndpointResponse
    let join: JoinResponse
    let refusal: Refusal?
    /// Runs during `leave`.
    let leaving: @Sendable () async -> Void

    init(
        network: NetworkCapabilities = NetworkCapabilities(scope: .local), addresses: AddressCapabilities = AddressCapabilities(),
        endpoint: CreateEndpointResponse = CreateEndpointResponse(), join: JoinResponse = JoinResponse(interface: nil),
        refusal: Refusal? = nil, leaving: @escaping @Sendable () async -> Void = {}
    ) {
        self.leaving = leaving
        (networkCapabilities, addressCapabilities) = (network, addresses)
        (self.endpoint, self.join, self.refusal) = (endpoint, join, refusal)
    }

    var calls: [Asked] { asked.withLock { $0 } }

    private func note(_ call: Asked) throws {
        asked.withLock { $0.append(call) }
        if let refusal { throw refusal }
    }

    func capabilities() async -> NetworkCapabilities { networkCapabilities }
    func createNetwork(_ request: CreateNetworkRequest) async throws { try note(.createNetwork(request)) }
    func deleteNetwork(id: String) async throws { try note(.deleteNetwork(id)) }
    func createEndpoint(_ request: CreateEndpointRequest) async throws -> CreateEndpointResponse {
        try note(.createEndpoint(request))
        return endpoint
    }
    func deleteEndpoint(_ endpoint: EndpointKey) async throws { try note(.deleteEndpoint(endpoint)) }
    func endpointInfo(_ endpoint: EndpointKey) async throws -> [String: String] {
        try note(.endpointInfo(endpoint))
        return ["b": "2", "a": "1"]
    }
    func join(_ request: JoinRequest) async throws -> JoinResponse {
        try note(.join(request))
        return join
    }
    func leave(_ endpoint: EndpointKey) async throws {
        try note(.leave(endpoint))
        await leaving()
    }
    func programExternalConnectivity(_ request: ExternalConnectivityRequest) async throws { try note(.program(request)) }
    func revokeExternalConnectivity(_ endpoint: EndpointKey) async throws { try note(.revoke(endpoint)) }
    func allocateNetwork(_ request: AllocateNetworkRequest) async throws -> [String: String] {
        try note(.allocate(request))
        return request.options
    }
    func freeNetwork(id: String) async throws { try note(.free(id)) }
    func discoverNew(_ discovery: Discovery) async throws { try note(.discoverNew(discovery)) }
    func discoverDelete(_ discovery: Discovery) async throws { try note(.discoverDelete(discovery)) }

    func capabilities() async -> AddressCapabilities { addressCapabilities }
    func defaultAddressSpaces() async -> AddressSpaces { AddressSpaces(local: "tulle", global: "tulle-global") }
    func requestPool(_ request: PoolRequest) async throws -> PoolResponse {
        try note(.requestPool(request))
        return PoolResponse(poolID: "p1", pool: request.pool ?? "10.32.0.0/16")
    }
    func releasePool(id: String) async throws { try note(.releasePool(id)) }
    func requestAddress(_ request: AddressRequest) async throws -> AddressResponse {
        try note(.requestAddress(request))
        return AddressResponse(address: "10.32.0.2/32", data: ["k": "v"])
    }
    func releaseAddress(poolID: String, address: String) async throws { try note(.releaseAddress(poolID, address)) }
}

/// A log that says nothing.
let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

extension PluginService {
    init(_ driver: RecordingDriver) { self.init(network: driver, addresses: driver, log: quiet) }

    func answer(_ call: String, _ body: String) async -> (status: Int, text: String) {
        let response = await answer(HTTPRequest("POST", "/" + call, body: Array(body.utf8)))
        return (response.status, String(decoding: response.body, as: UTF8.self))
    }
}

/// Every call that carries a body, as Docker 20.10 sent it to a plugin (ids filled up).
enum Recorded {
    static let network = "165e547c9b3a4f1d8e2c6a7b5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e"
    static let endpoint = "cf440c5432a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e165e547c9b3a4f1d8e2c6a"
    static let key = #""NetworkID":"\#(network)","EndpointID":"\#(endpoint)""#

    static let exposedPorts = #"""
        "com.docker.network.endpoint.exposedports":[{"Proto":6,"Port":9999},{"Proto":6,"Port":80},{"Proto":17,"Port":53}]
        """#
    static let portMap = #"""
        "com.docker.network.portmap":[{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8080},
        {"Proto":17,"IP":"","Port":53,"HostIP":"127.0.0.1","HostPort":5353,"HostPortEnd":5353}]
        """#

    static let bodies: [(call: String, body: String)] = [
        (
            "NetworkDriver.CreateNetwork",
            #"""
            {"NetworkID":"\#(network)","Options":{"com.docker.network.enable_ipv6":true,
            "com.docker.network.generic":{"com.example.mtu":"1400","k":"v"}},
            "IPv4Data":[{"AddressSpace":"LocalDefault","AuxAddresses":{"router":"10.50.0.9/24"},"Gateway":"10.50.0.1/24","Pool":"10.50.0.0/24"}],
            "IPv6Data":[{"AddressSpace":"LocalDefault","Gateway":"fd50::1/64","Pool":"fd50::/64"}]}
            """#
        ),
        ("NetworkDriver.DeleteNetwork", #"{"NetworkID":"\#(network)"}"#),
        (
            "NetworkDriver.CreateEndpoint",
            #"""
            {\#(key),"Interface":{"Address":"10.50.0.200/24","AddressIPv6":"fd50::2/64","MacAddress":"02:11:22:33:44:55"},
            "Options":{"a":"b","com.docker.network.endpoint.dnsservers":["10.50.0.53"],\#(exposedPorts),
            "com.docker.network.endpoint.macaddress":"AhEiM0RV",\#(portMap)}}
            """#
        ),
        ("NetworkDriver.DeleteEndpoint", "{\(key)}"),
        ("NetworkDriver.EndpointOperInfo", "{\(key)}"),
        ("NetworkDriver.Join", #"{\#(key),"SandboxKey":"/var/run/docker/netns/e209e62e404a","Options":{\#(exposedPorts),\#(portMap)}}"#),
        ("NetworkDriver.Leave", "{\(key)}"),
        ("NetworkDriver.ProgramExternalConnectivity", #"{\#(key),"Options":{\#(exposedPorts),\#(portMap)}}"#),
        ("NetworkDriver.RevokeExternalConnectivity", "{\(key)}"),
        (
            "NetworkDriver.AllocateNetwork",
            #"""
            {"NetworkID":"imy8s80u2noud1tx1oillysrh","Options":{"k":"v"},
            "IPv4Data":[{"AddressSpace":"","Gateway":"10.60.0.1/24","Pool":"10.60.0.0/24"}],"IPv6Data":null}
            """#
        ),
        ("NetworkDriver.FreeNetwork", #"{"NetworkID":"imy8s80u2noud1tx1oillysrh"}"#),
        ("NetworkDriver.DiscoverNew", #"{"DiscoveryType":1,"DiscoveryData":{"Address":"192.168.99.2","BindAddress":"","Self":false}}"#),
        ("NetworkDriver.DiscoverDelete", #"{"DiscoveryType":1,"DiscoveryData":{"Address":"192.168.99.2","BindAddress":"","Self":false}}"#),
        ("IpamDriver.RequestPool", #"{"AddressSpace":"tulle","Pool":"10.54.0.0/24","SubPool":"10.54.0.64/26","Options":{"tulle.network":"x"},"V6":false}"#),
        ("IpamDriver.ReleasePool", #"{"PoolID":"tulle/10.54.0.0/24"}"#),
        ("IpamDriver.RequestAddress", #"{"PoolID":"p1","Address":"10.54.0.254","Options":{"RequestAddressType":"com.docker.network.gateway"}}"#),
        ("IpamDriver.ReleaseAddress", #"{"PoolID":"p1","Address":"10.54.0.1"}"#),
    ]

    static func body(_ call: String) -> String { bodies.first { $0.call == call }?.body ?? "" }
}
