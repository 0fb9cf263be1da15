/// Rows: addresses, neighbours, forwarding rows and routes, and the deletion of links, many in one send. Each step becomes a request, or
/// none if there is nothing to do; what the kernel answers is judged by what the step wanted: it is no failure to
/// delete what is gone.
import Addressing
import CLinux
import Fabric
import Glibc
import Netlink

extension LinuxKernel {
    /// The mirror is up to date.
    func applyRows(_ steps: [Step], _ namespace: Namespace, _ failures: inout StepFailures) throws(KernelError) {
        try clearForeignRoutes(steps, namespace)
        var batch = namespace.route.batch(capacity: steps.count * 96)
        /// For each request of the batch, its step.
        var owners: [Int] = []
        for (index, step) in steps.enumerated() {
            do throws(KernelError) {
                try step.write(namespace.mirror, to: &batch)
            } catch {
                failures.add(step, error)
            }
            while owners.count < batch.count { owners.append(index) }
        }
        guard batch.count > 0 else { return }
        let answers = try namespace.route.submit(batch)
        for (owner, answer) in zip(owners, answers) where answer.errno != 0 {
            guard !steps[owner].toleratedErrors.contains(answer.errno) else { continue }
            if case .addGroup = steps[owner], answer.errno == EOPNOTSUPP {
                // All who have endpoints get it, by the flood rows.
                lacksGroups = true
                continue
            }
            failures.add(steps[owner], KernelError(answer, steps[owner].operation))
        }
        try announce(steps.compactMap { if case .setStation(_, let mac, port: let port) = $0 { (mac, port) } else { nil } }, namespace)
    }

    /// A route of several next hops, or several routes of one key, cannot be replaced in one go: all of that key are removed, exactly
    /// as they were read.
    private func clearForeignRoutes(_ steps: [Step], _ namespace: Namespace) throws(KernelError) {
        var keys: Set<RouteKey> = []
        for step in steps {
            if let key = step.routeKey, namespace.mirror.state.routes[key] == .foreign { keys.insert(key) }
        }
        guard !keys.isEmpty else { return }
        for family in Set(keys.map(\.destination.family)) {
            let rows = try namespace.dumpMainTable(family) { (message) throws(NetlinkError) -> [UInt8]? in
                let route = try RouteMessage(message)
                let key = RouteKey(destination: route.destination, metric: route.metric)
                return keys.contains(key) && route.origin != UInt8(RTPROT_KERNEL) ? Array(message.payload) : nil
            }
            var batch = namespace.route.batch()
            for row in rows { batch.add(type: RTM_DELROUTE) { $0.append(bytes: row) } }
            // What cannot be removed is in the way of the next step, which then fails and says so.
            if batch.count > 0 { _ = try namespace.route.submit(batch) }
        }
        // The notices of a route with several hops do not tell what is left.
        try namespace.reload()
    }
}

extension Step {
    var routeKey: RouteKey? {
        switch self {
        case .setRoute(_, let key, _), .deleteRoute(_, let key): key
        default: nil
        }
    }

    /// "It is gone already", or its link is.
    fileprivate var toleratedErrors: Set<Int32> {
        switch self {
        case .deleteLink: [ENODEV]
        case .deleteAddress: [EADDRNOTAVAIL, ENODEV]
        // A bridge's row whose port is no port any more is gone with it.
        case .deleteNeighbor, .deleteForwarding, .deleteStation, .deleteFlood, .deleteGroup: [ENOENT, ENODEV, EINVAL]
        case .deleteRoute: [ESRCH, ENODEV]
        default: []
        }
    }

