/// The dumps of which a mirror is made.
import Addressing
import CLinux
import Fabric
import Glibc
import Netlink

extension Namespace {
    func dumpLinks() throws(KernelError) -> [LinkMessage] {
        try route.collect("list the links of \(id)", type: RTM_GETLINK) {
            $0.append(ifinfomsg())
            // RTEXT_FILTER_SKIP_STATS: counters are half of the answer and nobody reads them.
            $0.attribute(IFLA_EXT_MASK, UInt32(1 << 3))
        } row: { (message) throws(NetlinkError) in
            try LinkMessage(message)
        }
    }

    func dumpAddresses() throws(KernelError) -> [AddressMessage] {
        try route.collect("list the addresses of \(id)", type: RTM_GETADDR) {
            $0.append(ifaddrmsg())
        } row: { (message) throws(NetlinkError) in
            try AddressMessage(message)
        }
    }

    /// Neighbours of both families, and the forwarding rows of VXLAN devices.
    func dumpNeighbors(_ links: [LinkMessage]) throws(KernelError) -> [NeighborMessage] {
        var rows: [NeighborMessage] = []
        for family in AddressFamily.allCases {
            var header = ndmsg()
            header.ndm_family = family.number
            rows += try dumpNeighbors(header)
        }
        if links.hasBridge {
            // Of all at once: a bridge's rows are listed by port.
            var header = ndmsg()
            header.ndm_family = UInt8(AF_BRIDGE)
            return rows + (try dumpNeighbors(header))
        }
        for link in links {
            guard case .vxlan = link.kind, let name = link.name, mirror.covers(name) else { continue }
            var header = ndmsg()
            header.ndm_family = UInt8(AF_BRIDGE)
            header.ndm_ifindex = link.index
            rows += try dumpNeighbors(header)
        }
        return rows
    }

    private func dumpNeighbors(_ header: ndmsg) throws(KernelError) -> [NeighborMessage] {
        try route.collect("list the neighbours of \(id)", type: RTM_GETNEIGH) {
            $0.append(header)
        } row: { (message) throws(NetlinkError) in
            // A kernel without IPv6 answers for all families it has.
            try message.header(ndmsg.self).ndm_family == header.ndm_family ? NeighborMessage(message) : nil
        }
    }

    /// Groups of bridges and VXLAN devices.
    func dumpGroups() throws(KernelError) -> [GroupMessage] {
        guard mirror.scope == .network else { return [] }
        do throws(KernelError) {
            return try route.collect("list the multicast groups of \(id)", type: RTM_GETMDB) {
                GroupMessage(index: 0, entries: []).write(to: &$0)
            } row: { (message) throws(NetlinkError) in
                try GroupMessage(message)
            }
        } catch {
            // A kernel without IGMP snooping.
            guard error.errno == EOPNOTSUPP else { throw error }
            return []
        }
    }

    func dumpRoutes() throws(KernelError) -> [RouteMessage] {
        var rows: [RouteMessage] = []
        for family in AddressFamily.allCases {
            rows += try dumpMainTable(family) { (message) throws(NetlinkError) in try RouteMessage(message) }
        }
        return rows
    }

    func dumpMainTable<Row>(
        _ family: AddressFamily, _ row: (NetlinkMessage) throws(NetlinkError) -> Row?
    ) throws(KernelError) -> [Row] {
        var header = rtmsg()
        header.rtm_family = family.number
        do throws(KernelError) {
            return try route.collect("list the routes of \(id)", type: RTM_GETROUTE) {
                $0.append(header)
                $0.attribute(RTA_TABLE.rawValue, RT_TABLE_MAIN.rawValue)
            } row: { (message) throws(NetlinkError) in
                try message.header(rtmsg.self).rtm_family == header.rtm_family ? row(message) : nil
            }
        } catch {
            // The table comes into being with its first route.
            guard error.errno == ENOENT else { throw error }
            return []
        }
    }
}

extension [LinkMessage] {
    fileprivate var hasBridge: Bool { contains { if case .bridge = $0.kind { true } else { false } } }
}
