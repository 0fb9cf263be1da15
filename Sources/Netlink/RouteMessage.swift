/// A route (RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE).
///
///     | family (1) | destination length (1) | source length (1) | TOS (1) | table (1) | protocol (1) | scope (1) | type (1) | flags (4) |
///     | RTA_DST | RTA_TABLE | RTA_PRIORITY | RTA_OIF | RTA_PREFSRC | RTA_GATEWAY or RTA_VIA | RTA_MULTIPATH { rtnexthop, attributes … } |
///
/// RTA_GATEWAY is a next hop of the route's own family; RTA_VIA { family (2), address } is one of the other (IPv4 through an IPv6
/// neighbour). Source: rtnetlink(7), linux/rtnetlink.h.
package import Addressing
import CLinux
import Glibc

package struct RouteMessage: Hashable, Sendable {
    package struct Hop: Hashable, Sendable {
        /// Of the interface.
        package var index: UInt32?
        /// Of either family; nil: on the link.
        package var gateway: IPAddress?
        /// RTNH_F_ONLINK: taken to be a neighbour without looking.
        package var isOnLink: Bool
        package init(index: UInt32?, gateway: IPAddress? = nil, isOnLink: Bool = false) {
            self.index = index
            self.gateway = gateway
            self.isOnLink = isOnLink
        }
    }

    package var destination: IPPrefix
    package var table: UInt32
    /// Who made it, RTPROT_….
    package var origin: UInt8
    /// RT_SCOPE_…; IPv6 has none.
    package var scope: UInt8
    /// RTN_….
    package var type: UInt8
    package var tos: UInt8
    /// 0 when not said.
    package var metric: UInt32
    /// None for unreachable routes; several are spread over.
    package var hops: [Hop]
    /// The kernel's copy of a route for one flow, no route of the table.
    package var isCached: Bool
    /// Types of attributes that change what the route does and that this reader does not know. Not written.
    package var unknown: Set<Int>
    /// Of the host's own packets, unless their program chose one; of the destination's family.
    package var preferredSource: IPAddress?

    package init(
        destination: IPPrefix, table: UInt32, origin: UInt8, scope: UInt8 = 0, type: UInt8, tos: UInt8 = 0, metric: UInt32,
        hops: [Hop], isCached: Bool = false, unknown: Set<Int> = [], preferredSource: IPAddress? = nil
    ) {
        self.destination = destination
        self.table = table
        self.origin = origin
        self.scope = scope
        self.type = type
        self.tos = tos
        self.metric = metric
        self.hops = hops
        self.isCached = isCached
        self.unknown = unknown
        self.preferredSource = preferredSource
    }

    package func write(to writer: inout NetlinkWriter) {
        var header = rtmsg()
        header.rtm_family = destination.family.number
        header.rtm_dst_len = UInt8(destination.length)
        header.rtm_tos = tos
        // Tables from 256 on do not fit; RTA_TABLE counts.
        header.rtm_table = UInt8(exactly: table) ?? 0
        header.rtm_protocol = origin
        header.rtm_scope = scope
        header.rtm_type = type
        header.rtm_flags = isCached ? Self.cached : 0
        if hops.count == 1, hops[0].isOnLink { header.rtm_flags |= UInt32(RTNH_F_ONLINK) }
        writer.append(header)
        if destination.length > 0 { writer.attribute(RTA_DST.rawValue, address: destination.address) }
        writer.attribute(RTA_TABLE.rawValue, table)
        if metric != 0 { writer.attribute(RTA_PRIORITY.rawValue, metric) }
        if let preferredSource { writer.attribute(RTA_PREFSRC.rawValue, address: preferredSource) }
        if hops.count == 1 {
            write(hops[0].gateway, to: &writer)
            if let index = hops[0].index { writer.attribute(RTA_OIF.rawValue, index) }
        } else if hops.count > 1 {
            writer.nest(RTA_MULTIPATH.rawValue) { list in
                for hop in hops {
                    var header = rtnexthop()
                    header.rtnh_flags = hop.isOnLink ? UInt8(RTNH_F_ONLINK) : 0
                    header.rtnh_ifindex = Int32(bitPattern: hop.index ?? 0)
                    list.lengthPrefixed(header) { write(hop.gateway, to: &$0) }
                }
            }
        }
    }

    private func write(_ gateway: IPAddress?, to writer: inout NetlinkWriter) {
        guard let gateway else { return }
        if gateway.family == destination.family {
            writer.attribute(RTA_GATEWAY.rawValue, address: gateway)
        } else {
            let family = UInt16(gateway.family.number)
            let bytes = withUnsafeBytes(of: family) { Array($0) } + gateway.bytes
            writer.attribute(RTA_VIA.rawValue, bytes: bytes)
        }
    }

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        let header: rtmsg = try message.header()
        let attributes = message.attributes(after: rtmsg.self)
        guard let family = AddressFamily(number: header.rtm_family), Int(header.rtm_dst_len) <= family.width else {
            throw NetlinkError(.wrongKind, "a route of family \(header.rtm_family), length \(header.rtm_dst_len)")
        }
        let address = try attributes[RTA_DST.rawValue]?.address() ?? IPAddress(family, bits: 0)
        guard address.family == family else {
            throw NetlinkError(.malformed, "a route of family \(header.rtm_family) to \(address)")
        }
        self.init(
            destination: IPPrefix(containing: address, length: Int(header.rtm_dst_len)),
            table: try attributes[RTA_TABLE.rawValue]?.value(UInt32.self) ?? UInt32(header.rtm_table), origin: header.rtm_protocol,
            scope: header.rtm_scope, type: header.rtm_type, tos: header.rtm_tos,
            metric: try attributes[RTA_PRIORITY.rawValue]?.value(UInt32.self) ?? 0, hops: [],
            isCached: header.rtm_flags & Self.cached != 0)
        if header.rtm_src_len != 0 { unknown.insert(Int(RTA_SRC.rawValue)) }
        preferredSource = try attributes[RTA_PREFSRC.rawValue]?.address()
        guard preferredSource.map({ $0.family == family }) ?? true else {
            throw NetlinkError(.malformed, "a route of family \(header.rtm_family) from a source of another")
        }
        for attribute in attributes where !Self.known.contains(attribute.type) { unknown.insert(attribute.type) }
        if let list = attributes[RTA_MULTIPATH.rawValue] {
            hops = try Self.hops(list.payload)
        } else {
            let hop = Hop(
                index: try attributes[RTA_OIF.rawValue]?.value(UInt32.self), gateway: try Self.gateway(attributes),
                isOnLink: header.rtm_flags & UInt32(RTNH_F_ONLINK) != 0)
            if hop.index != nil || hop.gateway != nil { hops = [hop] }
        }
    }

    private static func gateway(_ attributes: NetlinkAttributes) throws(NetlinkError) -> IPAddress? {
        if let gateway = attributes[RTA_GATEWAY.rawValue] { return try gateway.address() }
        guard let via = attributes[RTA_VIA.rawValue] else { return nil }
        let family = try via.value(UInt16.self)
        guard let gateway = IPAddress(bytes: via.payload.dropFirst(2)), gateway.family.number == family else {
            throw NetlinkError(.malformed, "a next hop of family \(family) with \(via.payload.count - 2) bytes")
        }
        return gateway
    }

    /// Each begins with its own length, like a message.
    private static func hops(_ bytes: UnsafeRawBufferPointer) throws(NetlinkError) -> [Hop] {
        var hops: [Hop] = []
        var rest = bytes
        while rest.count >= MemoryLayout<rtnexthop>.size {
            let header = rest.loadUnaligned(as: rtnexthop.self)
            let length = Int(header.rtnh_len)
            guard length >= MemoryLayout<rtnexthop>.size, length <= rest.count else {
                throw NetlinkError(.malformed, "a next hop of \(length) bytes where \(rest.count) are left")
            }
            let attributes = NetlinkAttributes(UnsafeRawBufferPointer(rebasing: rest[MemoryLayout<rtnexthop>.size..<length]))
            hops.append(
                Hop(
                    index: header.rtnh_ifindex == 0 ? nil : UInt32(bitPattern: header.rtnh_ifindex),
                    gateway: try gateway(attributes), isOnLink: header.rtnh_flags & UInt8(RTNH_F_ONLINK) != 0))
            rest = UnsafeRawBufferPointer(rebasing: rest[min(NetlinkAlignment.up(length), rest.count)...])
        }
        return hops
    }

    private static let cached: UInt32 = 0x200  // RTM_F_CLONED
    /// The last two only tell: IPv6's router preference, and statistics.
    private static let known: Set<Int> = Set(
        [RTA_DST, RTA_TABLE, RTA_PRIORITY, RTA_OIF, RTA_GATEWAY, RTA_VIA, RTA_MULTIPATH, RTA_PREFSRC, RTA_PREF, RTA_CACHEINFO]
            .map { Int($0.rawValue) })
}
