/// What `tulle status` and its sisters show.
import Addressing
import Fabric
package import LocalAPI
import Store

extension Controller {
    package func statusReport(
        storeKind: String, storeAddress: String?, docker: StatusReport.Docker?, drift: Int, failures: [String]
    ) -> StatusReport {
        let now = bootSeconds()
        let state: StatusReport.Lease.State = lease.isValid(at: now) && !isRemoved ? .held : lease.validUntil == 0 ? .pending : .ended
        return StatusReport(
            node: .init(id: me.id.description, name: me.name, address: me.underlay.description, mtu: me.mtu),
            cluster: view.cluster.map {
                .init(id: $0.id, nodesTotal: view.nodes.count, nodesAlive: view.alive.count { view.nodes[$0] != nil })
            },
            store: .init(
                kind: storeKind, address: storeAddress, reachable: isStoreReachable && distrust == nil,
                revision: viewRevision.number, epoch: viewEpoch),
            docker: docker,
            lease: .init(state: state, secondsLeft: state == .held ? Int(lease.validUntil - now) : nil),
            networks: Set(local.endpoints.values.map(\.network)).count, endpoints: local.endpoints.count,
            lastSync: lastHeard.map { Timestamp(milliseconds: Int64($0) * 1000) }, driftRepaired: drift,
            problems: problems.sorted { $0.key < $1.key }.map(\.value) + failures + otherFamilies() + narrowUnderlays() + missingSources())
    }

    private func otherFamilies() -> [String] {
        view.nodes.values.filter { $0.underlay.family != me.underlay.family }.sorted { $0.name < $1.name }.map {
            "node \($0.name) has the underlay address \($0.underlay), which is not of the family of ours (\(me.underlay)): no traffic to it; set --underlay on one of the two"
        }
    }

    /// IPv6 has a least MTU, which a narrow underlay cannot carry in a tunnel.
    private func narrowUnderlays() -> [String] {
        let room = min(me.mtu, view.nodes.values.map(\.mtu).min() ?? me.mtu) - VXLAN.overhead(me.underlay.family)
        let networks = view.live.filter { $0.state == .active && view.mtu(of: $0, me: me) > room }.map(\.displayName).sorted()
        guard !networks.isEmpty else { return [] }
        let nodes = view.nodes.values.filter { $0.mtu == view.nodes.values.map(\.mtu).min() }.map(\.name).sorted()
        return [
            "packets of more than \(room) bytes are lost on \(networks.joined(separator: ", ")): the underlay of \(nodes.joined(separator: ", ")) has an MTU of \(room + VXLAN.overhead(me.underlay.family)), less than the network needs; raise it, or lower the network's MTU"
        ]
    }

    package func networkReports() -> [NetworkReport] {
        var reports = view.networks.values.map { network in
            let engine = local.engineNetwork(for: network.id)
            let state: NetworkReport.State = switch network.state {
            case .pending: .pending
            case .active: .active
            case .removed: .removed
            }
            let isUsed = view.endpoints[network.id]?.values.contains { $0.node != me.id } ?? false
                || local.unsaidRemovals.contains(network.id)
            let reason = isUsed ? kept[network.id] : nil
            return report(network, engine: engine.flatMap { isQuarantined($0) ? nil : $0 }, state: state, reason: reason)
        }
        // A network of this engine that is not the cluster's, although it has the name or subnet of one: beside it, with what it is itself.
        for engine in local.engineNetworks.values {
            guard case .quarantined(let text) = engine.standing else { continue }
            reports.append(report(engine.wanted, engine: engine, state: .quarantined, reason: text))
        }
        return reports.filter { $0.state != .removed }
            .sorted { ($0.name, $0.state == .quarantined ? 0 : 1, $0.id) < ($1.name, $1.state == .quarantined ? 0 : 1, $1.id) }
    }

