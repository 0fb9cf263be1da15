/// What the kernel of one node should hold: a pure function of the cluster's view and of the node's own endpoints.
///
/// One packet from container A (here) to container B (on another node), routed mode: A's default route and its route for
/// the subnet lead to the gateway, which the outer end of A's veth pair answers for. In the network's namespace the packet
/// passes the guard (does A own this source?), is not tracked, and meets the route of B's block: through B's node,
/// named by the link-local address of its VTEP MAC, on the VXLAN device. One permanent neighbour gives the MAC, one
/// forwarding row the node's underlay address. There the same table has B's own /32 on B's link. (Desired+Switched.swift has the other mode.)
package import Addressing

package struct Settings: Hashable, Sendable {
    package var vxlanPort: UInt16
    package var vniBase: UInt32
    package init(vxlanPort: UInt16, vniBase: UInt32) {
        self.vxlanPort = vxlanPort
        self.vniBase = vniBase
    }
}

package enum Desired {
    // Names inside a network's namespace.
    package static let tunnelLink = "vxlan"
    package static let egressLink = "out"
    package static let endpointPrefix = "ep"
    /// Of the host's ends of the egress pairs.
    package static let hostPrefix = "tulle"
    package static let guards4 = "guards4"
    package static let guards6 = "guards6"
    package static let peers4 = "peers4"
    package static let peers6 = "peers6"

    /// The network's namespace; nil where no endpoint of it lives.
    package static func network(
        _ network: NetworkObject, view: ClusterView, me: NodeObject, endpoints: [LocalEndpoint], settings: Settings
    ) -> NamespaceState? {
        guard !endpoints.isEmpty else { return nil }
        var state = remote(network, view: view, me: me, settings: settings)
        local(network, view: view, me: me, endpoints: endpoints, settings: settings, into: &state)
        return state
    }

    /// The part that depends on other nodes: tunnel device, and per node one next hop, per block one route.
    package static func remote(
        _ network: NetworkObject, view: ClusterView, me: NodeObject, settings: Settings
    ) -> NamespaceState {
        if network.isSwitched { return remoteSwitched(network, view: view, me: me, settings: settings) }
        var state = NamespaceState()
        let vxlan = VXLAN(vni: network.vni, port: settings.vxlanPort, local: me.underlay)
        // Below 1280 a link has no IPv6 (RFC 8200 section 5), and its next hops are IPv6 addresses. The containers' links keep the real MTU.
        state.links[tunnelLink] = Link(
            .vxlan(vxlan), mac: me.id.tunnelMAC, mtu: max(view.mtu(of: network, me: me), 1280))
        var nextHops: [NodeID: IPAddress] = [:]

        func nextHop(to id: NodeID) -> IPAddress? {
            if let known = nextHops[id] { return known }
            // A node of the other address family cannot be reached by this tunnel (`problems` tells).
            guard let node = view.nodes[id], node.underlay.family == me.underlay.family else { return nil }
            let mac = id.tunnelMAC
            let address = mac.linkLocal
            state.neighbors[NeighborKey(link: tunnelLink, address: address)] = mac
            state.forwarding[ForwardingKey(link: tunnelLink, mac: mac)] = node.underlay
            nextHops[id] = address
            return address
        }
        for (prefix, block) in view.blocks[network.id] ?? [:] where block.node != me.id {
            guard let hop = nextHop(to: block.node) else { continue }
            state.routes[RouteKey(destination: prefix)] = .via(hop, link: tunnelLink)
        }
        for (address, owner) in view.addresses[network.id] ?? [:] where owner.node != me.id {
            guard let hop = nextHop(to: owner.node) else { continue }
            state.routes[RouteKey(destination: IPPrefix(address))] = .via(hop, link: tunnelLink)
        }
        return state
    }

    /// The part that depends on this node's endpoints.
    package static func local(
        _ network: NetworkObject, view: ClusterView, me: NodeObject, endpoints: [LocalEndpoint], settings: Settings,
        into state: inout NamespaceState
    ) {
        let mtu = view.mtu(of: network, me: me)
        state.links["lo"] = Link(.loopback)
        state.sysctls["net/ipv4/ip_forward"] = "1"
        state.sysctls["net/ipv6/conf/all/forwarding"] = "1"
        // The guards are our source check; a packet that comes back another way than it went must not be lost.
        state.sysctls["net/ipv4/conf/all/rp_filter"] = "0"
        state.sysctls["net/ipv4/conf/all/send_redirects"] = "0"
        settle(link: tunnelLink, into: &state)
        if network.isSwitched {
            localSwitched(network, view: view, me: me, endpoints: endpoints, into: &state)
            return outside(network, view: view, me: me, endpoints: endpoints, guards: [:], mtu: mtu, settings: settings, into: &state)
        }
        // Another node's "no route to host" comes from the gateway's address, which we have too.
        state.sysctls["net/ipv4/conf/\(tunnelLink)/accept_local"] = "1"

        for subnet in network.subnets {
            if subnet.prefix.family == .v4 {
                state.addresses.insert(LinkAddress(link: "lo", address: InterfaceAddress(subnet.gateway, length: 32)))
            }
            // What nobody has is refused at once, not lost.
            state.routes[RouteKey(destination: subnet.prefix, metric: farMetric)] = .unreachable
        }
        var guards: [AddressFamily: Set<FilterElement>] = [.v4: [], .v6: []]
        for endpoint in endpoints where !endpoint.id.isHost {
            let link = endpoint.outerLink
            state.links[link] = Link(.veth, mtu: mtu, peer: peer(of: endpoint, network: network))
            settle(link: link, into: &state)
            for address in endpoint.addresses {
                // Another node's by now, as after an older store was accepted, or free to become one's, as after this node's removal: whoever has it
                // here is kept from using it.
                if view.removed[me.id] != nil { continue }
                if let holder = view.holder(of: address, in: network), holder != me.id { continue }
                state.routes[RouteKey(destination: IPPrefix(address))] = .link(link)
                state.neighbors[NeighborKey(link: link, address: address)] = endpoint.mac
                guards[address.family, default: []]
                    .insert(.guarded(link: link, mac: endpoint.mac, address: address))
                if address.family == .v6, let gateway = network.subnet(of: .v6)?.gateway {
                    // IPv6 answers for an address only on a link that has it.
                    state.addresses.insert(
                        LinkAddress(link: link, address: InterfaceAddress(gateway, length: 128)))
                }
            }
        }
        outside(network, view: view, me: me, endpoints: endpoints, guards: guards, mtu: mtu, settings: settings, into: &state)
    }

    /// Higher than any route of an owner.
    package static let farMetric: UInt32 = 0x7fff_ffff

    static func settle(link: String, into state: inout NamespaceState) {
        state.sysctls["net/ipv4/conf/\(link)/rp_filter"] = "0"
        state.sysctls["net/ipv4/conf/\(link)/send_redirects"] = "0"
    }

    static func peer(of endpoint: LocalEndpoint, network: NetworkObject) -> VethPeer {
        if endpoint.id.isHost { return VethPeer(name: hostPort(of: network.id), mac: endpoint.mac, place: .namespace(.host)) }
        guard let sandbox = endpoint.sandbox, endpoint.wasSeen else {
            return VethPeer(name: endpoint.innerLink, mac: endpoint.mac, place: .namespace(.host))
        }
        let routes = containerRoutes(network, addresses: endpoint.addresses, hasGateway: endpoint.hasGateway)
            + (endpoint.hasGateway ? defaultRoutes(network, addresses: endpoint.addresses) : [])
        let addresses = endpoint.addresses.map { InterfaceAddress($0, length: network.lengthOnLink(of: $0)) }
        return VethPeer(
            name: "eth", mac: endpoint.mac,
            place: .sandbox(path: sandbox, addresses: addresses, routes: routes))
    }

    /// The routes of a container for its network: the gateway on the link, the subnet through the gateway; in a segment the subnet is on the link, by its
    /// address's own length. One whose ports Docker publishes has its way out by Docker's gateway bridge, which knows IPv4 only; over IPv6 it
    /// leaves by the network, by two halves of everything, since a default route would keep Docker from making that bridge.
    package static func containerRoutes(_ network: NetworkObject, addresses: [IPAddress], hasGateway: Bool) -> [SandboxRoute] {
        let subnets = network.subnets.filter { subnet in addresses.contains { $0.family == subnet.prefix.family } }
        let inside = network.isSwitched ? [] : subnets.map { SandboxRoute(destination: IPPrefix($0.gateway), nextHop: nil) }
            + subnets.map { SandboxRoute(destination: $0.prefix, nextHop: $0.gateway) }
        guard !hasGateway, network.hasWayOut else { return inside }
        return inside + subnets.filter { $0.prefix.family == .v6 }.flatMap { subnet in
            [UInt128(0), 1 << 127].map {
                SandboxRoute(destination: IPPrefix(containing: IPAddress(.v6, bits: $0), length: 1), nextHop: subnet.gateway)
            }
        }
    }

    private static func defaultRoutes(_ network: NetworkObject, addresses: [IPAddress]) -> [SandboxRoute] {
        network.subnets.filter { subnet in addresses.contains { $0.family == subnet.prefix.family } }
            .map { SandboxRoute(destination: IPPrefix(containing: $0.gateway, length: 0), nextHop: $0.gateway) }
    }
}

