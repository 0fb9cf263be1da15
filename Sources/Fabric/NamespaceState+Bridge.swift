/// What a switched network has in its namespace besides links and addresses: the bridge's own settings, what a port lets pass, behind which
/// port a MAC is, and to which hosts the tunnel copies what is for many.
///
/// A broadcast from a container comes in by its port, is copied by the bridge to the other ports, and by the tunnel, which is one of them, to each
/// remote host of the `FloodRow`s. A multicast goes to the ports of those who listen (the bridge hears them ask: IGMP, MLD) and to the
/// tunnel, which copies it to the hosts of its group's `GroupRow`s; for a group without a row, to those of the flood rows.
package import Addressing

/// Settings of a bridge (`ip link … type bridge`).
package struct Bridge: Hashable, Sendable {
    /// Multicast goes where somebody listens (`mcast_snooping`).
    package var snoops: Bool
    /// It asks who listens (`mcast_querier`), from its own address (`mcast_query_use_ifaddr`): without a question now and then all are forgotten.
    package var queries: Bool
    package var asksFromOwnAddress: Bool
    /// Within how many hundredths of a second who listens must answer a question (`mcast_query_response_interval`). The bridge asks a port that came
    /// up, for who joined before that was not heard; the kernel's own 10 s would be long for him.
    package var answerTime: Int
    package var hasSpanningTree: Bool
    package var filtersVLANs: Bool

    package init(
        snoops: Bool = true, queries: Bool = true, asksFromOwnAddress: Bool = true, answerTime: Int = 100, hasSpanningTree: Bool = false,
        filtersVLANs: Bool = false
    ) {
        self.snoops = snoops
        self.queries = queries
        self.asksFromOwnAddress = asksFromOwnAddress
        self.answerTime = answerTime
        self.hasSpanningTree = hasSpanningTree
        self.filtersVLANs = filtersVLANs
    }
}

/// A link's place in a bridge (`bridge link`).
package struct BridgePort: Hashable, Sendable {
    /// By name.
    package var bridge: String
    package var learns: Bool
    /// Whether frames for a MAC of which nothing is known go there.
    package var floodsUnknown: Bool
    package var floodsMulticast: Bool
    package var floodsBroadcast: Bool
    /// ARP and ND for what is behind this port are answered for it, and not sent there (`neigh_suppress`).
    package var suppressesNeighbors: Bool
    /// ARP from this port is answered where the answer is known (`proxy_arp`). Such a port gets nothing that is flooded, no broadcast either, so ours
    /// never has it.
    package var proxiesARP: Bool
    /// It may not talk to other ports of that kind.
    package var isIsolated: Bool
    /// All multicast goes there (MDB_RTR_TYPE_PERM), not only what is asked for.
    package var getsAllMulticast: Bool

    package init(
        bridge: String, learns: Bool = false, floodsUnknown: Bool = false, floodsMulticast: Bool = true, floodsBroadcast: Bool = true,
        suppressesNeighbors: Bool = false, proxiesARP: Bool = false, isIsolated: Bool = false, getsAllMulticast: Bool = false
    ) {
        self.bridge = bridge
        self.learns = learns
        self.floodsUnknown = floodsUnknown
        self.floodsMulticast = floodsMulticast
        self.floodsBroadcast = floodsBroadcast
        self.suppressesNeighbors = suppressesNeighbors
        self.proxiesARP = proxiesARP
        self.isIsolated = isIsolated
        self.getsAllMulticast = getsAllMulticast
    }
}

/// A VXLAN device copies broadcasts, and multicast of groups without rows, to that host (the all-zero MAC of its forwarding database).
package struct FloodRow: Hashable, Sendable {
    package var link: String
    package var remote: IPAddress
    package init(link: String, remote: IPAddress) {
        self.link = link
        self.remote = remote
    }
}

/// A VXLAN device copies the packets of that group to that host, and to no host without such a row (its MDB, since Linux 6.4).
package struct GroupRow: Hashable, Sendable {
    package var link: String
    package var group: IPAddress
    package var remote: IPAddress
    package init(link: String, group: IPAddress, remote: IPAddress) {
        self.link = link
        self.group = group
        self.remote = remote
    }
}

extension IPAddress {
    /// 224.0.0.0/24 and ff02::/16: routers never forward them, and nobody says that he listens to the former (RFC 4541 section 2.1.2).
    package var isLinkLocalMulticast: Bool { IPAddress.linkLocalGroups.contains { $0.contains(self) } }
    package static let linkLocalGroups = [
        IPPrefix(containing: IPAddress(v4: 0xe000_0000), length: 24), IPPrefix(containing: IPAddress(.v6, bits: 0xff02 << 112), length: 16),
    ]
}

extension MACAddress {
    /// In a VXLAN device's forwarding database: every MAC without a row of its own.
    package static let any = MACAddress(bits: 0)
}
