/// The host's own network, as far as the choice of the underlay needs it: a reading of its links, addresses and routes.
package import Addressing
import CLinux
import Glibc
import Netlink

package struct HostNetwork: Sendable {
    package struct Interface: Sendable {
        package var name: String
        package var mtu: Int
        package var isUp: Bool
        package var isLoopback: Bool
        package var addresses: [InterfaceAddress]
    }

    /// By interface index.
    package var interfaces: [UInt32: Interface] = [:]
    /// The main table: destination and the interface of the first hop.
    package var routes: [(destination: IPPrefix, interface: UInt32?, origin: UInt8)] = []

    /// Reads the network namespace of the calling thread.
    package static func read() throws(KernelError) -> HostNetwork {
        var network = HostNetwork()
        let socket = try NetlinkSocket(NETLINK_ROUTE, name: "the host")
        let links = try socket.collect(
            "list the host's links", type: RTM_GETLINK, { $0.append(ifinfomsg()) },
            row: { (message) throws(NetlinkError) in try LinkMessage(message) })
        for link in links {
            network.interfaces[UInt32(bitPattern: link.index)] = Interface(
                name: link.name ?? "", mtu: Int(link.mtu ?? 0), isUp: link.isUp ?? false, isLoopback: link.isLoopback,
                addresses: [])
        }
        let addresses = try socket.collect(
            "list the host's addresses", type: RTM_GETADDR, { $0.append(ifaddrmsg()) },
            row: { (message) throws(NetlinkError) in try AddressMessage(message) })
        for row in addresses { network.interfaces[row.index]?.addresses.append(row.address) }
        for family in AddressFamily.allCases {
            var header = rtmsg()
            header.rtm_family = family.number
            let rows = try socket.collect(
                "list the host's routes", type: RTM_GETROUTE, { $0.append(header) },
                row: { (message) throws(NetlinkError) in try RouteMessage(message) })
            for route in rows where route.table == RT_TABLE_MAIN.rawValue && !route.isCached {
                network.routes.append((route.destination, route.hops.first?.index, route.origin))
            }
        }
        return network
    }
}
