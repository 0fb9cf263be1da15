/// A network interface (RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK), as far as Tulle knows it.
///
///     | family (1) | pad (1) | ARPHRD type (2) | index (4) | IFF_ flags (4) | change mask (4) |   struct ifinfomsg
///     | IFLA_IFNAME | IFLA_MTU | IFLA_ADDRESS | IFLA_LINK | IFLA_MASTER | IFLA_NET_NS_FD |
///     | IFLA_LINKINFO { KIND, DATA { … }, SLAVE_KIND, SLAVE_DATA { … } } |
///
/// Source: rtnetlink(7), linux/if_link.h.
package import Addressing
import CLinux
import Glibc

package struct LinkMessage: Hashable, Sendable {
    package indirect enum Kind: Hashable, Sendable {
        case vxlan(VXLANData)
        /// The far end is only written, when a pair is made: the kernel does not report it here.
        case veth(peer: LinkMessage?)
        case bridge(BridgeData)
        /// By the kernel's name.
        case other(String)
    }

    /// 0 in a request: the kernel chooses, or finds the link by its name.
    package var index: Int32
    package var name: String?
    /// Written, nil leaves as it is.
    package var isUp: Bool?
    package var isLoopback: Bool
    /// nil for loopback and for hardware.
    package var kind: Kind?
    package var mac: MACAddress?
    /// Bytes, without the Ethernet header.
    package var mtu: UInt32?
    /// The device below, or the other end of a pair; its index may be of another namespace.
    package var lower: UInt32?
    /// The bridge that it is a port of; 0, written, takes it out. Written, it must be one already where `port` is given.
    package var master: UInt32?
    package var port: BridgePortData?
    /// Only written: the namespace to make it in, an open descriptor of this process.
    package var namespace: Int32?

    package init(
        index: Int32 = 0, name: String? = nil, isUp: Bool? = nil, isLoopback: Bool = false, kind: Kind? = nil,
        mac: MACAddress? = nil, mtu: UInt32? = nil, lower: UInt32? = nil, master: UInt32? = nil, port: BridgePortData? = nil,
        namespace: Int32? = nil
    ) {
        self.master = master
        self.port = port
        self.index = index
        self.name = name
        self.isUp = isUp
        self.isLoopback = isLoopback
        self.kind = kind
        self.mac = mac
        self.mtu = mtu
        self.lower = lower
        self.namespace = namespace
    }

    /// What follows the message's header.
    package func write(to writer: inout NetlinkWriter) {
        var header = ifinfomsg()
        header.ifi_index = index
        header.ifi_flags = (isUp == true ? Self.up : 0) | (isLoopback ? Self.loopback : 0)
        header.ifi_change = isUp == nil ? 0 : Self.up
        writer.append(header)
        if let name { writer.attribute(IFLA_IFNAME, string: name) }
        if let mtu { writer.attribute(IFLA_MTU, mtu) }
        if let mac { writer.attribute(IFLA_ADDRESS, mac: mac) }
        if let lower { writer.attribute(IFLA_LINK, lower) }
        if let master { writer.attribute(IFLA_MASTER, master) }
        if let namespace { writer.attribute(IFLA_NET_NS_FD, namespace) }
        guard kind != nil || port != nil else { return }
        writer.nest(IFLA_LINKINFO) { info in
            if let port {
                info.attribute(IFLA_INFO_SLAVE_KIND, string: "bridge")
                info.nest(IFLA_INFO_SLAVE_DATA) { port.write(to: &$0) }
            }
            switch kind {
            case nil: break
            case .bridge(let data):
                info.attribute(IFLA_INFO_KIND, string: "bridge")
                info.nest(IFLA_INFO_DATA) { data.write(to: &$0) }
            case .vxlan(let data):
                info.attribute(IFLA_INFO_KIND, string: "vxlan")
                info.nest(IFLA_INFO_DATA) { data.write(to: &$0) }
            case .veth(let peer):
                info.attribute(IFLA_INFO_KIND, string: "veth")
                guard let peer else { return }
                info.nest(IFLA_INFO_DATA) { $0.nest(VETH_INFO_PEER) { peer.write(to: &$0) } }
            case .other(let name):
                info.attribute(IFLA_INFO_KIND, string: name)
            }
        }
    }

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        try self.init(header: message.header(), message.attributes(after: ifinfomsg.self), depth: 0)
    }

    private init(header: ifinfomsg, _ attributes: NetlinkAttributes, depth: Int) throws(NetlinkError) {
        self.init(
            index: header.ifi_index, name: attributes[IFLA_IFNAME]?.string,
            isUp: header.ifi_flags & Self.up != 0 ? true : header.ifi_change & Self.up != 0 ? false : nil,
            isLoopback: header.ifi_flags & Self.loopback != 0)
        mtu = try attributes[IFLA_MTU]?.value(UInt32.self)
        // Tunnels and others have link addresses of other lengths, or none.
        mac = attributes[IFLA_ADDRESS].flatMap { MACAddress(bytes: $0.payload) }
        lower = try attributes[IFLA_LINK]?.value(UInt32.self)
        namespace = try attributes[IFLA_NET_NS_FD]?.value(Int32.self)
        master = try attributes[IFLA_MASTER]?.value(UInt32.self)
        guard let info = attributes[IFLA_LINKINFO]?.attributes else { return }
        if info[IFLA_INFO_SLAVE_KIND]?.string == "bridge" {
            port = try info[IFLA_INFO_SLAVE_DATA].map { (data) throws(NetlinkError) in try BridgePortData(data.attributes) }
        }
        guard let name = info[IFLA_INFO_KIND]?.string else { return }
        let data = info[IFLA_INFO_DATA]?.attributes
        let none = NetlinkAttributes(UnsafeRawBufferPointer(start: nil, count: 0))
        switch name {
        case "vxlan": kind = .vxlan(try VXLANData(data ?? none))
        case "bridge": kind = .bridge(try BridgeData(data ?? none))
        case "veth": kind = .veth(peer: try data?[VETH_INFO_PEER].flatMap { (peer) throws(NetlinkError) in try Self.peer(peer, depth) })
        default: kind = .other(name)
        }
    }

    /// An `ifinfomsg` and attributes, in an attribute. A pair has two ends: what nests deeper is no description of one.
    private static func peer(_ attribute: NetlinkAttribute, _ depth: Int) throws(NetlinkError) -> LinkMessage {
        guard depth == 0 else { throw NetlinkError(.malformed, "a veth pair's end describes an end of its own") }
        let rest = attribute.payload.dropFirst(MemoryLayout<ifinfomsg>.size)
        return try LinkMessage(
            header: attribute.value(ifinfomsg.self), NetlinkAttributes(UnsafeRawBufferPointer(rebasing: rest)), depth: depth + 1)
    }

    private static let up: UInt32 = 1  // IFF_UP
    private static let loopback: UInt32 = 8  // IFF_LOOPBACK
}

