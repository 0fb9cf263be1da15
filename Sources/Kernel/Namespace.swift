/// A namespace that `LinuxKernel` knows: its descriptor, which keeps it alive even if its pin is removed, the sockets that were
/// opened inside and are used from the kernel's thread, and the mirror of what it holds.
import CLinux
import Fabric
import Glibc
import Netlink

final class Namespace {
    let id: NamespaceID
    /// Of its monitors, in the kernel thread's watch.
    let key: UInt64
    let descriptor: Int32
    let route: NetlinkSocket
    private let routeMonitor: NetlinkSocket
    /// Where the kernel has nfnetlink.
    private let netfilterSockets: (requests: NetlinkSocket, monitor: NetlinkSocket)?
    private let netfilterProblem: KernelError?

    private(set) var mirror: Mirror
    var sysctls: [String: String] = [:]
    /// All of them, once.
    var sysctlsAreRead = false
    var filter: PacketFilter?
    var bridgeFilter: PacketFilter?
    /// The filter may have changed since it was read.
    var filterIsStale = true

    /// Takes over the descriptor, also when it fails.
    init(_ id: NamespaceID, key: UInt64, descriptor: Int32, buffer: NetlinkBuffer, monitorRoom: Int32) throws(KernelError) {
        self.id = id
        self.key = key
        self.descriptor = descriptor
        mirror = Mirror(scope: id == .host ? .host : .network)
        let name = id.description
        let opened: Descriptors
        do throws(KernelError) {
            opened = try Thread.run(in: descriptor, "enter \(name)") { () throws(KernelError) in
                try Descriptors(name: name, monitorRoom: monitorRoom)
            }
        } catch {
            close(descriptor)
            throw error
        }
        route = NetlinkSocket(adopting: opened.route, name: name, buffer: buffer)
        routeMonitor = NetlinkSocket(adopting: opened.routeMonitor, name: name, buffer: buffer)
        switch opened.netfilter {
        case .success(let (requests, monitor)):
            netfilterSockets = (
                NetlinkSocket(adopting: requests, name: name, buffer: buffer),
                NetlinkSocket(adopting: monitor, name: name, buffer: buffer)
            )
            netfilterProblem = nil
        case .failure(let error):
            netfilterSockets = nil
            netfilterProblem = error
        }
    }
    deinit { close(descriptor) }

    /// Opened by a thread inside, adopted by the kernel's.
    private struct Descriptors: Sendable {
        let route: NetlinkSocket.Opened
        let routeMonitor: NetlinkSocket.Opened
        let netfilter: Result<(NetlinkSocket.Opened, NetlinkSocket.Opened), KernelError>

        init(name: String, monitorRoom: Int32) throws(KernelError) {
            let groups = [
                RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
                RTNLGRP_MDB,
            ].map(\.rawValue)
            route = try NetlinkSocket.open(NETLINK_ROUTE, name: name)
            do throws(KernelError) {
                routeMonitor = try NetlinkSocket.open(NETLINK_ROUTE, groups: groups, name: name, room: monitorRoom)
            } catch {
                close(route.descriptor)
                throw error
            }
            do throws(KernelError) {
                let requests = try NetlinkSocket.open(NETLINK_NETFILTER, name: name)
                do throws(KernelError) {
                    let monitor = try NetlinkSocket.open(
                        NETLINK_NETFILTER, groups: [UInt32(NFNLGRP_NFTABLES.rawValue)], name: name, room: monitorRoom)
                    netfilter = .success((requests, monitor))
                } catch {
                    close(requests.descriptor)
                    throw error
                }
            } catch {
                netfilter = .failure(error)
            }
        }
    }

    /// Readable when something changed.
    var monitors: [Int32] { [routeMonitor.descriptor] + (netfilterSockets.map { [$0.monitor.descriptor] } ?? []) }

    func netfilter() throws(KernelError) -> NetlinkSocket {
        if let netfilterSockets { return netfilterSockets.requests }
        throw netfilterProblem ?? KernelError(.unsupported, "use nftables in \(id)", cause: "the kernel has no nfnetlink")
    }

    // MARK: Keeping the mirror

    /// Takes what the kernel has told since the last time.
    /// - Returns: whether that was news: a change, or a reason to doubt what is known.
    func drain() throws(KernelError) -> Bool {
        let doubted = (mirror.needsReload, filterIsStale)
        var changed = false
        let complete = try routeMonitor.drain { (message) throws(NetlinkError) in
            if try mirror.take(message) { changed = true }
        }
        if !complete { mirror.needsReload = true }
        let filterComplete = try netfilterSockets?.monitor.drain { message in
            guard message.concerns(table: NetfilterTable.name) else { return }
            filterIsStale = true
            changed = true
        }
        if filterComplete == false { filterIsStale = true }
        return changed || mirror.needsReload && !doubted.0 || filterIsStale && !doubted.1
    }

    /// Reads everything from the kernel.
    /// - Returns: whether something changed meanwhile, or what is known is still in doubt.
    func reload() throws(KernelError) -> Bool {
        var isNews = false
        // Something may change in a way that asks for a new dump during each dump; the last one's doubt then stays for the next look.
        for _ in 0..<Self.reloads {
            // What waits was before the dump.
            if try drain() { isNews = true }
            let links = try dumpLinks()
            mirror.replace(
                links: links, addresses: try dumpAddresses(), neighbors: try dumpNeighbors(links), groups: try dumpGroups(),
                routes: try dumpRoutes())
            if try drain() { isNews = true }
            if !mirror.needsReload { return isNews }
        }
        return true
    }
    private static let reloads = 4

    /// What is known may be wrong, for a reason of the caller's.
    func doubt() { mirror.needsReload = true }

    func forgetMovedLinks() { mirror.movedLinks = [] }
}

extension NetlinkMessage {
    /// Whether a notification of nf_tables is about that table: in all of them but NFT_MSG_NEWGEN, which says only that some
    /// transaction was done, attribute 1 is the table's name.
    fileprivate func concerns(table: String) -> Bool {
        guard type >> 8 == Int(NFNL_SUBSYS_NFTABLES), type & 0xff != Int(NFT_MSG_NEWGEN.rawValue) else { return false }
        return attributes(after: nfgenmsg.self)[1]?.string == table
    }
}
