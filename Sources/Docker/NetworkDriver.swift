/// The calls of Docker's remote network driver protocol, as Docker 20.10 to 28 sends them (libnetwork, docs/remote.md).
/// Addresses are texts here, as they are on the wire: a prefix such as "10.32.0.2/16", a gateway without its length. A thrown
/// error's text is what the user of Docker reads.
package protocol NetworkDriver: Sendable {
    func capabilities() async -> NetworkCapabilities

    /// A network was made on this engine. The engine sends neither its name nor its labels.
    func createNetwork(_ request: CreateNetworkRequest) async throws
    /// The engine forgets the network whatever is answered.
    func deleteNetwork(id: String) async throws

    /// After an error the engine sends no `deleteEndpoint`: what was done must be undone here.
    func createEndpoint(_ request: CreateEndpointRequest) async throws -> CreateEndpointResponse
    /// The engine forgets the endpoint whatever is answered.
    func deleteEndpoint(_ endpoint: EndpointKey) async throws
    /// Comes twice for a container whose endpoint gave a gateway; an error ends the container.
    func endpointInfo(_ endpoint: EndpointKey) async throws -> [String: String]

    /// The container starts: the interface named in the answer must exist in the host's namespace when this returns. After an
    /// error `deleteEndpoint` follows, and no `leave`.
    func join(_ request: JoinRequest) async throws -> JoinResponse
    func leave(_ endpoint: EndpointKey) async throws

    /// Only for an endpoint that gave the container its gateway: publish these ports.
    func programExternalConnectivity(_ request: ExternalConnectivityRequest) async throws
    func revokeExternalConnectivity(_ endpoint: EndpointKey) async throws

    /// Swarm's manager asks for a network's options; the answer replaces the user's.
    func allocateNetwork(_ request: AllocateNetworkRequest) async throws -> [String: String]
    func freeNetwork(id: String) async throws

    /// A node appeared or went, where the engines have a cluster of their own.
    func discoverNew(_ discovery: Discovery) async throws
    func discoverDelete(_ discovery: Discovery) async throws
}

/// Whether an object is known to one engine or to all.
package enum DriverScope: String, Sendable {
    case local, global
}

package struct NetworkCapabilities: Equatable, Sendable {
    package var scope: DriverScope
    /// Whether containers on several engines reach each other; the engine takes it for `scope` when nil.
    package var connectivityScope: DriverScope?

    package init(scope: DriverScope, connectivityScope: DriverScope? = nil) {
        self.scope = scope
        self.connectivityScope = connectivityScope
    }
}

/// An endpoint by the engine's two ids.
package struct EndpointKey: Hashable, Sendable {
    package var networkID: String
    package var endpointID: String

    package init(networkID: String, endpointID: String) {
        self.networkID = networkID
        self.endpointID = endpointID
    }
}

/// One subnet of a network, from the address driver.
package struct NetworkPool: Equatable, Sendable {
    /// Which address driver it is from: ours has the name that `AddressDriver.defaultAddressSpaces` gives.
    package var addressSpace: String
    /// The subnet, "10.32.0.0/16".
    package var pool: String
    /// With the subnet's length, "10.32.0.1/16"; nil when there is none.
    package var gateway: String?
    /// `--aux-address` by name, with the subnet's length.
    package var auxiliaryAddresses: [String: String]

    package init(addressSpace: String, pool: String, gateway: String? = nil, auxiliaryAddresses: [String: String] = [:]) {
        self.addressSpace = addressSpace
        self.pool = pool
        self.gateway = gateway
        self.auxiliaryAddresses = auxiliaryAddresses
    }
}

package struct CreateNetworkRequest: Equatable, Sendable {
    package var networkID: String
    package var options: NetworkOptions
    package var ipv4: [NetworkPool]
    package var ipv6: [NetworkPool]

    package init(
        networkID: String, options: NetworkOptions = NetworkOptions(), ipv4: [NetworkPool] = [], ipv6: [NetworkPool] = []
    ) {
        self.networkID = networkID
        self.options = options
        self.ipv4 = ipv4
        self.ipv6 = ipv6
    }
}

