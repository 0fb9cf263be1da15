/// A switched network: one Ethernet segment over all its hosts.
///
/// One frame from container A (here) to container B (on another node): A asks by ARP who has B's address. The bridge knows, for B's address is a
/// permanent neighbour of it, and answers in B's name; no question leaves the host. A's frame to B's MAC comes in by A's port, passes the guard
/// (does A own this MAC and this address?), and the bridge's row of that MAC names the tunnel; the tunnel's row names B's node. There the bridge's row
/// of B's MAC names B's port. What leaves the segment goes to the gateway's MAC, which is the bridge's own on every node: each host is
/// its containers' way out, wherever they move.
///
/// All rows are permanent and made of the store's `endpoints/…`; who holds an address, though, is what `blocks/…` and `addresses/…` say.
package import Addressing

extension Desired {
    /// "br" alone is a word of `ip` (broadcast).
    package static let bridgeLink = "br0"
    package static let groups4 = "groups4"
    package static let groups6 = "groups6"

    /// The gateway's, the same on all nodes: made of the network's identity.
    package static func gatewayMAC(_ network: NetworkObject) -> MACAddress { MACAddress.local(fnv1a(network.id.description)) }

    /// The part that depends on other nodes: the tunnel, and rows for each of their endpoints.
    static func remoteSwitched(_ network: NetworkObject, view: ClusterView, me: NodeObject, settings: Settings) -> NamespaceState {
        var state = NamespaceState()
        let mtu = view.mtu(of: network, me: me)
        state.links[bridgeLink] = Link(.bridge, mac: gatewayMAC(network), mtu: mtu, bridge: Bridge())
        state.links[tunnelLink] = Link(
            .vxlan(VXLAN(vni: network.vni, port: settings.vxlanPort, local: me.underlay)), mac: me.id.tunnelMAC, mtu: max(mtu, 1280),
            port: BridgePort(bridge: bridgeLink, suppressesNeighbors: true, getsAllMulticast: true))
        var members: [NodeID: IPAddress] = [:]
        // Of two with one address the newer: an old one's end may not be told yet.
        let others = (view.endpoints[network.id] ?? [:]).values.filter { $0.node != me.id }
        for endpoint in others.sorted(by: { ($0.created, $0.id) < ($1.created, $1.id) }) {
            guard let node = view.nodes[endpoint.node], node.underlay.family == me.underlay.family, isUsable(endpoint.mac, network) else { continue }
            let addresses = endpoint.addresses.filter { view.holder(of: $0, in: network) == endpoint.node }
            guard !addresses.isEmpty else { continue }
            members[endpoint.node] = node.underlay
            state.forwarding[ForwardingKey(link: tunnelLink, mac: endpoint.mac)] = node.underlay
            station(endpoint.mac, addresses, behind: tunnelLink, into: &state)
        }
        for underlay in members.values { state.floods.insert(FloodRow(link: tunnelLink, remote: underlay)) }
        let listeners = (view.groups[network.id] ?? [:]).values.filter { members[$0.node] != nil }
        var heard: [AddressFamily: Set<FilterElement>] = [.v4: [], .v6: []]
        // Who listens to more than it can say gets each group that another listens to; and all others are flooded.
        let all = Set(listeners.filter { $0.hasMore == true }.compactMap { members[$0.node] })
        for listener in listeners {
            guard let underlay = members[listener.node] else { continue }
            for group in listener.groups.prefix(GroupsObject.most) where group.isMulticast && !group.isLinkLocalMulticast {
                heard[group.family, default: []].insert(.address(group))
                for remote in all.union([underlay]) { state.groups.insert(GroupRow(link: tunnelLink, group: group, remote: remote)) }
            }
        }
        state.bridgeFilter = bridgeFilter(network, heard: heard, isOpen: !all.isEmpty)
        return state
    }

    /// A unicast MAC that is nobody else's by nature.
    private static func isUsable(_ mac: MACAddress, _ network: NetworkObject) -> Bool {
        !mac.isMulticast && mac != .any && mac != gatewayMAC(network)
    }

