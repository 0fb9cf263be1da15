/// What a namespace holds in the kernel, kept exact by the kernel's own notifications.
///
/// A change by anybody goes through it like this: the kernel multicasts a message, in the order of the changes and before it
/// acknowledges the one who asked; `LinuxKernel` drains its monitor socket before it answers, and hands each message to
/// `take`. Interfaces come with indices; rows are kept by name. The kernel does not tell everything: IPv4 routes vanish without a
/// message when their link goes down or loses its last address. Where a message says that such a thing may have happened, or does not
/// fit what is known, the mirror does not guess: it sets `needsReload`, and is read anew.
import Addressing
import CLinux
package import Fabric
import Glibc
package import Netlink

package struct Mirror {
    package enum Scope: Sendable {
        /// Everything but what the kernel makes by itself.
        case network
        /// Only links of our prefix and what hangs on them.
        case host
    }
    package let scope: Scope
    /// Without sysctls and filter: those are not in these messages.
    package internal(set) var state = NamespaceState()
    /// What is known may be wrong.
    package var needsReload: Bool {
        get { isDoubted || !doubtful.isEmpty }
        set {
            isDoubted = newValue
            if !newValue { doubtful = [] }
        }
    }
    private var isDoubted = true
    /// Links that went down or lost an IPv4 address: routes may have gone with that. A link that is being deleted goes through
    /// this too, and then its deletion says that all are gone.
    private var doubtful: Set<String> = []
    /// Names of links that came or went, since the caller last emptied it.
    package var movedLinks: Set<String> = []
    /// All links, of others too: rows are told apart by them.
    private(set) var names: [UInt32: String] = [:]
    /// Who listens to what behind which port of a bridge, as the bridge heard it.
    var listeners: Set<Listener> = []
    struct Listener: Hashable {
        var port: UInt32
        var group: IPAddress
        var source: IPAddress?
    }
    private var indices: [String: UInt32] = [:]
    /// Of veth pairs: the index of the other end, in its own namespace.
    private var peers: [String: UInt32] = [:]

    package init(scope: Scope) { self.scope = scope }

    package func index(of link: String) -> UInt32? { indices[link] }
    package func peerIndex(of link: String) -> UInt32? { peers[link] }

    func covers(_ name: String) -> Bool { scope == .network || name.hasPrefix(Desired.hostPrefix) }

    /// The name of a link whose rows are ours to know.
    mutating func covered(_ index: UInt32, isGone: Bool) -> String? {
        guard let name = names[index] else {
            // A row before its link: some message was missed. (Some rows are said to be gone after their link is.)
            if !isGone { needsReload = true }
            return nil
        }
        return covers(name) ? name : nil
    }

    /// - Returns: whether something changed that a listener wants to know: anything covered, and any link or address of
    ///   the host, which may be the underlay.
    package mutating func take(_ message: NetlinkMessage) throws(NetlinkError) -> Bool {
        switch message.type {
        case RTM_NEWLINK, RTM_DELLINK:
            // Bridges and IPv6 send partial messages of families of their own.
            let family = try message.header(ifinfomsg.self).ifi_family
            if family == UInt8(AF_BRIDGE) { return take(try BridgePortMessage(message), isGone: message.type == RTM_DELLINK) }
            guard family == UInt8(AF_UNSPEC) else { return false }
            let link = try LinkMessage(message)
            return message.type == RTM_NEWLINK ? take(link) : forget(link)
        case RTM_NEWADDR, RTM_DELADDR:
            return take(try AddressMessage(message), isGone: message.type == RTM_DELADDR)
        case RTM_NEWNEIGH, RTM_DELNEIGH:
            return take(try NeighborMessage(message), isGone: message.type == RTM_DELNEIGH)
        case RTM_NEWMDB, RTM_DELMDB:
            return take(try GroupMessage(message), isGone: message.type == RTM_DELMDB)
        case RTM_NEWROUTE, RTM_DELROUTE:
            guard AddressFamily(number: try message.header(rtmsg.self).rtm_family) != nil else { return false }
            return take(
                try RouteMessage(message), isGone: message.type == RTM_DELROUTE,
                replaces: message.flags & Int(NLM_F_REPLACE) != 0)
        default:
            return false
        }
    }

    // MARK: Links

    private mutating func take(_ message: LinkMessage) -> Bool {
        // Some drivers' notices have no name; they change nothing here.
        guard let name = message.name else { return false }
        let index = UInt32(bitPattern: message.index)
        if let old = names[index], old != name, covers(old) || covers(name) { needsReload = true }
        if let old = names[index], old != name { indices[old] = nil }
        names[index] = name
        indices[name] = index
        guard covers(name), !message.isKernelMade else { return scope == .host }
        var link = Link(message)
        link.port = port(message.port, of: message.master)
        let old = state.links.updateValue(link, forKey: name)
        peers[name] = link.kind == .veth ? message.lower : nil
        if old == nil { movedLinks.insert(name) }
        // Its IPv4 routes went without a word.
        if old?.isUp == true, !link.isUp { doubtful.insert(name) }
        return old != link
    }

    private mutating func forget(_ message: LinkMessage) -> Bool {
        guard let name = names.removeValue(forKey: UInt32(bitPattern: message.index)) else { return scope == .host }
        indices[name] = nil
        peers[name] = nil
        doubtful.remove(name)
        forgetBridge(name)
        guard covers(name) else { return scope == .host }
        movedLinks.insert(name)
        state.links[name] = nil
        state.addresses = state.addresses.filter { $0.link != name }
        for key in state.neighbors.keys where key.link == name { state.neighbors[key] = nil }
        for key in state.forwarding.keys where key.link == name { state.forwarding[key] = nil }
        for (key, target) in state.routes where target.link == name { state.routes[key] = nil }
        // One of several next hops may have gone.
        if state.routes.values.contains(.foreign) { needsReload = true }
        return true
    }

    // MARK: Addresses

    private mutating func take(_ message: AddressMessage, isGone: Bool) -> Bool {
        guard let name = covered(message.index, isGone: isGone), !message.isKernelMade(on: name) else { return scope == .host }
        let row = LinkAddress(link: name, address: message.address)
        guard isGone else { return state.addresses.insert(row).inserted }
        // With the last IPv4 address of a link its routes go, without a word.
        if message.address.address.family == .v4 { doubtful.insert(name) }
        return state.addresses.remove(row) != nil
    }

    // MARK: Neighbours and forwarding rows

    private mutating func take(_ message: NeighborMessage, isGone: Bool) -> Bool {
        switch message.table {
        case .neighbors:
            guard message.flags & UInt8(NTF_PROXY) == 0, let address = message.destination,
                let name = covered(message.index, isGone: isGone)
            else { return false }
            let key = NeighborKey(link: name, address: address)
            let isPermanent = message.state & UInt16(NUD_PERMANENT) != 0
            let new = isGone || !isPermanent ? nil : message.mac
            let old = state.neighbors[key]
            state.neighbors[key] = new
            return old != new
        case .forwarding:
            guard message.flags & UInt8(NTF_SELF) != 0 else { return takeStation(message, isGone: isGone) }
            guard let remote = message.remote, let mac = message.mac,
                let name = covered(message.index, isGone: isGone)
            else { return false }
            if mac == .any { return takeFlood(FloodRow(link: name, remote: remote), isGone: isGone) }
            let key = ForwardingKey(link: name, mac: mac)
            let old = state.forwarding[key]
            state.forwarding[key] = isGone ? nil : remote
            // A row can have several remote hosts; we make none such, so what is left of this one is to be read.
            if isGone, let old, old != remote { needsReload = true }
            return old != state.forwarding[key]
        }
    }

    // MARK: Routes

    private mutating func take(_ message: RouteMessage, isGone: Bool, replaces: Bool) -> Bool {
        guard message.table == RT_TABLE_MAIN.rawValue, message.origin != UInt8(RTPROT_KERNEL), !message.isCached else { return false }
        let links = message.hops.compactMap { hop in hop.index.flatMap { covered($0, isGone: isGone) } }
        // Where the host's default route leads may be the underlay.
        if links.isEmpty, scope == .host { return message.destination.length == 0 }
        let target = message.target(on: links)
        let key = RouteKey(destination: message.destination, metric: message.metric)
        let old = state.routes[key]
        if isGone {
            guard let old else { return false }
            if old == target, target != .foreign {
                state.routes[key] = nil
            } else {
                needsReload = true
            }
            return true
        }
        // A second route of that key beside the first, or one of several such was replaced.
        if old == .foreign || (old != nil && old != target && !replaces) { needsReload = true }
        state.routes[key] = target
        return old != target
    }

    // MARK: Reading anew

    /// Everything of a dump, in this order: links, addresses, neighbours and forwarding rows, groups, routes.
    package mutating func replace(
        links: [LinkMessage], addresses: [AddressMessage], neighbors: [NeighborMessage], groups: [GroupMessage] = [], routes: [RouteMessage]
    ) {
        var new = Mirror(scope: scope)
        // A port may be listed before its bridge.
        for link in links { if let name = link.name { new.names[UInt32(bitPattern: link.index)] = name } }
        for link in links { _ = new.take(link) }
        for address in addresses { _ = new.take(address, isGone: false) }
        for neighbor in neighbors { _ = new.take(neighbor, isGone: false) }
        for group in groups { _ = new.take(group, isGone: false) }
        for route in routes {
            let key = RouteKey(destination: route.destination, metric: route.metric)
            let isSecond = new.state.routes[key] != nil
            _ = new.take(route, isGone: false, replaces: true)
            if isSecond, new.state.routes[key] != nil { new.state.routes[key] = .foreign }
        }
        // Links that came after the dump of links have notifications waiting; their rows come with those.
        new.needsReload = false
        new.movedLinks = movedLinks.union(Set(new.state.links.keys).symmetricDifference(state.links.keys))
        self = new
    }
}
