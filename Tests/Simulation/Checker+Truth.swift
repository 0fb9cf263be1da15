/// Whether all that the agents made agrees with the store and with what the engines were promised: S2, S3, and that nothing is left over.
import Addressing
import Agent
import Docker
import Fabric
import Store
import TestKit

extension Checker {
    /// What disagrees, in words; empty when all is as it should be.
    func disagreements(_ world: World) async -> [String] {
        let view = await world.center.view()
        var found: [String] = []
        let settings = Settings(vxlanPort: 7941, vniBase: 0x100000)
        for host in world.hosts where !world.removed.contains(host.id) {
            guard host.isRunning else {
                found.append("\(host.name) does not run")
                continue
            }
            guard let me = view.nodes[host.id], view.alive.contains(host.id) else {
                found.append("\(host.name) is not registered")
                continue
            }
            let endpoints = Self.rows(LocalEndpoint.self, "endpoint/", host)
            found += Self.containers(host, endpoints, view)
            found += Self.networks(host, view)
            // The kernel.
            let networks = Set(endpoints.map(\.network))
            for id in networks.sorted() {
                guard let network = view.networks[id] else {
                    found.append("\(host.name) has endpoints on \(id.short), which the store does not know")
                    continue
                }
                let desired = Desired.network(
                    network, view: view, me: me, endpoints: endpoints.filter { $0.network == id }.sorted { $0.id < $1.id }, settings: settings)
                let plan = Planner.plan(.network(id), desired: desired, observed: host.kernel.state(.network(id)))
                if let first = plan.first { found.append("\(host.name): \(plan.count) steps are left in \(network.displayName), such as \(first)") }
            }
            for namespace in host.kernel.model.namespaces.subtracting(networks.map { .network($0) }).sorted() {
                found.append("\(host.name) has \(namespace), which it should not")
            }
            let desired = Desired.host(
                view: view, me: me, networks: networks.sorted().compactMap { view.networks[$0] }, unknown: [], underlay: "eth0", settings: settings)
            if let first = Planner.plan(.host, desired: desired, observed: host.kernel.state(.host)).first {
                found.append("\(host.name): steps are left on the host, such as \(first)")
            }
        }
        return found + Self.walks(world, view)
    }

    static func rows<Value: Decodable>(_ type: Value.Type, _ prefix: String, _ host: Host) -> [Value] {
        ((try? host.table.all(prefix)) ?? []).compactMap { try? StoredJSON.decode(type, $0.value) }
    }

    /// Every container that the engine was told is attached has its endpoint and address everywhere, and nothing else has one.
    private static func containers(_ host: Host, _ endpoints: [LocalEndpoint], _ view: ClusterView) -> [String] {
        var found: [String] = []
        let byID = Dictionary(endpoints.map { ($0.id, $0) }) { $1 }
        let living = host.engine.containers.values.filter { $0.isJoined && !$0.isEnding }.sorted { $0.name < $1.name }
        for container in living {
            guard let endpoint = byID[container.endpoint] else {
                found.append("S2 \(host.name): \(container.name) runs and the agent does not know it")
                continue
            }
            guard endpoint.addresses == [container.address] else {
                found.append("S2 \(host.name): \(container.name) has \(container.address) and the agent says \(endpoint.addresses)")
                continue
            }
            guard let network = view.networks[endpoint.network] else { continue }
            if view.holder(of: container.address, in: network) != host.id {
                found.append("S2 \(host.name): \(container.name)'s \(container.address) is not this node's by the store")
            }
            if view.endpoints[endpoint.network]?[endpoint.id]?.addresses != endpoint.addresses {
                found.append("\(host.name): \(container.name) is not in the store")
            }
        }
        for endpoint in endpoints where !host.engine.containers.values.contains(where: { $0.endpoint == endpoint.id }) {
            found.append("\(host.name): endpoint \(endpoint.id) of no container is left")
        }
        return found
    }

    /// The engine shows the cluster's networks, each once, and others only in quarantine.
    private static func networks(_ host: Host, _ view: ClusterView) -> [String] {
        var found: [String] = []
        let active = view.live.filter { $0.state == .active }
        let bound = rows(BoundNetwork.self, "engine/", host)
        let quarantined = Set(bound.filter { if case .quarantined = $0.standing { true } else { false } }.map(\.dockerID))
        for network in active.sorted(by: { $0.id < $1.id }) {
            // Of one that the engine gave up while it was made, a row stays for a while.
            let copies = bound.filter {
                $0.network == network.id && !quarantined.contains($0.dockerID) && host.engine.networks[$0.dockerID] != nil
            }
            // One that was removed while containers use it keeps its name on the engine as long as these live: that is told, and theirs to end.
            let stale = bound.filter { old in
                view.networks[old.network]?.state == .removed && host.engine.containers.values.contains { $0.network == old.dockerID }
            }.map(\.dockerID)
            let isBlocked = host.engine.networks.values.contains {
                $0.spec.name == network.name && (quarantined.contains($0.id) || stale.contains($0.id))
            }
            // Several are of several creations at one instant, which an engine lets pass.
            if copies.isEmpty, !isBlocked { found.append("\(host.name) has no copy of network \(network.displayName)") }
        }
        for net in host.engine.networks.values.sorted(by: { $0.id < $1.id }) where !quarantined.contains(net.id) {
            if !active.contains(where: { $0.name == net.spec.name }) {
                found.append("\(host.name)'s engine has network \(net.spec.name), which the cluster has not")
            }
        }
        return found
    }