    fileprivate var operation: String {
        switch self {
        case .deleteLink(let id, let name): "delete link \(name) of \(id)"
        case .addAddress(let id, let row): "add address \(row.address) to \(row.link) of \(id)"
        case .deleteAddress(let id, let row): "delete address \(row.address) from \(row.link) of \(id)"
        case .setNeighbor(let id, let key, let mac): "set neighbour \(key.address) to \(mac) on \(key.link) of \(id)"
        case .deleteNeighbor(let id, let key): "delete neighbour \(key.address) on \(key.link) of \(id)"
        case .setForwarding(let id, let key, let remote): "forward \(key.mac) to \(remote) by \(key.link) of \(id)"
        case .deleteForwarding(let id, let key): "delete the forwarding row of \(key.mac) on \(key.link) of \(id)"
        case .setStation(let id, let mac, port: let port): "put \(mac) behind port \(port) of \(id)"
        case .deleteStation(let id, let mac, port: let port): "delete the bridge's row of \(mac) on \(port) of \(id)"
        case .addFlood(let id, let row): "copy broadcasts to \(row.remote) by \(row.link) of \(id)"
        case .deleteFlood(let id, let row): "copy no broadcasts to \(row.remote) by \(row.link) of \(id)"
        case .addGroup(let id, let row): "copy packets of group \(row.group) to \(row.remote) by \(row.link) of \(id)"
        case .deleteGroup(let id, let row): "copy no packets of group \(row.group) to \(row.remote) by \(row.link) of \(id)"
        case .setRoute(let id, let key, _): "set the route to \(key.destination), metric \(key.metric), of \(id)"
        case .deleteRoute(let id, let key): "delete the route to \(key.destination), metric \(key.metric), of \(id)"
        default: "change \(namespace)"
        }
    }

    /// The link's index, by the mirror.
    private func index(_ link: String, _ mirror: Mirror) throws(KernelError) -> UInt32 {
        guard let index = mirror.index(of: link) else {
            throw KernelError(.notFound, operation, cause: "there is no link \(link)")
        }
        return index
    }

    /// Appends the request that does this; none if there is nothing to do.
    fileprivate func write(_ mirror: Mirror, to batch: inout NetlinkBatch) throws(KernelError) {
        let set = NLM_F_CREATE | NLM_F_REPLACE
        switch self {
        case .deleteLink(_, let name):
            guard let index = mirror.index(of: name) else { return }
            batch.add(type: RTM_DELLINK) { LinkMessage(index: Int32(bitPattern: index)).write(to: &$0) }
        case .addAddress(_, let row):
            let message = AddressMessage(row, index: try index(row.link, mirror))
            batch.add(type: RTM_NEWADDR, flags: set) { message.write(to: &$0) }
        case .deleteAddress(_, let row):
            guard let index = mirror.index(of: row.link) else { return }
            batch.add(type: RTM_DELADDR) { AddressMessage(index: index, address: row.address).write(to: &$0) }
        case .setNeighbor(_, let key, let mac):
            let message = NeighborMessage(
                .neighbors(key.address.family), index: try index(key.link, mirror), state: UInt16(NUD_PERMANENT),
                destination: key.address, mac: mac, origin: LinuxKernel.origin)
            batch.add(type: RTM_NEWNEIGH, flags: set) { message.write(to: &$0) }
        case .deleteNeighbor(_, let key):
            guard let index = mirror.index(of: key.link) else { return }
            let message = NeighborMessage(
                .neighbors(key.address.family), index: index, state: 0, destination: key.address, mac: nil)
            batch.add(type: RTM_DELNEIGH) { message.write(to: &$0) }
        case .setForwarding(_, let key, let remote):
            let message = NeighborMessage(
                .forwarding, index: try index(key.link, mirror), state: UInt16(NUD_PERMANENT), flags: UInt8(NTF_SELF),
                destination: remote, mac: key.mac)
            batch.add(type: RTM_NEWNEIGH, flags: set) { message.write(to: &$0) }
        case .deleteForwarding(_, let key):
            guard let index = mirror.index(of: key.link) else { return }
            let message = NeighborMessage(
                .forwarding, index: index, state: UInt16(NUD_PERMANENT), flags: UInt8(NTF_SELF), destination: nil, mac: key.mac)
            batch.add(type: RTM_DELNEIGH) { message.write(to: &$0) }
        case .setStation(_, let mac, port: let port):
            let message = NeighborMessage(
                .forwarding, index: try index(port, mirror), state: UInt16(NUD_NOARP), flags: UInt8(NTF_MASTER), destination: nil, mac: mac)
            batch.add(type: RTM_NEWNEIGH, flags: set) { message.write(to: &$0) }
        case .deleteStation(_, let mac, port: let port):
            guard let index = mirror.index(of: port) else { return }
            let message = NeighborMessage(
                .forwarding, index: index, state: UInt16(NUD_NOARP), flags: UInt8(NTF_MASTER), destination: nil, mac: mac)
            batch.add(type: RTM_DELNEIGH) { message.write(to: &$0) }
        case .addFlood(_, let row):
            let message = NeighborMessage(
                .forwarding, index: try index(row.link, mirror), state: UInt16(NUD_PERMANENT), flags: UInt8(NTF_SELF),
                destination: row.remote, mac: .any)
            batch.add(type: RTM_NEWNEIGH, flags: NLM_F_CREATE | NLM_F_APPEND) { message.write(to: &$0) }
        case .deleteFlood(_, let row):
            guard let index = mirror.index(of: row.link) else { return }
            let message = NeighborMessage(
                .forwarding, index: index, state: UInt16(NUD_PERMANENT), flags: UInt8(NTF_SELF), destination: row.remote, mac: .any)
            batch.add(type: RTM_DELNEIGH) { message.write(to: &$0) }
        case .addGroup(_, let row):
            let index = try index(row.link, mirror)
            let message = GroupMessage(index: index, entries: [.init(port: index, group: row.group, remote: row.remote)])
            batch.add(type: RTM_NEWMDB, flags: set) { message.write(to: &$0) }
        case .deleteGroup(_, let row):
            guard let index = mirror.index(of: row.link) else { return }
            let message = GroupMessage(index: index, entries: [.init(port: index, group: row.group, remote: row.remote)])
            batch.add(type: RTM_DELMDB) { message.write(to: &$0) }
        case .setRoute(_, let key, let target):
            let message = try route(key, target, mirror)
            batch.add(type: RTM_NEWROUTE, flags: set) { message.write(to: &$0) }
        case .deleteRoute(_, let key):
            // Asked to delete metric 0, IPv4 would take any.
            guard let target = mirror.state.routes[key] else { return }
            let message = try route(key, target, mirror).anyMaker
            batch.add(type: RTM_DELROUTE) { message.write(to: &$0) }
        case .createNamespace, .deleteNamespace, .createLink, .changeLink, .setSysctl, .setFilter, .changeSet, .setBridge, .setPort, .setBridgeFilter,
            .changeBridgeSet:
            throw KernelError(.invalid, operation, cause: "the step is no row")
        }
    }

