/// The packet filters: who may send what into a network's namespace, and what may reach the host's tunnel port.
package import Addressing

extension Desired {
    /// In a network's namespace.
    ///
    /// `raw` checks each packet from a container against the guards (link, MAC and address together) and takes traffic inside
    /// the network out of connection tracking. `forward` lets in from the host only what answers; other nodes'
    /// containers do not leave by our egress. `nat` hides containers behind the egress pair.
    static func filter(_ network: NetworkObject, guards: [AddressFamily: Set<FilterElement>], exposed: [IPAddress]) -> PacketFilter {
        let fromContainer = FilterRule.Match.inputLinkPrefix(endpointPrefix)
        let linkLocal = FilterRule.Match.source(IPPrefix(containing: IPAddress(.v6, bits: 0xfe80 << 112), length: 10))
        let unspecified = FilterRule.Match.source(IPPrefix(IPAddress(.v6, bits: 0)))
        // The common case comes first and ends soon: each rule costs every packet.
        var raw = [
            FilterRule([.inputLink(tunnelLink)], .untracked),
            FilterRule([.inputLink(tunnelLink)], .accept),
            FilterRule([fromContainer, .guardNotIn(set: guards4, .v4)], counter: "spoofed", .drop),
        ]
        raw += untracked(network, .v4)
        raw += [
            FilterRule([.family(.v4)], .accept),
            // Neighbour discovery asks from link-local addresses, or from none; such packets are never forwarded. Other
            // link-local chatter (MLD) is of no use here and no fault either.
            FilterRule([fromContainer, linkLocal, .neighborDiscovery], .accept),
            FilterRule([fromContainer, unspecified, .neighborDiscovery], .accept),
            FilterRule([fromContainer, linkLocal], .drop),
            FilterRule([fromContainer, unspecified], .drop),
            FilterRule([fromContainer, .guardNotIn(set: guards6, .v6)], counter: "spoofed", .drop),
        ]
        raw += untracked(network, .v6)
        var chains = ["raw": FilterChain(.filter, .prerouting, priority: -300, rules: raw)]
        let hasPair = network.hasWayOut || !exposed.isEmpty
        if hasPair { chains["forward"] = FilterChain(.filter, .forward, priority: 0, rules: forwarding(network, exposed: exposed)) }
        if network.hasWayOut {
            chains["nat"] = FilterChain(.nat, .postrouting, priority: 100, rules: [
                FilterRule([.outputLink(egressLink)], .masquerade)
            ])
        }
        return PacketFilter(
            chains: chains,
            sets: [
                guards4: FilterSet(.guardV4, guards[.v4] ?? []), guards6: FilterSet(.guardV6, guards[.v6] ?? []),
            ],
            counters: hasPair ? ["spoofed", "uninvited", "transit"] : ["spoofed"])
    }

    private static func untracked(_ network: NetworkObject, _ family: AddressFamily) -> [FilterRule] {
        network.subnets.filter { $0.prefix.family == family }.map {
            FilterRule([.source($0.prefix), .destination($0.prefix)], .untracked)
        }
    }

    /// The host's own namespace: the far ends of the egress pairs, and the filter around the tunnel port.
    ///
    /// - Parameters:
    ///   - unknown: networks with endpoints here that the cluster does not know: theirs is left as it is.
    ///   - exposures: the host's own endpoints.
    ///   - hostAddresses: those that the host has.
    package static func host(
        view: ClusterView, me: NodeObject, networks: [NetworkObject], unknown: Set<NetworkID> = [], exposures: [LocalEndpoint] = [],
        hostAddresses: Set<IPAddress> = [], underlay: String, settings: Settings
    ) -> NamespaceState {
        var state = NamespaceState()
        state.unknownLinks = Set(unknown.map(EgressPair.hostLink(of:)) + unknown.map(hostPort(of:)))
        outside(networks, view: view, me: me, exposures: exposures, settings: settings, into: &state)
        state.filter = hostFilter(
            view: view, underlay: underlay, settings: settings,
            exposures: exposureGuards(networks, exposures: exposures, settings: settings), ports: portGuards(networks, exposures: exposures),
            sources: chosenSources(networks, hostAddresses: hostAddresses, settings: settings))
        return state
    }

    /// `input` takes tunnel packets from current nodes only, and with a node's address only from where that node is: a container behind some bridge
    /// can write any source. `forward` lets through those between nodes (the host may be the router of some, or have them as virtual machines) by
    /// the same rule: another's source address the host may be about to replace by its own, which is a node's. And it keeps one network's egress from
    /// entering another's.
    private static func hostFilter(
        view: ClusterView, underlay: String, settings: Settings, exposures: [FilterRule], ports: [FilterRule], sources: [FilterRule]
    ) -> PacketFilter {
        let tunnel = FilterRule.Match.udpPort(settings.vxlanPort)
        let fromNetwork = FilterRule.Match.inputLinkPrefix(hostPrefix)
        var peers: [AddressFamily: Set<FilterElement>] = [:]
        for node in view.nodes.values { peers[node.underlay.family, default: []].insert(.address(node.underlay)) }
        // Each flow has its own source port: tracked, tunnels would fill the host's table.
        let untracked = [FilterRule([tunnel], .untracked)]
        return PacketFilter(
            chains: [
                "raw": FilterChain(.filter, .prerouting, priority: -300, rules: untracked),
                "rawout": FilterChain(.filter, .output, priority: -300, rules: untracked),
                "input": FilterChain(.filter, .input, priority: -10, rules: [
                    FilterRule([.notInputLink(underlay), tunnel, .noRouteBack], counter: "forged", .drop),
                    FilterRule([tunnel, .sourceNotIn(set: peers4, .v4)], counter: "strangers", .drop),
                    FilterRule([tunnel, .sourceNotIn(set: peers6, .v6)], counter: "strangers", .drop),
                ] + ports),
                "forward": FilterChain(.filter, .forward, priority: -10, rules: [
                    FilterRule([tunnel, .destinationIn(set: peers4, .v4), .sourceNotIn(set: peers4, .v4)], counter: "forged", .drop),
                    FilterRule([tunnel, .destinationIn(set: peers6, .v6), .sourceNotIn(set: peers6, .v6)], counter: "forged", .drop),
                    FilterRule([.notInputLink(underlay), tunnel, .destinationIn(set: peers4, .v4), .noRouteBack], counter: "forged", .drop),
                    FilterRule([.notInputLink(underlay), tunnel, .destinationIn(set: peers6, .v6), .noRouteBack], counter: "forged", .drop),
                    FilterRule([fromNetwork, .destination(EgressPair.range4)], counter: "crossed", .drop),
                    FilterRule([fromNetwork, .destination(EgressPair.range6)], counter: "crossed", .drop),
                ] + exposures),
                "nat": FilterChain(.nat, .postrouting, priority: 100, rules: sources + [
                    FilterRule([.source(EgressPair.range4), .notDestination(EgressPair.range4)], .masquerade),
                    FilterRule([.source(EgressPair.range6), .notDestination(EgressPair.range6)], .masquerade),
                ]),
            ],
            sets: [peers4: FilterSet(.addressV4, peers[.v4] ?? []), peers6: FilterSet(.addressV6, peers[.v6] ?? [])],
            counters: ["strangers", "forged", "crossed"])
    }
}