    /// A packet from each container to the next one of its network: the tables of both kernels, without the planner's help.
    private static func walks(_ world: World, _ view: ClusterView) -> [String] {
        var found: [String] = []
        var byNetwork: [NetworkID: [(host: Host, container: SimulatedEngine.Container)]] = [:]
        for host in world.hosts where !world.removed.contains(host.id) {
            for container in host.engine.containers.values.filter({ $0.isJoined && !$0.isEnding }).sorted(by: { $0.name < $1.name }) {
                guard let network = Checker.network(of: container.network, at: host)?.network else { continue }
                byNetwork[network, default: []].append((host, container))
            }
        }
        for (network, members) in byNetwork.sorted(by: { $0.key < $1.key }) where members.count > 1 {
            for (from, to) in zip(members, members.dropFirst() + members.prefix(1)) {
                if let fault = walk(from.host, to.host, to.container.address, network, view) {
                    found.append("no packet from \(from.container.name) to \(to.container.name) at \(to.container.address): \(fault)")
                }
            }
        }
        return found
    }

    private static func walk(_ from: Host, _ to: Host, _ address: IPAddress, _ network: NetworkID, _ view: ClusterView) -> String? {
        func route(_ host: Host) -> RouteTarget? {
            host.kernel.state(.network(network))?.routes.filter { $0.key.destination.contains(address) }
                .max { ($0.key.destination.length, $1.key.metric) < ($1.key.destination.length, $0.key.metric) }?.value
        }
        if from.number != to.number {
            guard case .via(let hop, let link)? = route(from) else { return "no next hop on \(from.name)" }
            guard let state = from.kernel.state(.network(network)), let mac = state.neighbors[NeighborKey(link: link, address: hop)] else {
                return "no neighbour on \(from.name)"
            }
            guard state.forwarding[ForwardingKey(link: link, mac: mac)] == view.nodes[to.id]?.underlay else { return "\(from.name) sends it elsewhere" }
        }
        guard case .link(let link)? = route(to) else { return "\(to.name) does not deliver it" }
        guard to.kernel.state(.network(network))?.links[link]?.isUp == true else { return "the link on \(to.name) is down" }
        return nil
    }

    /// For whoever looks at a seed that failed.
    func describe(_ world: World) async {
        let view = await world.center.view()
        for network in view.networks.values.sorted(by: { $0.id < $1.id }) {
            world.print("store: network \(network.id.short) \(network.displayName) \(network.state) \(network.subnets.map(\.prefix))")
        }
        for host in world.hosts {
            for net in host.engine.networks.values.sorted(by: { $0.id < $1.id }) {
                let row = Self.network(of: net.id, at: host)
                let count = host.engine.containers.values.filter { $0.network == net.id }.count
                world.print("\(host.name): engine has \(net.id) \(net.spec.name) with \(count) containers, bound to \(row?.network.short ?? "-") \(row.map { "\($0.standing)" } ?? "")")
            }
        }
    }

    /// What is left of a cluster whose containers and networks are all gone.
    func leftovers(_ world: World) async -> [String] {
        var found: [String] = []
        let view = await world.center.view()
        func count(_ what: String, _ number: Int) { if number > 0 { found.append("the store has \(number) \(what) left") } }
        count("networks", view.live.count)
        count("endpoints", view.endpoints.values.reduce(0) { $0 + $1.count })
        count("single addresses", view.addresses.values.reduce(0) { $0 + $1.count })
        count("requests", view.requests.values.reduce(0) { $0 + $1.count })
        count("blocks", view.blocks.values.reduce(0) { $0 + $1.count })
        for host in world.hosts where !world.removed.contains(host.id) {
            for prefix in ["engine/", "pool/", "endpoint/", "allocation/", "going/", "removal/"] {
                for (key, _) in (try? host.table.all(prefix)) ?? [] { found.append("\(host.name)'s disk has \(key)") }
            }
            for namespace in host.kernel.model.namespaces.sorted() { found.append("\(host.name)'s kernel has \(namespace)") }
        }
        return found
    }
}
