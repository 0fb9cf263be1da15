/// What rtnetlink says of bridges and their ports.
///
///     IFLA_LINKINFO { KIND "bridge", DATA { IFLA_BR_… } }                                 the bridge itself
///     IFLA_MASTER | IFLA_LINKINFO { SLAVE_KIND "bridge", SLAVE_DATA { IFLA_BRPORT_… } }   a port, in messages about links
///     IFLA_MASTER | IFLA_PROTINFO { IFLA_BRPORT_… }                                       a port, in messages of family AF_BRIDGE
///
/// Source: linux/if_link.h.
import CLinux
import Glibc

/// nil, written, leaves as it is.
package struct BridgeData: Hashable, Sendable {
    package var hasSpanningTree: Bool?
    package var filtersVLANs: Bool?
    package var snoops: Bool?
    package var queries: Bool?
    package var asksFromOwnAddress: Bool?
    /// Hundredths of a second.
    package var answerTime: UInt64?
    /// The VLAN that new ports get; 0 is none. Only written, and first: a row without a VLAN gets one for each that its port has.
    package var portVLAN: UInt16?

    package init(
        hasSpanningTree: Bool? = nil, filtersVLANs: Bool? = nil, snoops: Bool? = nil, queries: Bool? = nil, asksFromOwnAddress: Bool? = nil,
        answerTime: UInt64? = nil, portVLAN: UInt16? = nil
    ) {
        self.hasSpanningTree = hasSpanningTree
        self.filtersVLANs = filtersVLANs
        self.snoops = snoops
        self.queries = queries
        self.asksFromOwnAddress = asksFromOwnAddress
        self.answerTime = answerTime
        self.portVLAN = portVLAN
    }

    func write(to writer: inout NetlinkWriter) {
        if let portVLAN { writer.attribute(IFLA_BR_VLAN_DEFAULT_PVID, portVLAN) }
        if let hasSpanningTree { writer.attribute(IFLA_BR_STP_STATE, UInt32(hasSpanningTree ? 1 : 0)) }
        if let answerTime { writer.attribute(IFLA_BR_MCAST_QUERY_RESPONSE_INTVL, answerTime) }
        // A full table ends snooping for the whole bridge; the default is 4,096 groups.
        writer.attribute(IFLA_BR_MCAST_HASH_MAX, UInt32(1 << 16))
        for (type, value) in [
            (IFLA_BR_VLAN_FILTERING, filtersVLANs), (IFLA_BR_MCAST_SNOOPING, snoops), (IFLA_BR_MCAST_QUERY_USE_IFADDR, asksFromOwnAddress),
            (IFLA_BR_MCAST_QUERIER, queries),
        ] {
            if let value { writer.attribute(type, UInt8(value ? 1 : 0)) }
        }
    }

    init(_ attributes: NetlinkAttributes) throws(NetlinkError) {
        self.init(
            hasSpanningTree: try attributes[IFLA_BR_STP_STATE]?.value(UInt32.self) ?? 0 != 0,
            filtersVLANs: try attributes[IFLA_BR_VLAN_FILTERING]?.value(UInt8.self) ?? 0 != 0,
            snoops: try attributes[IFLA_BR_MCAST_SNOOPING]?.value(UInt8.self) ?? 0 != 0,
            queries: try attributes[IFLA_BR_MCAST_QUERIER]?.value(UInt8.self) ?? 0 != 0,
            asksFromOwnAddress: try attributes[IFLA_BR_MCAST_QUERY_USE_IFADDR]?.value(UInt8.self) ?? 0 != 0,
            answerTime: try attributes[IFLA_BR_MCAST_QUERY_RESPONSE_INTVL]?.value(UInt64.self))
    }
}

/// What a port lets pass.
package struct BridgePortData: Hashable, Sendable {
    package var learns: Bool
    package var floodsUnicast: Bool
    package var floodsMulticast: Bool
    package var floodsBroadcast: Bool
    package var suppressesNeighbors: Bool
    package var proxiesARP: Bool
    package var isIsolated: Bool
    /// MDB_RTR_TYPE_…: 1 is the kernel's choice, 2 is always a multicast router.
    package var multicastRouter: UInt8

    package init(
        learns: Bool, floodsUnicast: Bool, floodsMulticast: Bool, floodsBroadcast: Bool, suppressesNeighbors: Bool, proxiesARP: Bool,
        isIsolated: Bool, multicastRouter: UInt8
    ) {
        self.learns = learns
        self.floodsUnicast = floodsUnicast
        self.floodsMulticast = floodsMulticast
        self.floodsBroadcast = floodsBroadcast
        self.suppressesNeighbors = suppressesNeighbors
        self.proxiesARP = proxiesARP
        self.isIsolated = isIsolated
        self.multicastRouter = multicastRouter
    }

    func write(to writer: inout NetlinkWriter) {
        for (type, value) in [
            (IFLA_BRPORT_LEARNING, learns), (IFLA_BRPORT_UNICAST_FLOOD, floodsUnicast), (IFLA_BRPORT_MCAST_FLOOD, floodsMulticast),
            (IFLA_BRPORT_BCAST_FLOOD, floodsBroadcast), (IFLA_BRPORT_NEIGH_SUPPRESS, suppressesNeighbors),
            (IFLA_BRPORT_PROXYARP, proxiesARP), (IFLA_BRPORT_ISOLATED, isIsolated),
        ] {
            writer.attribute(type, UInt8(value ? 1 : 0))
        }
        writer.attribute(IFLA_BRPORT_MULTICAST_ROUTER, multicastRouter)
    }

    package init(_ attributes: NetlinkAttributes) throws(NetlinkError) {
        self.init(
            learns: try attributes[IFLA_BRPORT_LEARNING]?.value(UInt8.self) ?? 0 != 0,
            floodsUnicast: try attributes[IFLA_BRPORT_UNICAST_FLOOD]?.value(UInt8.self) ?? 0 != 0,
            floodsMulticast: try attributes[IFLA_BRPORT_MCAST_FLOOD]?.value(UInt8.self) ?? 0 != 0,
            floodsBroadcast: try attributes[IFLA_BRPORT_BCAST_FLOOD]?.value(UInt8.self) ?? 0 != 0,
            suppressesNeighbors: try attributes[IFLA_BRPORT_NEIGH_SUPPRESS]?.value(UInt8.self) ?? 0 != 0,
            proxiesARP: try attributes[IFLA_BRPORT_PROXYARP]?.value(UInt8.self) ?? 0 != 0,
            isIsolated: try attributes[IFLA_BRPORT_ISOLATED]?.value(UInt8.self) ?? 0 != 0,
            multicastRouter: try attributes[IFLA_BRPORT_MULTICAST_ROUTER]?.value(UInt8.self) ?? 1)
    }
}

/// What a message of family AF_BRIDGE says of a port: its index, its bridge's, and its settings if they are in it.
package struct BridgePortMessage: Hashable, Sendable {
    package var index: UInt32
    package var master: UInt32?
    package var data: BridgePortData?

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        let header: ifinfomsg = try message.header()
        let attributes = message.attributes(after: ifinfomsg.self)
        index = UInt32(bitPattern: header.ifi_index)
        master = try attributes[IFLA_MASTER]?.value(UInt32.self)
        guard let info = attributes[IFLA_PROTINFO]?.attributes, info[IFLA_BRPORT_STATE] != nil else { return }
        data = try BridgePortData(info)
    }
}
