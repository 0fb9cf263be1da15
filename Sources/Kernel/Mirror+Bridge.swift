/// What messages say of bridges: ports, behind which port a MAC is, to which hosts a tunnel copies, and who listens to multicast.
import Addressing
import CLinux
import Fabric
import Glibc
import Netlink

extension Mirror {
    /// - Parameter master: the index of the bridge; the kernel tells a port's settings and its bridge at once.
    mutating func port(_ data: BridgePortData?, of master: UInt32?) -> BridgePort? {
        guard let data, let master, master != 0 else { return nil }
        guard let bridge = names[master] else {
            needsReload = true
            return nil
        }
        return BridgePort(data, bridge: bridge)
    }

    mutating func take(_ message: BridgePortMessage, isGone: Bool) -> Bool {
        guard let name = names[message.index], covers(name), let link = state.links[name] else { return false }
        if isGone {
            state.links[name]?.port = nil
        } else if message.data != nil {
            let new = port(message.data, of: message.master)
            state.links[name]?.port = new
        }
        return state.links[name] != link
    }

    /// A row of a bridge that was neither learnt nor is for the bridge's own host.
    mutating func takeStation(_ message: NeighborMessage, isGone: Bool) -> Bool {
        guard message.master != nil, message.vlan == nil, let mac = message.mac, let name = covered(message.index, isGone: isGone)
        else { return false }
        let old = state.stations[mac]
        let isStatic = message.state & UInt16(NUD_NOARP) != 0 && message.state & UInt16(NUD_PERMANENT) == 0
        if !isGone, isStatic {
            state.stations[mac] = name
        } else if old == name {
            state.stations[mac] = nil
        }
        return state.stations[mac] != old
    }

    mutating func takeFlood(_ row: FloodRow, isGone: Bool) -> Bool {
        isGone ? state.floods.remove(row) != nil : state.floods.insert(row).inserted
    }

    mutating func take(_ message: GroupMessage, isGone: Bool) -> Bool {
        guard let device = covered(message.index, isGone: isGone), let link = state.links[device] else { return false }
        let old = (state.groups, state.listened)
        for entry in message.entries {
            if let remote = entry.remote {
                guard entry.source == nil else { continue }
                let row = GroupRow(link: device, group: entry.group, remote: remote)
                if isGone { state.groups.remove(row) } else { state.groups.insert(row) }
            } else if link.kind == .bridge, entry.port != message.index, names[entry.port] != Desired.tunnelLink, !entry.group.isLinkLocalMulticast {
                let listener = Listener(port: entry.port, group: entry.group, source: entry.source)
                if isGone { listeners.remove(listener) } else { listeners.insert(listener) }
            }
        }
        state.listened = Set(listeners.map(\.group))
        return (state.groups, state.listened) != old
    }

    /// A link goes: its rows, and all of a bridge's.
    mutating func forgetBridge(_ name: String) {
        let isBridge = state.links[name]?.kind == .bridge
        for (mac, port) in state.stations where port == name || isBridge { state.stations[mac] = nil }
        state.floods = state.floods.filter { $0.link != name }
        state.groups = state.groups.filter { $0.link != name }
        for (other, link) in state.links where link.port?.bridge == name { state.links[other]?.port = nil }
        listeners = isBridge ? [] : listeners.filter { names[$0.port] != nil }
        state.listened = Set(listeners.map(\.group))
    }
}

extension BridgePort {
    init(_ data: BridgePortData, bridge: String) {
        self.init(
            bridge: bridge, learns: data.learns, floodsUnknown: data.floodsUnicast, floodsMulticast: data.floodsMulticast,
            floodsBroadcast: data.floodsBroadcast, suppressesNeighbors: data.suppressesNeighbors, proxiesARP: data.proxiesARP,
            isIsolated: data.isIsolated, getsAllMulticast: data.multicastRouter == UInt8(LINUX_MDB_RTR_TYPE_PERM))
    }
}

extension BridgePortData {
    init(_ port: BridgePort) {
        self.init(
            learns: port.learns, floodsUnicast: port.floodsUnknown, floodsMulticast: port.floodsMulticast,
            floodsBroadcast: port.floodsBroadcast, suppressesNeighbors: port.suppressesNeighbors, proxiesARP: port.proxiesARP,
            isIsolated: port.isIsolated, multicastRouter: port.getsAllMulticast ? UInt8(LINUX_MDB_RTR_TYPE_PERM) : 0)
    }
}

extension Bridge {
    init(_ data: BridgeData) {
        self.init(
            snoops: data.snoops ?? false, queries: data.queries ?? false, asksFromOwnAddress: data.asksFromOwnAddress ?? false,
            answerTime: Int(clamping: data.answerTime ?? 0), hasSpanningTree: data.hasSpanningTree ?? false, filtersVLANs: data.filtersVLANs ?? false)
    }
}

extension BridgeData {
    /// A kernel without VLANs for bridges refuses to turn off what it has not.
    init(_ bridge: Bridge, over present: Bridge) {
        self.init(
            hasSpanningTree: bridge.hasSpanningTree, filtersVLANs: bridge.filtersVLANs == present.filtersVLANs ? nil : bridge.filtersVLANs,
            snoops: bridge.snoops, queries: bridge.queries, asksFromOwnAddress: bridge.asksFromOwnAddress, answerTime: UInt64(clamping: bridge.answerTime))
    }
}