    /// The addresses of a MAC; over IPv6 it has a link-local one besides (multicast DNS and others use it).
    private static func station(_ mac: MACAddress, _ addresses: [IPAddress], behind port: String, into state: inout NamespaceState) {
        state.stations[mac] = port
        for address in withLinkLocal(mac, addresses) { state.neighbors[NeighborKey(link: bridgeLink, address: address)] = mac }
    }
    private static func withLinkLocal(_ mac: MACAddress, _ addresses: [IPAddress]) -> [IPAddress] {
        addresses + (addresses.contains { $0.family == .v6 } ? [mac.linkLocal] : [])
    }

    /// The part that depends on this node's endpoints.
    static func localSwitched(
        _ network: NetworkObject, view: ClusterView, me: NodeObject, endpoints: [LocalEndpoint], into state: inout NamespaceState
    ) {
        let mtu = view.mtu(of: network, me: me)
        for hook in Sysctl.bridgeHooks { state.sysctls[hook] = "0" }
        settle(link: bridgeLink, into: &state)
        // A port is no host: the kernel would have each speak IPv6, and into the tunnel too.
        state.sysctls["net/ipv6/conf/\(tunnelLink)/disable_ipv6"] = "1"
        for subnet in network.subnets {
            state.addresses.insert(
                LinkAddress(link: bridgeLink, address: InterfaceAddress(subnet.gateway, length: subnet.prefix.length)))
        }
        var guards: [AddressFamily: Set<FilterElement>] = [.v4: [], .v6: []]
        for endpoint in endpoints.sorted(by: { ($0.created, $0.id) < ($1.created, $1.id) }) {
            let link = endpoint.outerLink
            state.links[link] = Link(
                .veth, mtu: mtu, peer: peer(of: endpoint, network: network), port: BridgePort(bridge: bridgeLink))
            state.sysctls["net/ipv6/conf/\(link)/disable_ipv6"] = "1"
            // See `local`: whoever has an address here that is another's is kept from using it.
            if view.removed[me.id] != nil || !isUsable(endpoint.mac, network) { continue }
            let addresses = endpoint.addresses.filter { address in view.holder(of: address, in: network).map { $0 == me.id } ?? true }
            guard !addresses.isEmpty else { continue }
            state.forwarding[ForwardingKey(link: tunnelLink, mac: endpoint.mac)] = nil
            station(endpoint.mac, addresses, behind: link, into: &state)
            for address in withLinkLocal(endpoint.mac, addresses) {
                guards[address.family, default: []].insert(.guarded(link: link, mac: endpoint.mac, address: address))
            }
        }
        for (family, elements) in guards { state.bridgeFilter?.sets[family == .v4 ? guards4 : guards6]?.elements = elements }
    }

