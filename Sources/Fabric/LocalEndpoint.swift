/// A container's attachment on this node, as the agent remembers it durably.
package import Addressing

package struct LocalEndpoint: Hashable, Sendable, Codable {
    package var v = storeFormat
    package var id: EndpointID
    package var network: NetworkID
    package var addresses: [IPAddress]
    package var mac: MACAddress
    /// Seconds since 1970.
    package var created: Int
    /// The file of the container's namespace; set by Join, cleared by Leave.
    package var sandbox: String?
    /// The sandbox was seen mounted: from then on its absence is a sign of death.
    package var wasSeen: Bool
    /// Join answered a gateway of ours.
    package var hasGateway: Bool
    /// The container's name, when the engine told it.
    package var name: String?
    /// What else it is called, when the engine told it.
    package var names: ContainerNames?

    package init(id: EndpointID, network: NetworkID, addresses: [IPAddress], mac: MACAddress, created: Int) {
        self.id = id
        self.network = network
        self.addresses = addresses
        self.mac = mac
        self.created = created
        wasSeen = false
        hasGateway = false
    }

    package var isJoined: Bool { sandbox != nil }

    /// The end of its veth pair in the network's namespace.
    package var outerLink: String { "ep" + linkDigits }
    /// The end that Docker takes; not one of the names that the host's observation covers.
    package var innerLink: String { "tl" + linkDigits }
    private var linkDigits: String {
        let digits = String(fnv1a(id.description) & 0xffff_ffff_ffff, radix: 16)
        return String(repeating: "0", count: 12 - digits.count) + digits
    }

    /// The MAC of an address: a restarted container with the same address is reached at once, whatever others remember.
    package static func mac(for address: IPAddress) -> MACAddress {
        address.family == .v4
            ? MACAddress(bits: 0x0274_0000_0000 | UInt64(truncatingIfNeeded: address.bits))
            : MACAddress.local(fnv1a(address.description))
    }
}