package struct AllocateNetworkRequest: Equatable, Sendable {
    /// 25 letters and digits, unlike an engine's own.
    package var networkID: String
    package var options: [String: String]
    package var ipv4: [NetworkPool]
    package var ipv6: [NetworkPool]

    package init(networkID: String, options: [String: String] = [:], ipv4: [NetworkPool] = [], ipv6: [NetworkPool] = []) {
        self.networkID = networkID
        self.options = options
        self.ipv4 = ipv4
        self.ipv6 = ipv6
    }
}

package struct CreateEndpointRequest: Equatable, Sendable {
    package var endpoint: EndpointKey
    /// What is settled already: with the addresses' lengths; nil where the driver may choose.
    package var address: String?
    package var addressIPv6: String?
    package var macAddress: String?
    package var options: EndpointOptions

    package init(
        endpoint: EndpointKey, address: String? = nil, addressIPv6: String? = nil, macAddress: String? = nil,
        options: EndpointOptions = EndpointOptions()
    ) {
        self.endpoint = endpoint
        self.address = address
        self.addressIPv6 = addressIPv6
        self.macAddress = macAddress
        self.options = options
    }
}

/// What the driver chose. The engine takes a field that the request had already for an error.
package struct CreateEndpointResponse: Equatable, Sendable {
    package var address: String?
    package var addressIPv6: String?
    package var macAddress: String?

    package init(address: String? = nil, addressIPv6: String? = nil, macAddress: String? = nil) {
        self.address = address
        self.addressIPv6 = addressIPv6
        self.macAddress = macAddress
    }
}

package struct JoinRequest: Equatable, Sendable {
    package var endpoint: EndpointKey
    /// The file of the container's namespace; at a container's start it does not exist yet.
    package var sandboxKey: String
    package var options: EndpointOptions

    package init(endpoint: EndpointKey, sandboxKey: String, options: EndpointOptions = EndpointOptions()) {
        self.endpoint = endpoint
        self.sandboxKey = sandboxKey
        self.options = options
    }
}

package struct JoinResponse: Equatable, Sendable {
    package struct Interface: Equatable, Sendable {
        /// In the host's namespace, from which the engine moves it into the container.
        package var source: String
        /// The start of its name there: "eth" becomes eth0, eth1 …
        package var prefix: String

        package init(source: String, prefix: String) {
            self.source = source
            self.prefix = prefix
        }
    }

    package struct Route: Equatable, Sendable {
        /// "10.32.0.0/16".
        package var destination: String
        /// Without one the destination is on the link.
        package var nextHop: String?

        package init(destination: String, nextHop: String? = nil) {
            self.destination = destination
            self.nextHop = nextHop
        }
    }

    /// nil leaves the container without one.
    package var interface: Interface?
    /// The container's default gateway; without one, and without `disablesGatewayService`, the engine adds docker_gwbridge.
    package var gateway: String?
    package var gatewayIPv6: String?
    package var routes: [Route]
    package var disablesGatewayService: Bool

    package init(
        interface: Interface?, gateway: String? = nil, gatewayIPv6: String? = nil, routes: [Route] = [],
        disablesGatewayService: Bool = false
    ) {
        self.interface = interface
        self.gateway = gateway
        self.gatewayIPv6 = gatewayIPv6
        self.routes = routes
        self.disablesGatewayService = disablesGatewayService
    }
}

package struct ExternalConnectivityRequest: Equatable, Sendable {
    package var endpoint: EndpointKey
    package var options: EndpointOptions

    package init(endpoint: EndpointKey, options: EndpointOptions = EndpointOptions()) {
        self.endpoint = endpoint
        self.options = options
    }
}

/// News of the engines' own cluster.
package struct Discovery: Equatable, Sendable {
    /// 1: a node, with `Address`, `BindAddress` and `Self` in `data`.
    package var type: Int
    package var data: JSONValue

    package init(type: Int, data: JSONValue) {
        self.type = type
        self.data = data
    }
}
