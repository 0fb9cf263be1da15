/// What one network namespace holds in the kernel, as far as it concerns us: the common language of the planner, which
/// compares a desired state with an observed one, and of the data plane, which observes and applies.
///
/// In a network's namespace everything is ours, so the observed state there is everything except what the kernel makes
/// by itself (routes of protocol "kernel", link-local IPv6 addresses, the local table, dynamic neighbours). In the host's
/// namespace the observed state is only what carries our marks: links whose names begin with `tulle`, what hangs
/// on them, and the nftables tables of our name.
package import Addressing

/// A namespace that we write to.
package enum NamespaceID: Hashable, Sendable, Comparable, CustomStringConvertible {
    case host
    /// A network's, by the first 12 hexadecimal digits of the network's id.
    case pinned(String)

    package static func network(_ id: NetworkID) -> NamespaceID { .pinned(id.short) }

    /// From the name of a file below /run/netns; nil when it is not one of ours.
    package init?(pinName: String) {
        guard pinName.hasPrefix(Self.prefix) else { return nil }
        let digits = String(pinName.dropFirst(Self.prefix.count))
        guard digits.utf8.count == 12, digits.utf8.allSatisfy(\.isLowerHex) else { return nil }
        self = .pinned(digits)
    }
    private static let prefix = "tulle-"

    /// The file below /run/netns; nil for the host's own.
    package var pinName: String? {
        guard case .pinned(let digits) = self else { return nil }
        return Self.prefix + digits
    }
    package var description: String { pinName ?? "host" }
    package static func < (left: Self, right: Self) -> Bool { left.description < right.description }
}

package struct NamespaceState: Hashable, Sendable {
    /// By interface name. `lo` is always there.
    package var links: [String: Link] = [:]
    package var addresses: Set<LinkAddress> = []
    /// Permanent entries only; all others are the kernel's own business.
    package var neighbors: [NeighborKey: MACAddress] = [:]
    /// Rows of VXLAN forwarding databases: where a MAC lives.
    package var forwarding: [ForwardingKey: IPAddress] = [:]
    /// Behind which port of the namespace's bridge a MAC is: static rows of the bridge's own forwarding database.
    package var stations: [MACAddress: String] = [:]
    package var floods: Set<FloodRow> = []
    package var groups: Set<GroupRow> = []
    /// The main table.
    package var routes: [RouteKey: RouteTarget] = [:]
    /// Path below /proc/sys with slashes → value. Observed: the paths that desired states use (see `Sysctl`).
    package var sysctls: [String: String] = [:]
    package var filter: PacketFilter?
    /// In the table of family `bridge`: what passes from port to port, which the other one does not see.
    package var bridgeFilter: PacketFilter?
    /// Only observed: multicast groups, without link-local ones, to which somebody behind a port other than the tunnel listens.
    package var listened: Set<IPAddress> = []
    /// Only observed: this kernel's VXLAN devices have no `groups`.
    package var lacksGroups = false
    /// Only in desired states: links of which nothing is known, so that they and what hangs on them are left as they are.
    package var unknownLinks: Set<String> = []

    package init() {}

    /// Without these links and all that hangs on them.
    func without(_ gone: Set<String>) -> NamespaceState {
        guard !gone.isEmpty else { return self }
        var rest = self
        rest.links = links.filter { !gone.contains($0.key) }
        rest.addresses = addresses.filter { !gone.contains($0.link) }
        rest.neighbors = neighbors.filter { !gone.contains($0.key.link) }
        rest.forwarding = forwarding.filter { !gone.contains($0.key.link) }
        // With the bridge all its rows go, and its ports are ports no more.
        rest.stations = gone.contains { links[$0]?.kind == .bridge } ? [:] : stations.filter { !gone.contains($0.value) }
        for (name, link) in rest.links { if let port = link.port, gone.contains(port.bridge) { rest.links[name]?.port = nil } }
        rest.floods = floods.filter { !gone.contains($0.link) }
        rest.groups = groups.filter { !gone.contains($0.link) }
        rest.routes = routes.filter { $0.value.link.map { !gone.contains($0) } ?? true }
        return rest
    }
}

// MARK: Links

