/// What the kernel's messages mean in the words of `Fabric`.
import Addressing
import CLinux
import Fabric
import Glibc
import Netlink

extension Link {
    init(_ message: LinkMessage) {
        let kind: Kind =
            switch message.kind {
            case .vxlan(let data): .vxlan(data)
            case .veth: .veth
            case .bridge: .bridge
            case .other(let name): .other(name)
            case nil: message.isLoopback ? .loopback : .other("device")
            }
        self.init(kind, mac: message.mac, mtu: message.mtu.map(Int.init), isUp: message.isUp == true)
        if case .bridge(let data) = message.kind { bridge = Bridge(data) }
    }
}

extension Link.Kind {
    /// One that learns, is bound to a device, floods or takes its VNI from each packet is none of ours.
    fileprivate static func vxlan(_ data: VXLANData) -> Link.Kind {
        guard let vni = VNI(data.vni), let local = data.local, data.group == nil, data.lower ?? 0 == 0, !data.isLearning,
            !data.collectsMetadata
        else { return .other("vxlan") }
        return .vxlan(VXLAN(vni: vni, port: data.port, local: local))
    }
}

extension LinkMessage {
    /// The devices that tunnel modules put into each new namespace; they cannot be deleted, and carry nothing.
    var isKernelMade: Bool {
        guard case .other(let kind) = kind, let name else { return false }
        return Self.fallbacks[name] == kind
    }
    private static let fallbacks = [
        "tunl0": "ipip", "gre0": "gre", "gretap0": "gretap", "erspan0": "erspan", "ip_vti0": "vti", "ip6_vti0": "vti6",
        "sit0": "sit", "ip6tnl0": "ip6tnl", "ip6gre0": "ip6gre",
    ]
}

extension AddressMessage {
    /// Loopback's own, and the link-local address that IPv6 gives each link (IFA_PROTO, since Linux 5.18).
    func isKernelMade(on link: String) -> Bool {
        if origin == UInt8(IFAPROT_KERNEL_LO) || origin == UInt8(IFAPROT_KERNEL_LL) { return true }
        return link == "lo" && address.address.isLoopback
    }
}

extension NeighborMessage {
    /// Where the row leads; the unspecified address, which is never wanted, when it leaves the device by another port, VNI or
    /// underlay device than the device's own.
    var remote: IPAddress? {
        guard let destination else { return nil }
        return port == nil && vni == nil && lower == nil ? destination : IPAddress(destination.family, bits: 0)
    }
}

extension RouteMessage {
    /// - Parameter links: the names of the hops' links.
    func target(on links: [String]) -> RouteTarget {
        guard unknown.isEmpty, tos == 0 else { return .foreign }
        if type == UInt8(RTN_UNREACHABLE), preferredSource == nil { return .unreachable }
        guard type == UInt8(RTN_UNICAST), hops.count == 1, links.count == 1 else { return .foreign }
        if let source = preferredSource { return .sourced(source, via: hops[0].gateway, link: links[0]) }
        return hops[0].gateway.map { .via($0, link: links[0]) } ?? .link(links[0])
    }
}
