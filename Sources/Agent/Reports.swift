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
        let state: StatusReport.Lease.State = lease.isValid(at: now) ? .held : lease.validUntil == 0 ? .pending : .ended
        return StatusReport(
            node: .init(id: me.id.description, name: me.name, address: me.underlay.description, mtu: me.mtu),
            cluster: view.cluster.map {
                .init(id: $0.id, nodesTotal: view.nodes.count, nodesAlive: view.alive.count)
            },
            store: .init(
                kind: storeKind, address: storeAddress, reachable: isStoreReachable && distrust == nil,
                revision: viewRevision.number),
            docker: docker,
            lease: .init(state: state, secondsLeft: state == .held ? Int(lease.validUntil - now) : nil),
            networks: Set(local.endpoints.values.map(\.network)).count, endpoints: local.endpoints.count,
            lastSync: lastHeard.map { Timestamp(milliseconds: Int64($0) * 1000) }, driftRepaired: drift,
            problems: problems.sorted { $0.key < $1.key }.map(\.value) + failures + otherFamilies())
    }

    private func otherFamilies() -> [String] {
        view.nodes.values.filter { $0.underlay.family != me.underlay.family }.sorted { $0.name < $1.name }.map {
            "node \($0.name) has the underlay address \($0.underlay), which is not of the family of ours (\(me.underlay)): no traffic to it; set --underlay on one of the two"
        }
    }

    package func networkReports() -> [NetworkReport] {
        var reports = view.networks.values.map { network in
            let engine = local.engineNetwork(for: network.id)
            var state: NetworkReport.State = switch network.state {
            case .pending: .pending
            case .active: .active
            case .removed: .removed
            }
            let isUsed = view.endpoints[network.id]?.values.contains { $0.node != me.id } ?? false
                || local.unsaidRemovals.contains(network.id)
            var reason = isUsed ? kept[network.id] : nil
            if case .quarantined(let text)? = engine?.standing { (state, reason) = (.quarantined, text) }
            return report(network, engine: engine, state: state, reason: reason)
        }
        // Two networks of this engine may stand behind one of the cluster: the quarantined ones are shown beside it.
        for engine in local.engineNetworks.values {
            guard case .quarantined(let text) = engine.standing, local.engineNetwork(for: engine.network) != engine,
                let network = view.networks[engine.network]
            else { continue }
            reports.append(report(network, engine: engine, state: .quarantined, reason: text))
        }
        return reports.filter { $0.state != .removed }.sorted { ($0.name, $0.id) < ($1.name, $1.id) }
    }

    private func report(
        _ network: NetworkObject, engine: BoundNetwork?, state: NetworkReport.State, reason: String?
    ) -> NetworkReport {
        let blocks = view.blocks[network.id] ?? [:]
        let endpoints = view.endpoints[network.id] ?? [:]
        let users = Set(blocks.values.map(\.node)).union(endpoints.values.map(\.node))
        return NetworkReport(
            id: network.id.description, name: engine?.name ?? network.name ?? "-",
            key: network.hasOwnKey ? network.key : nil, vni: network.vni.number,
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
                state: isLost ? .quarantined : isSuspended ? .suspended : here?.isJoined ?? true ? .joined : .created,
                since: Timestamp(milliseconds: Int64(endpoint.created) * 1000))
        }.sorted { ($0.network, $0.node, $0.addresses.first ?? "") < ($1.network, $1.node, $1.addresses.first ?? "") }
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