/// A VXLAN device's own data (IFLA_VXLAN_…).
package struct VXLANData: Hashable, Sendable {
    package var vni: UInt32
    /// UDP destination port.
    package var port: UInt16
    /// Outer source address.
    package var local: IPAddress?
    /// Where frames for unknown destinations go; we never set one.
    package var group: IPAddress?
    /// The device it is bound to; we never bind one.
    package var lower: UInt32?
    package var isLearning: Bool
    /// VNI and addresses come with each packet: such a device owns its whole port.
    package var collectsMetadata: Bool

    package init(
        vni: UInt32, port: UInt16, local: IPAddress? = nil, group: IPAddress? = nil, lower: UInt32? = nil,
        isLearning: Bool = false, collectsMetadata: Bool = false
    ) {
        self.vni = vni
        self.port = port
        self.local = local
        self.group = group
        self.lower = lower
        self.isLearning = isLearning
        self.collectsMetadata = collectsMetadata
    }

    func write(to writer: inout NetlinkWriter) {
        writer.attribute(IFLA_VXLAN_ID, vni)
        writer.attribute(IFLA_VXLAN_PORT, bigEndian: port)
        writer.attribute(IFLA_VXLAN_LEARNING, UInt8(isLearning ? 1 : 0))
        if let local { writer.attribute(local.family == .v4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, address: local) }
        if let group { writer.attribute(group.family == .v4 ? IFLA_VXLAN_GROUP : IFLA_VXLAN_GROUP6, address: group) }
        if let lower { writer.attribute(IFLA_VXLAN_LINK, lower) }
        if collectsMetadata { writer.attribute(IFLA_VXLAN_COLLECT_METADATA, UInt8(1)) }
    }

    init(_ attributes: NetlinkAttributes) throws(NetlinkError) {
        self.init(
            vni: try attributes[IFLA_VXLAN_ID]?.value(UInt32.self) ?? 0, port: try attributes[IFLA_VXLAN_PORT]?.bigEndian(UInt16.self) ?? 0,
            local: try (attributes[IFLA_VXLAN_LOCAL] ?? attributes[IFLA_VXLAN_LOCAL6])?.address(),
            group: try (attributes[IFLA_VXLAN_GROUP] ?? attributes[IFLA_VXLAN_GROUP6])?.address(),
            lower: try attributes[IFLA_VXLAN_LINK]?.value(UInt32.self),
            isLearning: try attributes[IFLA_VXLAN_LEARNING]?.value(UInt8.self) ?? 0 != 0,
            collectsMetadata: try attributes[IFLA_VXLAN_COLLECT_METADATA]?.value(UInt8.self) ?? 0 != 0)
    }
}
