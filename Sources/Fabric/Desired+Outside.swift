/// The way between a network and the host it is on: out for its containers, in for the host itself where it has joined the network.
///
/// One packet of an exposed host to container C: the host's route for the subnet leads to the egress pair and gives the packet the host's address of
/// the network as its source. In the network's namespace `forward` lets that source in, and that one only; from there on it is any
/// container's packet, untracked, by C's link or the tunnel. C's answer, or its own call, meets the one route of the host's address, back
/// through the pair. Nothing of this is forwarded by the host, so its FORWARD rules do not see it.
///
/// On a switched network the host is a port of the segment like any container: one end of a veth pair is in the bridge, under the same guards, the
/// other on the host, with the endpoint's MAC. The bridge answers for all addresses, the host's included.
import Addressing

extension Desired {
    /// In the network's namespace: the egress pair, made with its other end, the routes by it, and the filter of what is routed.
    static func outside(
        _ network: NetworkObject, view: ClusterView, me: NodeObject, endpoints: [LocalEndpoint], guards: [AddressFamily: Set<FilterElement>],
        mtu: Int, settings: Settings, into state: inout NamespaceState
    ) {
        let exposed = network.isSwitched ? [] : exposed(network, view: view, me: me, endpoints: endpoints)
        state.filter = filter(network, guards: guards, exposed: exposed)
        guard network.hasWayOut || !exposed.isEmpty else { return }
        let pair = EgressPair(network: network, settings: settings)
        state.links[egressLink] = Link(.veth, mtu: max(mtu, 1280), peer: VethPeer(name: pair.hostLink, place: .namespace(.host)))
        settle(link: egressLink, into: &state)
        for family in network.families {
            state.addresses.insert(LinkAddress(link: egressLink, address: pair.inside(family)))
            if network.hasWayOut {
                state.routes[RouteKey(destination: IPPrefix(containing: pair.outside(family).address, length: 0))] =
                    .via(pair.outside(family).address, link: egressLink)
            }
        }
        for address in exposed {
            state.routes[RouteKey(destination: IPPrefix(address))] = .via(pair.outside(address.family).address, link: egressLink)
        }
    }

    /// The host's addresses of the network that are its own by what the cluster knows.
    static func exposed(_ network: NetworkObject, view: ClusterView, me: NodeObject, endpoints: [LocalEndpoint]) -> [IPAddress] {
        guard view.removed[me.id] == nil else { return [] }
        return endpoints.filter { $0.network == network.id && $0.id.isHost }.flatMap(\.addresses).filter { address in
            network.subnet(containing: address) != nil && view.holder(of: address, in: network).map { $0 == me.id } ?? true
        }.sorted()
    }

    /// Chain `forward` of the network's namespace: what passes between the host and the network. What goes from one container to another comes first.
    static func forwarding(_ network: NetworkObject, exposed: [IPAddress]) -> [FilterRule] {
        var rules = [FilterRule([.notInputLink(egressLink), .notOutputLink(egressLink)], .accept)]
        for address in exposed {
            guard let subnet = network.subnet(containing: address)?.prefix else { continue }
            rules.append(FilterRule([.inputLink(egressLink), .source(IPPrefix(address)), .destination(subnet)], .accept))
            rules.append(FilterRule([.outputLink(egressLink), .source(subnet), .destination(IPPrefix(address))], .accept))
        }
        if network.hasWayOut { rules.append(FilterRule([.inputLink(egressLink), .established], .accept)) }
        rules.append(FilterRule([.inputLink(egressLink)], counter: "uninvited", .drop))
        rules.append(FilterRule(network.hasWayOut ? [.inputLink(tunnelLink), .outputLink(egressLink)] : [.outputLink(egressLink)], counter: "transit", .drop))
        return rules
    }

    // MARK: On the host

    /// Other than any route of the host's own, so that none is replaced.
    package static let exposedMetric: UInt32 = 7940

    /// The far ends of the pairs, the host's addresses in networks, and its routes to them.
    static func outside(
        _ networks: [NetworkObject], view: ClusterView, me: NodeObject, exposures: [LocalEndpoint], settings: Settings, into state: inout NamespaceState
    ) {
        let outgoing = networks.filter(\.hasWayOut)
        if !outgoing.isEmpty {
            state.sysctls["net/ipv4/ip_forward"] = "1"
            if outgoing.contains(where: { $0.subnet(of: .v6) != nil }) { state.sysctls["net/ipv6/conf/all/forwarding"] = "1" }
        }
        for network in networks {
            if network.isSwitched { port(of: network, view: view, me: me, exposures: exposures, into: &state) }
            let exposed = network.isSwitched ? [] : exposed(network, view: view, me: me, endpoints: exposures)
            guard network.hasWayOut || !exposed.isEmpty else { continue }
            let pair = EgressPair(network: network, settings: settings)
            // Made with its other end, in the network's namespace.
            state.links[pair.hostLink] = Link(.veth, mtu: exposed.isEmpty ? nil : max(view.mtu(of: network, me: me), 1280))
            for family in network.families {
                state.addresses.insert(LinkAddress(link: pair.hostLink, address: pair.outside(family)))
            }
            state.sysctls["net/ipv4/conf/\(pair.hostLink)/rp_filter"] = "0"
            for address in exposed {
                guard let subnet = network.subnet(containing: address) else { continue }
                state.addresses.insert(LinkAddress(link: pair.hostLink, address: InterfaceAddress(address, length: address.family.width)))
                state.routes[RouteKey(destination: subnet.prefix, metric: exposedMetric)] =
                    .sourced(address, via: pair.inside(address.family).address, link: pair.hostLink)
            }
        }
    }