    /// From port to port.
    ///
    /// `ports` checks what comes from a container against the guards: MAC and address of a packet, of an ARP message inside and out, of a neighbour
    /// advertisement. Routers and DHCP servers are no containers. `tunnel` keeps on this host what others need not hear: each bridge answers
    /// for all addresses and knows who listens behind its own ports. `own` and `host` keep the gateways of the nodes, which are
    /// all one, from hearing each other.
    private static func bridgeFilter(
        _ network: NetworkObject, heard: [AddressFamily: Set<FilterElement>], isOpen: Bool
    ) -> PacketFilter {
        let fromContainer = FilterRule.Match.inputLinkPrefix(endpointPrefix)
        let toTunnel = FilterRule.Match.outputLink(tunnelLink)
        let unspecified = FilterRule.Match.source(IPPrefix(IPAddress(.v6, bits: 0)))
        let linkLocal = FilterRule.Match.source(IPPrefix(containing: IPAddress(.v6, bits: 0xfe80 << 112), length: 10))
        let arp = FilterRule.Match.etherType(0x0806)
        let ports = [
            FilterRule([.inputLink(tunnelLink)], .accept),
            FilterRule([fromContainer, .guardNotIn(set: guards4, .v4)], counter: "spoofed", .drop),
            FilterRule([fromContainer, .family(.v4), .udpSourcePort(67)], counter: "unwanted", .drop),
            // The bridge alone asks who listens: another who asks could have it forget who does, and get all groups (MLD's question is 130).
            FilterRule([fromContainer, .family(.v4), .igmpType(0x11)], counter: "unwanted", .drop),
            FilterRule([fromContainer, .icmpv6(130, 130)], counter: "unwanted", .drop),
            FilterRule([.family(.v4)], .accept),
            FilterRule([fromContainer, .arpFrameNotIn(set: guards4)], counter: "spoofed", .drop),
            FilterRule([fromContainer, .arpBodyNotIn(set: guards4)], counter: "spoofed", .drop),
            FilterRule([arp], .accept),
            // Who has no address yet asks whether another has it (135), and says to which groups it listens (131, 132, 143).
            FilterRule([fromContainer, unspecified, .icmpv6(135, 135)], .accept),
            FilterRule([fromContainer, unspecified, .icmpv6(131, 132)], .accept),
            FilterRule([fromContainer, unspecified, .icmpv6(143, 143)], .accept),
            FilterRule([fromContainer, unspecified], .drop),
            FilterRule([fromContainer, linkLocal, .guardNotIn(set: guards6, .v6)], .drop),
            FilterRule([fromContainer, .guardNotIn(set: guards6, .v6)], counter: "spoofed", .drop),
            // Router solicitations and advertisements, redirects.
            FilterRule([fromContainer, .icmpv6(133, 134)], counter: "unwanted", .drop),
            FilterRule([fromContainer, .icmpv6(137, 137)], counter: "unwanted", .drop),
            FilterRule([fromContainer, .advertisementNotIn(set: guards6)], counter: "spoofed", .drop),
            FilterRule([fromContainer, .family(.v6), .udpSourcePort(547)], counter: "unwanted", .drop),
            FilterRule([.family(.v6)], .accept),
            FilterRule([fromContainer], counter: "unwanted", .drop),
        ]
        var tunnel = [
            FilterRule([.notOutputLink(tunnelLink)], .accept),
            FilterRule([arp], counter: "suppressed", .drop),
            FilterRule([.family(.v4), .toOne], .accept),
            FilterRule([.igmp], .drop),
            FilterRule([.icmpv6(133, 137)], counter: "suppressed", .drop),
            FilterRule([.icmpv6(130, 132)], .drop),
            FilterRule([.icmpv6(143, 143)], .drop),
            FilterRule([.toOne], .accept),
        ]
        if !isOpen {
            for (group, all, set) in [("224.0.0.0/24", "224.0.0.0/4", groups4), ("ff02::/16", "ff00::/8", groups6)] {
                guard let group = IPPrefix(group), let all = IPPrefix(all) else { continue }
                tunnel.append(FilterRule([.destination(group)], .accept))
                tunnel.append(FilterRule([.destination(all), .destinationNotIn(set: set, all.family)], counter: "unheard", .drop))
            }
        }
        return PacketFilter(
            .bridge,
            chains: [
                "ports": FilterChain(.filter, .prerouting, priority: -300, rules: ports),
                "tunnel": FilterChain(.filter, .postrouting, priority: 0, rules: tunnel),
                "own": FilterChain(.filter, .output, priority: 0, rules: [FilterRule([toTunnel], .drop)]),
                "host": FilterChain(.filter, .input, priority: 0, rules: [FilterRule([.inputLink(tunnelLink)], .drop)]),
            ],
            sets: [
                guards4: FilterSet(.guardV4), guards6: FilterSet(.guardV6),
                groups4: FilterSet(.addressV4, heard[.v4] ?? []), groups6: FilterSet(.addressV6, heard[.v6] ?? []),
            ],
            counters: ["spoofed", "unwanted", "suppressed", "unheard"])
    }
}