    private func route(_ key: RouteKey, _ target: RouteTarget, _ mirror: Mirror) throws(KernelError) -> RouteMessage {
        var message = RouteMessage(
            destination: key.destination, table: RT_TABLE_MAIN.rawValue, origin: LinuxKernel.origin, type: UInt8(RTN_UNICAST),
            metric: key.metric, hops: [])
        switch target {
        case .link(let link):
            message.hops = [RouteMessage.Hop(index: try index(link, mirror))]
            message.scope = key.destination.family == .v4 ? UInt8(RT_SCOPE_LINK.rawValue) : 0
        case .via(let gateway, let link):
            message.hops = [RouteMessage.Hop(index: try index(link, mirror), gateway: gateway, isOnLink: true)]
            message.origin = LinuxKernel.origin(via: gateway)
        case .sourced(let source, via: let gateway, let link):
            message.hops = [RouteMessage.Hop(index: try index(link, mirror), gateway: gateway, isOnLink: gateway != nil)]
            if let gateway { message.origin = LinuxKernel.origin(via: gateway) }
            message.scope = gateway == nil && key.destination.family == .v4 ? UInt8(RT_SCOPE_LINK.rawValue) : 0
            message.preferredSource = source
        case .unreachable:
            message.type = UInt8(RTN_UNREACHABLE)
        case .foreign:
            throw KernelError(.exists, operation, cause: "there is a route of another making that could not be removed")
        }
        return message
    }
}

extension RouteMessage {
    /// As a pattern to delete by, whoever made the route and of whatever scope.
    fileprivate var anyMaker: RouteMessage {
        var pattern = self
        pattern.origin = 0
        pattern.scope = UInt8(RT_SCOPE_NOWHERE.rawValue)
        return pattern
    }
}

extension AddressMessage {
    /// As we make addresses: IPv6 ones are used at once, nobody else can have them.
    init(_ row: LinkAddress, index: UInt32) { self.init(row.address, index: index) }
    init(_ address: InterfaceAddress, index: UInt32) {
        self.init(index: index, address: address, flags: address.address.family == .v6 ? UInt32(IFA_F_NODAD) : 0)
    }
}