package struct Link: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case loopback
        case vxlan(VXLAN)
        /// One end of a pair. The end that is created says where the other end goes; observed ends say nothing.
        case veth
        case bridge
        /// Any other kind, by the kernel's name.
        case other(String)
    }
    package var kind: Kind
    /// nil: whatever it has.
    package var mac: MACAddress?
    /// nil: whatever it has.
    package var mtu: Int?
    package var isUp: Bool
    /// Only in desired states, and not compared: how to make the pair.
    package var peer: VethPeer?
    /// Of a bridge.
    package var bridge: Bridge?
    /// Of a link that is a port of one.
    package var port: BridgePort?

    package init(
        _ kind: Kind, mac: MACAddress? = nil, mtu: Int? = nil, isUp: Bool = true, peer: VethPeer? = nil, bridge: Bridge? = nil,
        port: BridgePort? = nil
    ) {
        self.kind = kind
        self.mac = mac
        self.mtu = mtu
        self.isUp = isUp
        self.peer = peer
        self.bridge = bridge
        self.port = port
    }
}

/// A VXLAN device (RFC 7348): made in the host's namespace, whose stack carries its outer packets, and placed in the
/// network's. `nolearning`, no underlay device bound.
package struct VXLAN: Hashable, Sendable {
    package var vni: VNI
    /// UDP destination port.
    package var port: UInt16
    /// Outer source address.
    package var local: IPAddress
    package init(vni: VNI, port: UInt16, local: IPAddress) {
        self.vni = vni
        self.port = port
        self.local = local
    }
}

/// The other end of a veth pair at its birth.
package struct VethPeer: Hashable, Sendable {
    package enum Place: Hashable, Sendable {
        case namespace(NamespaceID)
        /// A container's namespace by its file, for the repair of a lost pair: the end is given these
        /// addresses and routes there, as Docker had done, under the first free name of that prefix.
        case sandbox(path: String, addresses: [InterfaceAddress], routes: [SandboxRoute])
    }
    package var name: String
    package var mac: MACAddress?
    package var place: Place
    package init(name: String, mac: MACAddress? = nil, place: Place) {
        self.name = name
        self.mac = mac
        self.place = place
    }
}

/// A route inside a container; without a next hop it is on the link.
package struct SandboxRoute: Hashable, Sendable {
    package var destination: IPPrefix
    package var nextHop: IPAddress?
    package init(destination: IPPrefix, nextHop: IPAddress?) {
        self.destination = destination
        self.nextHop = nextHop
    }
}

// MARK: Addresses, neighbours, forwarding rows, routes

package struct LinkAddress: Hashable, Sendable {
    package var link: String
    package var address: InterfaceAddress
    package init(link: String, address: InterfaceAddress) {
        self.link = link
        self.address = address
    }
}

package struct NeighborKey: Hashable, Sendable {
    package var link: String
    package var address: IPAddress
    package init(link: String, address: IPAddress) {
        self.link = link
        self.address = address
    }
}

package struct ForwardingKey: Hashable, Sendable {
    package var link: String
    package var mac: MACAddress
    package init(link: String, mac: MACAddress) {
        self.link = link
        self.mac = mac
    }
}

package struct RouteKey: Hashable, Sendable {
    package var destination: IPPrefix
    /// As the kernel shows it; IPv6's "no metric given" is 1024.
    package var metric: UInt32
    package init(destination: IPPrefix, metric: UInt32? = nil) {
        self.destination = destination
        self.metric = metric ?? (destination.family == .v6 ? 1024 : 0)
    }
}

package enum RouteTarget: Hashable, Sendable {
    /// On the link.
    case link(String)
    /// Through a next hop, which may be of the other family (RTA_VIA), taken to be on the link (`onlink`).
    case via(IPAddress, link: String)
    /// The same, or without a next hop on the link, and the host's own packets go from that address unless their program chose one (RTA_PREFSRC).
    case sourced(IPAddress, via: IPAddress?, link: String)
    /// "No route to host" at once.
    case unreachable
    /// Anything that we never make, such as several next hops: observed only.
    case foreign

    package var link: String? {
        switch self {
        case .link(let name), .via(_, let name), .sourced(_, via: _, let name): name
        case .unreachable, .foreign: nil
        }
    }
}

/// The sysctls that desired states use, so that an observer knows which to read.
package enum Sysctl {
    /// Of the namespace itself.
    package static let namespace = [
        "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/rp_filter",
        "net/ipv4/conf/all/send_redirects",
    ] + bridgeHooks
    /// Whether bridged packets go through the filters for routed ones too (the module br_netfilter). Where it is not loaded they do not.
    package static let bridgeHooks = ["iptables", "ip6tables", "arptables"].map { "net/bridge/bridge-nf-call-\($0)" }
    /// Of a link of ours.
    package static func link(_ name: String) -> [String] {
        ["rp_filter", "send_redirects", "accept_local"].map { "net/ipv4/conf/\(name)/\($0)" } + ["net/ipv6/conf/\(name)/disable_ipv6"]
    }
}