/// The veth pair between a network's namespace and the host, for the way out. Each network of the cluster has its own two
/// addresses, by its VNI, so that networks with the same subnet stay apart on the host.
package struct EgressPair: Hashable, Sendable {
    /// 169.254.1.0 to 169.254.63.255: two addresses for each of 8,064 networks, clear of 169.254.0.0/24 (reserved, RFC 3927
    /// section 2.1) and of the clouds' 169.254.169.254.
    package static let range4 = IPPrefix(containing: IPAddress(v4: 0xa9fe_0000), length: 18)
    /// fd74:756c:6c65::/48 (RFC 4193).
    package static let range6 = IPPrefix(containing: IPAddress(.v6, bits: 0xfd74_756c_6c65 << 80), length: 48)

    package let hostLink: String
    private let index: UInt32

    package init(network: NetworkObject, settings: Settings) {
        hostLink = Self.hostLink(of: network.id)
        index = (network.vni.number &- settings.vniBase) % 8064
    }

    static func hostLink(of network: NetworkID) -> String { Desired.hostPrefix + network.short.prefix(10) }

    /// In the network's namespace, and on the host.
    package func inside(_ family: AddressFamily) -> InterfaceAddress { address(family, 1) }
    package func outside(_ family: AddressFamily) -> InterfaceAddress { address(family, 0) }

    private func address(_ family: AddressFamily, _ end: UInt32) -> InterfaceAddress {
        let base = family == .v4 ? Self.range4.first.bits + 256 : Self.range6.first.bits
        return InterfaceAddress(
            IPAddress(family, bits: base + UInt128(index * 2 + end)), length: family.width - 1)
    }
}
