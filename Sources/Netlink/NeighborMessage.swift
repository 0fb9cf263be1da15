/// A neighbour (RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH): an entry of ARP or neighbour discovery, or, with family AF_BRIDGE,
/// a row of a forwarding database, where NTF_SELF means the device's own (a VXLAN device's remote hosts).
///
///     | family (1) | pad (3) | interface index (4) | NUD_ state (2) | NTF_ flags (1) | type (1) |   struct ndmsg
///     | NDA_DST | NDA_LLADDR | NDA_PROTOCOL | NDA_PORT | NDA_VNI | NDA_IFINDEX | NDA_VLAN | NDA_MASTER |
///
/// Without NTF_SELF it is a row of the bridge that the interface is a port of; NTF_MASTER asks for such a one. There NUD_NOARP is a row that nobody
/// learnt (`static`), and NUD_PERMANENT one for the bridge's own host.
///
/// Source: rtnetlink(7), linux/neighbour.h.
package import Addressing
import CLinux
import Glibc

package struct NeighborMessage: Hashable, Sendable {
    package enum Table: Hashable, Sendable {
        case neighbors(AddressFamily)
        case forwarding
    }
    package var table: Table
    /// Of the interface.
    package var index: UInt32
    /// NUD_….
    package var state: UInt16
    /// NTF_….
    package var flags: UInt8
    /// The neighbour's address, or the remote host's.
    package var destination: IPAddress?
    package var mac: MACAddress?
    /// Who made it; 0 when not said.
    package var origin: UInt8
    /// A forwarding row that leaves by another UDP port, VNI or device than its own device's.
    package var port: UInt16?
    package var vni: UInt32?
    package var lower: UInt32?
    /// Of a bridge's row: its VLAN, and the bridge.
    package var vlan: UInt16?
    package var master: UInt32?

    package init(
        _ table: Table, index: UInt32, state: UInt16, flags: UInt8 = 0, destination: IPAddress?, mac: MACAddress?,
        origin: UInt8 = 0, port: UInt16? = nil, vni: UInt32? = nil, lower: UInt32? = nil, vlan: UInt16? = nil, master: UInt32? = nil
    ) {
        self.vlan = vlan
        self.master = master
        self.table = table
        self.index = index
        self.state = state
        self.flags = flags
        self.destination = destination
        self.mac = mac
        self.origin = origin
        self.port = port
        self.vni = vni
        self.lower = lower
    }

    package func write(to writer: inout NetlinkWriter) {
        var header = ndmsg()
        switch table {
        case .neighbors(let family): header.ndm_family = family.number
        case .forwarding: header.ndm_family = UInt8(AF_BRIDGE)
        }
        header.ndm_ifindex = Int32(bitPattern: index)
        header.ndm_state = state
        header.ndm_flags = flags
        writer.append(header)
        if let destination { writer.attribute(NDA_DST, address: destination) }
        if let mac { writer.attribute(NDA_LLADDR, mac: mac) }
        if origin != 0 { writer.attribute(NDA_PROTOCOL, origin) }
        if let port { writer.attribute(NDA_PORT, bigEndian: port) }
        if let vni { writer.attribute(NDA_VNI, vni) }
        if let lower { writer.attribute(NDA_IFINDEX, lower) }
        if let vlan { writer.attribute(NDA_VLAN, vlan) }
        if let master { writer.attribute(NDA_MASTER, master) }
    }

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        let header: ndmsg = try message.header()
        let attributes = message.attributes(after: ndmsg.self)
        let table: Table
        if header.ndm_family == UInt8(AF_BRIDGE) {
            table = .forwarding
        } else if let family = AddressFamily(number: header.ndm_family) {
            table = .neighbors(family)
        } else {
            throw NetlinkError(.wrongKind, "a neighbour of family \(header.ndm_family)")
        }
        self.init(
            table, index: UInt32(bitPattern: header.ndm_ifindex), state: header.ndm_state, flags: header.ndm_flags,
            destination: try attributes[NDA_DST]?.address(),
            // Links that are no Ethernet have neighbours too.
            mac: attributes[NDA_LLADDR].flatMap { MACAddress(bytes: $0.payload) },
            origin: try attributes[NDA_PROTOCOL]?.value(UInt8.self) ?? 0, port: try attributes[NDA_PORT]?.bigEndian(UInt16.self),
            vni: try attributes[NDA_VNI]?.value(UInt32.self), lower: try attributes[NDA_IFINDEX]?.value(UInt32.self),
            vlan: try attributes[NDA_VLAN]?.value(UInt16.self), master: try attributes[NDA_MASTER]?.value(UInt32.self))
    }
}