    /// The host's end of its port of a segment; the other is made in the network's namespace.
    package static func hostPort(of network: NetworkID) -> String { "\(hostPrefix)h\(network.short.prefix(9))" }

    private static func port(
        of network: NetworkObject, view: ClusterView, me: NodeObject, exposures: [LocalEndpoint], into state: inout NamespaceState
    ) {
        guard let endpoint = exposures.first(where: { $0.network == network.id }) else { return }
        let link = hostPort(of: network.id)
        state.links[link] = Link(.veth, mac: endpoint.mac, mtu: view.mtu(of: network, me: me))
        state.sysctls["net/ipv4/conf/\(link)/rp_filter"] = "0"
        for address in exposed(network, view: view, me: me, endpoints: [endpoint]) {
            guard let subnet = network.subnet(containing: address) else { continue }
            state.addresses.insert(LinkAddress(link: link, address: InterfaceAddress(address, length: address.family.width)))
            state.routes[RouteKey(destination: subnet.prefix, metric: exposedMetric)] = .sourced(address, via: nil, link: link)
        }
    }

    /// For chain `input` of the host: by its port of a segment come packets for its address there and to groups. The rest of the host is not on the segment,
    /// and if that is internal, its containers must not reach it.
    static func portGuards(_ networks: [NetworkObject], exposures: [LocalEndpoint]) -> [FilterRule] {
        exposures.sorted { $0.id < $1.id }.flatMap { endpoint -> [FilterRule] in
            guard let network = networks.first(where: { $0.id == endpoint.network }), network.isSwitched else { return [] }
            let link = FilterRule.Match.inputLink(hostPort(of: network.id))
            let ends = network.subnets.filter { $0.prefix.family == .v4 }.map { IPPrefix($0.prefix.last) }
            let wanted = endpoint.addresses.map { IPPrefix($0) } + ends
                + ["224.0.0.0/4", "255.255.255.255/32", "fe80::/10", "ff00::/8"].compactMap(IPPrefix.init)
            return wanted.map { FilterRule([link, .destination($0)], .accept) } + [FilterRule([link], counter: "crossed", .drop)]
        }
    }

    /// For chain `forward` of the host: into an exposed network goes only what answers. Its host has a route that others could use, and NAT would give
    /// what it forwards the host's address of the network, or who sends may have written that.
    static func exposureGuards(
        _ networks: [NetworkObject], exposures: [LocalEndpoint], settings: Settings
    ) -> [FilterRule] {
        networks.filter { network in exposures.contains { $0.network == network.id } }.sorted { $0.id < $1.id }.flatMap { network in
            if network.isSwitched {
                // Nor is the host a router of the segment.
                let link = hostPort(of: network.id)
                return [FilterRule([.outputLink(link)], counter: "crossed", .drop), FilterRule([.inputLink(link)], counter: "crossed", .drop)]
            }
            let link = EgressPair(network: network, settings: settings).hostLink
            // And out of one without a way out comes nothing that the host would hand on, as where it publishes ports of others.
            return [
                FilterRule([.outputLink(link), .established], .accept),
                FilterRule([.outputLink(link)], counter: "crossed", .drop),
            ] + (network.hasWayOut ? [] : [FilterRule([.inputLink(link)], counter: "crossed", .drop)])
        }
    }

    /// For chain `nat` of the host: the chosen source addresses that this host has.
    static func chosenSources(_ networks: [NetworkObject], hostAddresses: Set<IPAddress>, settings: Settings) -> [FilterRule] {
        networks.sorted { $0.id < $1.id }.flatMap { network in
            network.families.compactMap { family in
                guard network.hasWayOut, let address = network.egress.address(family), hostAddresses.contains(address) else { return nil }
                let inside = EgressPair(network: network, settings: settings).inside(family).address
                let range = family == .v4 ? EgressPair.range4 : EgressPair.range6
                return FilterRule([.source(IPPrefix(inside)), .notDestination(range)], .sourceNAT(address))
            }
        }
    }
}

extension EndpointID {
    /// The host's own attachment to a network (`tulle expose`): "host-", the node's UUID, the network's first 12 digits. Docker's ids are hexadecimal.
    package static func host(_ node: NodeID, _ network: NetworkID) -> EndpointID { EndpointID("\(hostPrefix)\(node)-\(network.short)") }
    package var isHost: Bool { description.hasPrefix(Self.hostPrefix) }
    private static let hostPrefix = "host-"
}
