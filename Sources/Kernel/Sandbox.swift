/// A container's network namespace, by Docker's file, for as long as a repair takes: no descriptor of it is kept, for that would keep
/// the namespace of a dead container alive.
import Addressing
import CLinux
import Fabric
import Glibc
import Netlink

final class Sandbox {
    let descriptor: Int32
    private let path: String
    private let route: NetlinkSocket

    init(_ path: String) throws(KernelError) {
        guard let descriptor = try NamespacePins.open(path: path) else {
            throw KernelError(
                .notFound, "enter the container's network namespace \(path)", cause: "the file is no network namespace",
                remedy: "The container has ended or is starting; nothing needs to be done.")
        }
        self.path = path
        self.descriptor = descriptor
        do throws(KernelError) {
            let opened = try Thread.run(in: descriptor, "enter \(path)") { () throws(KernelError) in
                try NetlinkSocket.open(NETLINK_ROUTE, name: path)
            }
            route = NetlinkSocket(adopting: opened, name: path)
        } catch {
            close(descriptor)
            throw error
        }
    }
    deinit { close(descriptor) }

    func links() throws(KernelError) -> [LinkMessage] {
        try route.collect("list the links of \(path)", type: RTM_GETLINK) {
            $0.append(ifinfomsg())
        } row: { (message) throws(NetlinkError) in
            try LinkMessage(message)
        }
    }

    /// Of our end's other end, by its index. Indices are counted in each namespace, so both ends must point at each other.
    func setMTU(_ mtu: UInt32, peer: UInt32, of outer: UInt32) throws(KernelError) {
        let operation = "set the MTU of the container's interface in \(path)"
        guard let link = try links().first(where: { UInt32(bitPattern: $0.index) == peer }), link.kind == .veth(peer: nil),
            link.lower == outer
        else { throw KernelError(.notFound, operation, cause: "its link is not in there") }
        try route.request(operation, type: RTM_NEWLINK) { LinkMessage(index: link.index, mtu: mtu).write(to: &$0) }
    }

    /// As Docker leaves an interface: addresses, up, and routes, those on the link first.
    func configure(_ name: String, addresses: [InterfaceAddress], routes: [SandboxRoute]) throws(KernelError) {
        let operation = "set up \(name) in \(path)"
        guard let link = try links().first(where: { $0.name == name }) else {
            throw KernelError(.notFound, operation, cause: "the link is gone")
        }
        let index = UInt32(bitPattern: link.index)
        if addresses.contains(where: { $0.address.family == .v6 }) {
            // Docker disables IPv6 for new interfaces of a container and enables it for those that get an address.
            try Thread.run(in: descriptor, operation) { () throws(KernelError) in
                try SysctlFile.write("net/ipv6/conf/\(name)/disable_ipv6", "0")
            }
        }
        var batch = route.batch()
        for address in addresses {
            batch.add(type: RTM_NEWADDR, flags: NLM_F_CREATE | NLM_F_REPLACE) { AddressMessage(address, index: index).write(to: &$0) }
        }
        batch.add(type: RTM_NEWLINK) { LinkMessage(index: link.index, isUp: true).write(to: &$0) }
        for route in routes.filter({ $0.nextHop == nil }) + routes.filter({ $0.nextHop != nil }) {
            let isDirect = route.nextHop == nil && route.destination.family == .v4
            let message = RouteMessage(
                destination: route.destination, table: RT_TABLE_MAIN.rawValue, origin: LinuxKernel.origin,
                scope: isDirect ? UInt8(RT_SCOPE_LINK.rawValue) : 0, type: UInt8(RTN_UNICAST), metric: 0,
                hops: [RouteMessage.Hop(index: index, gateway: route.nextHop)])
            // What another network of the container has set, such as a default route, stays.
            batch.add(type: RTM_NEWROUTE, flags: NLM_F_CREATE | NLM_F_EXCL) { message.write(to: &$0) }
        }
        for answer in try route.submit(batch) where answer.errno != 0 && answer.errno != EEXIST {
            throw KernelError(answer, operation)
        }
    }
}

extension LinuxKernel {
    /// The repair of a lost pair: straight into the container, under the first free name.
    func createPair(
        _ message: LinkMessage, _ link: Link, in sandbox: Sandbox, addresses: [InterfaceAddress], routes: [SandboxRoute],
        _ namespace: Namespace, _ operation: String
    ) throws(KernelError) {
        let taken = Set(try sandbox.links().compactMap(\.name))
        guard let peer = link.peer,
            let name = (0..<Self.sandboxNames).lazy.map({ "\(peer.name)\($0)" }).first(where: { !taken.contains($0) })
        else { throw KernelError(.exists, operation, cause: "the container has \(Self.sandboxNames) interfaces already") }
        try createPair(message, peerName: name, peer.mac, descriptor: sandbox.descriptor, namespace, operation)
        do throws(KernelError) {
            try sandbox.configure(name, addresses: addresses, routes: routes)
        } catch {
            // Half a repair would look like a whole one. The far end goes too.
            if let outer = message.name {
                try? namespace.route.request("undo", type: RTM_DELLINK) { LinkMessage(name: outer).write(to: &$0) }
            }
            throw error
        }
    }
    private static let sandboxNames = 256
}
