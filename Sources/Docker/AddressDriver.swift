/// The calls of Docker's remote address (IPAM) driver protocol. Addresses are texts, as on the wire. A thrown error's text is
/// what the user of Docker reads.
package protocol AddressDriver: Sendable {
    func capabilities() async -> AddressCapabilities
    func defaultAddressSpaces() async -> AddressSpaces

    /// A network is about to be made with this subnet.
    func requestPool(_ request: PoolRequest) async throws -> PoolResponse
    /// The engine forgets the pool whatever is answered.
    func releasePool(id: String) async throws

    /// An address for a container (before its endpoint), a gateway or an auxiliary host.
    func requestAddress(_ request: AddressRequest) async throws -> AddressResponse
    /// The engine forgets the address whatever is answered.
    func releaseAddress(poolID: String, address: String) async throws
}

package struct AddressCapabilities: Equatable, Sendable {
    /// The engine chooses the MAC first and sends it with the request for an address.
    package var requiresMACAddress: Bool
    /// The engine repeats its requests for pools and gateways when it starts.
    package var requiresRequestReplay: Bool

    package init(requiresMACAddress: Bool = false, requiresRequestReplay: Bool = false) {
        self.requiresMACAddress = requiresMACAddress
        self.requiresRequestReplay = requiresRequestReplay
    }
}

package struct AddressSpaces: Equatable, Sendable {
    package var local: String
    package var global: String

    package init(local: String, global: String) {
        self.local = local
        self.global = global
    }
}

package struct PoolRequest: Equatable, Sendable {
    package var addressSpace: String
    /// `--subnet`; nil to have one chosen.
    package var pool: String?
    /// `--ip-range`.
    package var subPool: String?
    /// `--ipam-opt`.
    package var options: [String: String]
    package var isIPv6: Bool

    package init(
        addressSpace: String, pool: String? = nil, subPool: String? = nil, options: [String: String] = [:], isIPv6: Bool = false
    ) {
        self.addressSpace = addressSpace
        self.pool = pool
        self.subPool = subPool
        self.options = options
        self.isIPv6 = isIPv6
    }
}

package struct PoolResponse: Equatable, Sendable {
    package var poolID: String
    package var pool: String
    /// `com.docker.network.gateway` here spares the request for the gateway.
    package var data: [String: String]

    package init(poolID: String, pool: String, data: [String: String] = [:]) {
        self.poolID = poolID
        self.pool = pool
        self.data = data
    }
}

package struct AddressRequest: Equatable, Sendable {
    package var poolID: String
    /// nil to have one chosen.
    package var address: String?
    package var options: [String: String]

    package init(poolID: String, address: String? = nil, options: [String: String] = [:]) {
        self.poolID = poolID
        self.address = address
        self.options = options
    }

    /// It is the network's gateway that is asked for.
    package var isGateway: Bool { options["RequestAddressType"] == "com.docker.network.gateway" }
    /// The container's MAC, when it is known: always with `requiresMACAddress`, else with `--mac-address`.
    package var macAddress: String? { options["com.docker.network.endpoint.macaddress"] }
}

package struct AddressResponse: Equatable, Sendable {
    /// With any length: "10.32.0.2/32".
    package var address: String
    package var data: [String: String]

    package init(address: String, data: [String: String] = [:]) {
        self.address = address
        self.data = data
    }
}
