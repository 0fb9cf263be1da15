import Addressing
import Agent
import Fabric
import LocalAPI
import Store
import TestKit
import Testing

/// Engines with a cluster store: one network under one Docker id everywhere, and each request comes to one agent alone.
@Suite struct GlobalScopeTests {
    private static let subnet = "10.32.0.0/16"

    private func nodes(_ count: Int) async throws -> (TestCluster, [TestCluster.Member]) {
        try await TestCluster.of(count, scopeIsGlobal: true)
    }

    /// The only living network, once all agents see it alike.
    private func only(_ nodes: [TestCluster.Member]) async throws -> NetworkObject {
        var agreed: NetworkObject?
        try await eventually {
            var seen: Set<NetworkObject?> = []
            for node in nodes {
                let live = await node.controller.view.live
                seen.insert(live.count == 1 ? live[0] : nil)
            }
            agreed = seen.count == 1 ? seen.first ?? nil : nil
            return agreed != nil
        }
        return try #require(agreed)
    }

    private func isGone(_ network: NetworkID, on nodes: [TestCluster.Member]) async -> Bool {
        for node in nodes where await node.controller.view.networks[network]?.state != .removed { return false }
        return true
    }

    @Test("containers reach each other from nodes that were never asked for the network or its pool")
    func otherNodes() async throws {
        let (cluster, nodes) = try await nodes(3)
        let docker = try await nodes[0].createNetwork("shop", subnet: Self.subnet)
        let pool = try await nodes[0].pool(of: docker)
        var given: [IPAddress] = []
        for (index, node) in nodes.enumerated() { given.append(try await node.run("c\(index)", on: docker, pool: pool)) }
        #expect(Set(given).count == 3)
        let network = try await only(nodes)
        for (index, node) in nodes.enumerated() {
            try await eventually {
                let state = await node.kernel.observe(.network(network.id), fresh: true)
                return given.indices.filter { $0 != index }.allSatisfy { other in
                    state?.routes.contains { key, target in
                        if case .via = target { key.destination.contains(given[other]) && key.destination.length > 16 } else { false }
                    } ?? false
                }
            }
            let work = await node.controller.engineWork(present: [docker])
            #expect(work.create.isEmpty && work.remove.isEmpty)
            let report = try #require(await node.controller.networkReports().first)
            #expect(report.dockerNetworkID == docker && report.key == nil && report.name == "shop" && report.endpointsHere == 1)
            try await eventually { await node.controller.endpointReports().map(\.network) == ["shop", "shop", "shop"] }
        }
        await cluster.end()
    }

    @Test("a container may come to a node that hears of the network only afterwards")
    func early() async throws {
        let (cluster, nodes) = try await nodes(2)
        let pool = try await nodes[0].controller.requestPool(prefix: Self.subnet, range: "", options: [:], isV6: false)
        async let early = nodes[1].run("web", on: "docker-shop", pool: pool.id)
        let docker = try await nodes[0].createNetwork("shop", subnet: Self.subnet, dockerID: "docker-shop")
        #expect(try await nodes[0].pool(of: docker) == pool.id, "the same request, before there is a network, is the same pool")
        #expect(try await early.description.hasPrefix("10.32."))
        await cluster.end()
    }

