/// Multicast groups (RTM_NEWMDB, RTM_DELMDB, RTM_GETMDB): to which ports of a bridge, or remote hosts of a VXLAN device, a group's packets go.
///
///     | family AF_BRIDGE (1) | pad (3) | index of the bridge or VXLAN device (4) |   struct br_port_msg
///     read:    MDBA_MDB { MDBA_MDB_ENTRY { MDBA_MDB_ENTRY_INFO: entry, then MDBA_MDB_EATTR_… } … }
///     written: MDBA_SET_ENTRY: entry | MDBA_SET_ENTRY_ATTRS { MDBE_ATTR_DST }
///     entry:   | port (4) | state (1) | flags (1) | VLAN (2) | group (16) | EtherType (2) | pad (2) |   struct br_mdb_entry
///
/// Source: linux/if_bridge.h.
package import Addressing
import CLinux
import Glibc

package struct GroupMessage: Hashable, Sendable {
    package struct Entry: Hashable, Sendable {
        /// Index of the port; the bridge's own where its host listens, a VXLAN device's own in its table.
        package var port: UInt32
        package var isPermanent: Bool
        package var group: IPAddress
        /// Only packets from there are meant.
        package var source: IPAddress?
        /// Of a VXLAN device's entry: the host to which packets are copied.
        package var remote: IPAddress?

        package init(port: UInt32, isPermanent: Bool = true, group: IPAddress, source: IPAddress? = nil, remote: IPAddress? = nil) {
            self.port = port
            self.isPermanent = isPermanent
            self.group = group
            self.source = source
            self.remote = remote
        }
    }
    /// Of the bridge or VXLAN device.
    package var index: UInt32
    /// Written, the first.
    package var entries: [Entry]

    package init(index: UInt32, entries: [Entry]) {
        self.index = index
        self.entries = entries
    }

    /// As a request for one entry, or (without entries) for a dump of all.
    package func write(to writer: inout NetlinkWriter) {
        writer.append(linux_port_message(family: UInt32(UInt8(AF_BRIDGE)).littleEndian, index: index))
        guard let entry = entries.first else { return }
        let bytes = entry.group.bytes + [UInt8](repeating: 0, count: 16 - entry.group.bytes.count)
        let halves = [bytes[..<8], bytes[8...]].map { $0.reversed().reduce(0) { $0 << 8 | UInt64($1) } }
        writer.attribute(
            LINUX_MDBA_SET_ENTRY,
            linux_group_entry(
                index: entry.port, state: UInt8(entry.isPermanent ? LINUX_MDB_PERMANENT : 0), flags: 0, vlan: 0,
                high: halves[0].littleEndian, low: halves[1].littleEndian, protocol: Self.protocols[entry.group.family == .v4 ? 0 : 1].bigEndian,
                pad: 0))
        guard let remote = entry.remote else { return }
        writer.nest(LINUX_MDBA_SET_ENTRY_ATTRS) { $0.attribute(LINUX_MDBE_ATTR_DST, address: remote) }
    }
    /// ETH_P_IP, ETH_P_IPV6.
    private static let protocols: [UInt16] = [0x0800, 0x86dd]

    /// Groups of Ethernet addresses are left out.
    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        index = try message.header(linux_port_message.self).index
        entries = []
        guard let all = message.attributes(after: linux_port_message.self)[LINUX_MDBA_MDB]?.attributes else { return }
        for group in all where group.type == Int(LINUX_MDBA_MDB_ENTRY) {
            for info in group.attributes where info.type == Int(LINUX_MDBA_MDB_ENTRY_INFO) {
                if let entry = try Self.entry(info) { entries.append(entry) }
            }
        }
    }

    private static func entry(_ info: NetlinkAttribute) throws(NetlinkError) -> Entry? {
        let head = try info.value(linux_group_entry.self)
        let kind = UInt16(bigEndian: head.protocol)
        guard let family = protocols.firstIndex(of: kind) else { return nil }
        let bytes = info.payload[8..<(family == 0 ? 12 : 24)]
        guard let group = IPAddress(bytes: bytes) else { return nil }
        let size = MemoryLayout<linux_group_entry>.size
        let attributes = NetlinkAttributes(UnsafeRawBufferPointer(rebasing: info.payload.dropFirst(size)))
        return Entry(
            port: head.index, isPermanent: head.state == UInt8(LINUX_MDB_PERMANENT), group: group,
            source: try attributes[LINUX_MDBA_MDB_EATTR_SOURCE]?.address(),
            remote: try attributes[LINUX_MDBA_MDB_EATTR_DST]?.address())
    }
}