    private func report(
        _ network: NetworkObject, engine: BoundNetwork?, state: NetworkReport.State, reason: String?
    ) -> NetworkReport {
        let blocks = view.blocks[network.id] ?? [:]
        let endpoints = view.endpoints[network.id] ?? [:]
        let users = Set(blocks.values.map(\.node)).union(endpoints.values.map(\.node))
        return NetworkReport(
            id: network.id.description, name: engine?.name ?? network.name ?? "-",
            key: network.hasOwnKey ? network.key : nil, vni: network.vni.number, mode: (network.mode ?? .routed).rawValue,
            mtu: view.mtu(of: network, me: me),
            subnets: network.subnets.map { subnet in
                NetworkReport.Subnet(
                    prefix: subnet.prefix.description, gateway: subnet.gateway.description,
                    family: Int(subnet.prefix.family.rawValue), blockLength: subnet.blockLength,
                    blocksOwned: blocks.filter { $0.value.node == me.id && subnet.prefix.contains($0.key) }.count)
            },
            internal: network.isInternal, state: state, reason: reason,
            endpointsHere: local.endpoints(of: network.id).count, endpointsTotal: endpoints.count,
            nodes: users.map { view.nodes[$0]?.name ?? $0.description }.sorted(), dockerNetworkID: engine?.dockerID ?? network.dockerID)
    }

    package func endpointReports() -> [EndpointReport] {
        view.endpoints.values.flatMap(\.values).map { endpoint in
            let here = endpoint.node == me.id ? local.endpoints[endpoint.id] : nil
            let isSuspended = here == nil && !view.alive.contains(endpoint.node)
            let isLost = view.networks[endpoint.network].map { network in
                endpoint.addresses.contains { view.holder(of: $0, in: network).map { $0 != endpoint.node } ?? false }
            } ?? false
            return EndpointReport(
                id: endpoint.id.description, network: view.networks[endpoint.network]?.displayName ?? "-",
                container: endpoint.name, node: view.nodes[endpoint.node]?.name ?? endpoint.node.description,
                addresses: endpoint.addresses.map(\.description), mac: endpoint.mac.description,
                gateway: here?.hasGateway ?? false,
                state: isLost ? .quarantined : isSuspended ? .suspended : here?.isJoined ?? true || endpoint.id.isHost ? .joined : .created,
                since: Timestamp(milliseconds: Int64(endpoint.created) * 1000))
        }.sorted { ($0.network, $0.node, $0.addresses.first ?? "") < ($1.network, $1.node, $1.addresses.first ?? "") }
    }

    /// Of the host itself on a network.
    func report(_ exposure: LocalEndpoint) -> EndpointReport {
        EndpointReport(
            id: exposure.id.description, network: view.networks[exposure.network]?.displayName ?? exposure.network.short, container: exposure.name,
            node: me.name, addresses: exposure.addresses.map(\.description), mac: exposure.mac.description, state: .joined,
            since: Timestamp(milliseconds: Int64(exposure.created) * 1000))
    }

    package func tokenReports() -> [JoinTokenReport] {
        view.tokens.values.sorted { ($0.expires, $0.id) < ($1.expires, $1.id) }.map { token in
            JoinTokenReport(
                id: token.id, state: token.state(at: wallSeconds()).rawValue, expires: Timestamp(milliseconds: Int64(token.expires) * 1000),
                used: token.used, uses: token.uses)
        }
    }

    package func nodeReports() -> [NodeReport] {
        view.nodes.values.map { node in
            let blocks = view.blocks.values.map { $0.values.filter { $0.node == node.id }.count }
            return NodeReport(
                id: node.id.description, name: node.name, address: node.underlay.description, agentAddress: node.agent,
                alive: view.alive.contains(node.id), version: node.version, networks: blocks.filter { $0 > 0 }.count,
                blocks: blocks.reduce(0, +), self: node.id == me.id)
        }.sorted { $0.name < $1.name }
    }
}