    @Test("a network that is removed on a node which did not make it is gone everywhere, and its subnet is free at once")
    func removalElsewhere() async throws {
        let (cluster, nodes) = try await nodes(3)
        let docker = try await nodes[0].createNetwork("shop", subnet: Self.subnet)
        let pool = try await nodes[0].pool(of: docker)
        let address = try await nodes[1].run("web", on: docker, pool: pool)
        try await nodes[1].remove("web", on: docker, pool: pool, address: address)
        let network = try await only(nodes)
        // What Docker says there: it releases what another agent was asked for.
        try await nodes[2].controller.releaseAddress(pool, #require(IPAddress("10.32.0.1")))
        try await nodes[2].controller.releasePool(pool)
        try await nodes[2].controller.deleteNetwork(docker)
        try await eventually { await isGone(network.id, on: nodes) }
        for (index, node) in nodes.enumerated() {
            let again = try await node.createNetwork("shop\(index)", subnet: Self.subnet)
            let fresh = try await node.pool(of: again)
            #expect(fresh != pool)
            // Late words about the old pool are none about the new one.
            let error = await #expect(throws: AgentError.self) { try await node.controller.requestAddress(pool, nil) }
            #expect(error?.code == .unknown)
            try await node.controller.deleteNetwork(again)
            let made = try #require(await node.controller.view.networks.values.first { $0.dockerID == again })
            try await eventually { await isGone(made.id, on: nodes) }
        }
        // Where it was made nothing is left of it either.
        let now = bootSeconds()
        for later in [0, 10.0] { _ = await nodes[0].controller.engineWork(present: [], now: now + later) }
        #expect(await nodes[0].controller.local.pools.isEmpty)
        #expect(await nodes[0].controller.local.engineNetworks.isEmpty)
        #expect(try await cluster.store.list(prefix: StoreKey.networkKeys).entries.isEmpty)
        await cluster.end()
    }

    @Test("what one engine releases stays the cluster's while the network lives")
    func release() async throws {
        let (cluster, nodes) = try await nodes(2)
        let docker = try await nodes[0].createNetwork("shop", subnet: Self.subnet)
        let pool = try await nodes[0].pool(of: docker)
        let address = try await nodes[0].run("web", on: docker)
        for node in nodes {
            try await node.controller.releaseAddress(pool, #require(IPAddress("10.32.0.1")))
            try await node.controller.releasePool(pool)
        }
        // Not its own address: the other node's agent knows nothing of it.
        try await nodes[1].controller.releaseAddress(pool, address)
        for node in nodes {
            let error = await #expect(throws: AgentError.self) { try await node.createNetwork("other", subnet: Self.subnet) }
            #expect(error?.description.contains("of network shop") == true)
        }
        #expect(try await nodes[1].run("b", on: docker, pool: pool) != address)
        await #expect(throws: AgentError.self) { try await nodes[1].run("c", on: docker, pool: pool, address: address) }
        await cluster.end()
    }

    @Test("a subnet that overlaps is refused on every node", arguments: ["10.32.0.0/16", "10.32.8.0/24", "10.0.0.0/8"])
    func overlap(subnet: String) async throws {
        let (cluster, nodes) = try await nodes(2)
        try await nodes[0].createNetwork("shop", subnet: Self.subnet)
        _ = try await only(nodes)
        for node in nodes {
            let error = await #expect(throws: AgentError.self) { try await node.createNetwork("other", subnet: subnet) }
            #expect(error?.code == .conflict)
            #expect(error?.description.contains("overlaps 10.32.0.0/16 of network shop") == true, "\(error?.description ?? "")")
        }
        await cluster.end()
    }

    @Test("of two equal subnets created at once on two nodes one is refused", arguments: 0..<8)
    func race(round: Int) async throws {
        let (cluster, nodes) = try await nodes(2)
        let made = await withTaskGroup(of: Bool.self) { group in
            for (index, node) in nodes.enumerated() {
                group.addTask { (try? await node.createNetwork("n\(index)", subnet: Self.subnet)) != nil }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(made.sorted { !$0 && $1 } == [false, true])
        _ = try await only(nodes)
        await cluster.end()
    }

    @Test("with keys of their own two networks have the same subnet, and each pool is the one network's")
    func keys() async throws {
        let (cluster, nodes) = try await nodes(2)
        var networks: [(docker: String, pool: String)] = []
        for key in ["red", "blue"] {
            let options = ["tulle.network": key]
            let docker = try await nodes[0].createNetwork(key, subnet: Self.subnet, options: options, ipam: options)
            networks.append((docker, try await nodes[0].pool(of: docker)))
        }
        let fixed = try #require(IPAddress("10.32.0.10"))
        for (node, (docker, pool)) in nodes.flatMap({ node in networks.map { (node, $0) } }) where node.number == 2 {
            #expect(try await node.run("c-\(docker)", on: docker, pool: pool, address: fixed) == fixed)
            let network = try #require(await node.controller.view.network(dockerID: docker))
            #expect(await node.controller.local.allocations[network.id]?[fixed]?.endpoint == EndpointID("c-\(docker)"))
        }
        // A key is one network's, whatever the subnet.
        for subnet in [Self.subnet, "10.99.0.0/16"] {
            let options = ["tulle.network": "red"]
            let error = await #expect(throws: AgentError.self) {
                try await nodes[1].createNetwork("more", subnet: subnet, options: options, ipam: options)
            }
            #expect(error?.description.contains("another key") == true, "\(error?.description ?? "")")
        }
        await cluster.end()
    }

    @Test("two networks of one name are Docker's affair: both work")
    func twins() async throws {
        let (cluster, nodes) = try await nodes(2)
        let first = try await nodes[0].createNetwork("twin", subnet: "10.32.0.0/16")
        let second = try await nodes[1].createNetwork("twin", subnet: "10.33.0.0/16")
        let (pool, other) = (try await nodes[0].pool(of: first), try await nodes[1].pool(of: second))
        #expect(try await nodes[1].run("a", on: first, pool: pool).description.hasPrefix("10.32."))
        #expect(try await nodes[0].run("b", on: second, pool: other).description.hasPrefix("10.33."))
        #expect(await nodes[0].controller.networkReports().map(\.state) == [.active, .active])
        await cluster.end()
    }

    @Test("a request that is repeated, as after a broken connection, makes no second network")
    func repeated() async throws {
        let (cluster, nodes) = try await nodes(1)
        let node = nodes[0].controller
        let pools = [
            try await node.requestPool(prefix: Self.subnet, range: "", options: [:], isV6: false),
            try await node.requestPool(prefix: Self.subnet, range: "", options: [:], isV6: false),
        ]
        #expect(pools[0] == pools[1])
        let request = NetworkRequest(
            dockerID: "docker", options: [:], isInternal: false,
            pools: [.init(addressSpace: Controller.globalAddressSpace, prefix: Self.subnet, gateway: "10.32.0.1", auxiliary: [:])])
        // The store has it, and the agent ended before it knew.
        cluster.store.losesNextNetwork = true
        await #expect(throws: AgentError.self) { try await node.createNetwork(request) }
        let network = try await only(nodes)
        try await node.createNetwork(request)
        try await node.createNetwork(request)
        #expect(try await only(nodes).id == network.id)
        #expect(try await nodes[0].pool(of: "docker") == pools[0].id)
        await cluster.end()
    }

    @Test("a network that Docker removed while an endpoint is still known stays until that has ended, also across a restart")
    func kept() async throws {
        let cluster = try await TestCluster(scopeIsGlobal: true)
        let first = try await cluster.start(1)
        var second: TestCluster.Member? = try await cluster.start(2)
        for node in [first, second] { try await node?.ready() }
        let docker = try await first.createNetwork("shop", subnet: Self.subnet)
        let pool = try await first.pool(of: docker)
        let address = try await first.run("web", on: docker)
        let network = try #require(await first.controller.view.network(dockerID: docker)?.id)
        try await eventually { await second?.controller.view.endpoints[network]?.isEmpty == false }
        try await second?.controller.deleteNetwork(docker)
        let report = try #require(await second?.controller.networkReports().first)
        #expect(report.state == .active && report.reason?.contains("removed in Docker") == true && report.reason?.contains("h1") == true)
        #expect(await second?.controller.engineWork(present: []).create.isEmpty == true, "no agent makes it again")
        let error = await #expect(throws: AgentError.self) { try await first.createNetwork("other", subnet: Self.subnet) }
        #expect(error?.code == .conflict)
        _ = try await cluster.restart(&second)
        try await first.remove("web", on: docker, pool: pool, address: address)
        try await eventually { await first.controller.view.networks[network]?.state == .removed }
        try await eventually { await second?.controller.local.unsaidRemovals.isEmpty == true }
        try await first.createNetwork("other", subnet: Self.subnet)
        await cluster.end()
    }

    @Test("a removal while the store is away is said when it is back")
    func removalWithoutStore() async throws {
        let (cluster, nodes) = try await nodes(2)
        let docker = try await nodes[0].createNetwork("shop", subnet: Self.subnet)
        let network = try await only(nodes)
        cluster.store.isCut = true
        try await nodes[1].controller.deleteNetwork(docker)
        cluster.store.isCut = false
        try await eventually(within: .seconds(20)) { await isGone(network.id, on: nodes) }
        await cluster.end()
    }

    @Test("a network that Docker lost without a word is removed by the node that made it, on proof, and not by silence")
    func forgotten() async throws {
        let (cluster, nodes) = try await nodes(2)
        let lost = try await nodes[0].createNetwork("lost", subnet: Self.subnet)
        let other = try await nodes[1].createNetwork("other", subnet: "10.33.0.0/16")
        try await eventually { await nodes[0].controller.view.network(dockerID: other)?.state == .active }
        let network = try #require(await nodes[0].controller.view.network(dockerID: lost)?.id)
        let now = bootSeconds()
        func look(_ node: Int, _ present: Set<String>, after seconds: Double) async -> Set<NetworkID> {
            _ = await nodes[node].controller.engineWork(present: present, now: now + seconds)
            return await nodes[node].controller.local.unsaidRemovals
        }
        // An engine without its store lists nothing; another node's engine may not be of that store at all.
        for seconds in [0.0, 100] {
            #expect(await look(0, [], after: seconds).isEmpty)
            #expect(await look(1, [other], after: seconds).isEmpty)
        }
        // Seen again in between: the clock begins anew.
        #expect(await look(0, [other], after: 100).isEmpty)
        #expect(await look(0, [lost, other], after: 130).isEmpty)
        #expect(await look(0, [other], after: 170).isEmpty)
        #expect(await look(0, [other], after: 200).isEmpty)
        #expect(await look(0, [other], after: 231) == [network])
        try await eventually(within: .seconds(20)) { await isGone(network, on: nodes) }
        #expect(await nodes[0].controller.view.network(dockerID: other)?.state == .active)
        await cluster.end()
    }

    @Test("an endpoint on a network that Docker lists no more is freed when its sandbox is gone, and not before")
    func endpointOfUnlisted() async throws {
        let (cluster, nodes) = try await nodes(1)
        let node = nodes[0].controller
        let docker = try await nodes[0].createNetwork("shop", subnet: Self.subnet)
        _ = try await nodes[0].run("web", on: docker)
        await node.sweepGarbage { _ in true }
        for _ in 0..<3 { await node.engineListed([], of: [], now: bootSeconds() + 100) { _ in true } }
        #expect(await node.local.endpoints.count == 1)
        await node.engineListed([], of: []) { _ in false }
        #expect(await node.local.endpoints.isEmpty)
        await cluster.end()
    }

    @Test("an agent that was killed gives the same answers as before")
    func restart() async throws {
        let cluster = try await TestCluster(scopeIsGlobal: true)
        let first = try await cluster.start(1)
        var second: TestCluster.Member? = try await cluster.start(2)
        for node in [first, second] { try await node?.ready() }
        let docker = try await first.createNetwork("shop", subnet: Self.subnet)
        let pool = try await first.pool(of: docker)
        var given: Set<IPAddress> = []
        for number in 0..<6 {
            given.insert(try #require(try await second?.run("c\(number)", on: docker, pool: pool)))
            if number % 2 == 1 { _ = try await cluster.restart(&second) }
        }
        #expect(given.count == 6)
        #expect(await second?.controller.local.endpoints.count == 6)
        await cluster.end()
    }
}
