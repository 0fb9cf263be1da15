import Addressing
@testable import Agent
import Fabric
import LocalAPI
import Store
import TestKit
import Testing

@Suite struct ClusterTests {
    @Test("a network of one node becomes every node's, and containers there get routes to each other")
    func propagation() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let first = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        try await eventually { await nodes[1].controller.view.network(name: "shop") != nil }
        let network = try #require(await nodes[1].controller.view.network(name: "shop"))
        let work = await nodes[1].controller.engineWork(present: [])
        #expect(work.create.map(\.id) == [network.id] && work.remove.isEmpty)
        let second = try await nodes[1].mirror(network)
        let (a, b) = (try await nodes[0].run("a", on: first), try await nodes[1].run("b", on: second))
        for (node, other) in [(nodes[0], b), (nodes[1], a)] {
            try await eventually {
                let state = await node.kernel.observe(.network(network.id), fresh: true)
                return state?.routes.contains { key, target in
                    if case .via = target { key.destination.contains(other) && key.destination.length > 16 } else { false }
                } ?? false
            }
        }
        await cluster.end()
    }

    @Test("no address is ever given twice, whatever nodes do at once", arguments: [1, 2, 3] as [UInt64])
    func uniqueness(seed: UInt64) async throws { try await Chaos.addresses(seed: seed, rounds: 40) }

    @Test("a full network says so and how to enlarge it")
    func full() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let node = nodes[0]
        let docker = try await node.createNetwork("tiny", subnet: "10.32.0.0/29")
        for number in 0..<5 { _ = try await node.run("c\(number)", on: docker) }
        let error = await #expect(throws: AgentError.self) { try await node.run("more", on: docker) }
        #expect(error?.code == .full)
        #expect(error?.description.contains("larger --subnet") == true)
        await cluster.end()
    }

    @Test("the last address is found, however many owners of blocks have none")
    func lastAddress() async throws {
        // 16 blocks of /30, one for each node but the last.
        let (cluster, nodes) = try await TestCluster.of(17)
        let created = try await nodes[0].createNetwork("tight", subnet: "10.32.0.0/26")
        var docker = [created]
        for node in nodes.dropFirst() {
            try await eventually { await node.controller.view.network(name: "tight") != nil }
            docker.append(try await node.mirror(try #require(await node.controller.view.network(name: "tight"))))
        }
        for (node, id) in zip(nodes, docker).dropLast() { _ = try await node.run("first\(node.number)", on: id) }
        let network = try #require(await nodes[16].controller.view.network(name: "tight")).id
        // All but one node use up what they have.
        var spare = 0
        for (node, id) in zip(nodes, docker).dropLast() {
            let block = try #require(await node.controller.view.blocks(of: network, owner: node.controller.me.id).first)
            let subnet = try #require(await node.controller.view.networks[network]?.subnets.first)
            spare = (0..<4).compactMap { block.first.advanced(by: $0) }.filter { !Allocation.isReserved($0, in: subnet) }.count - 1
            guard node.number < 16 else { break }
            for number in 0..<spare { _ = try await node.run("more\(node.number)-\(number)", on: id) }
        }
        try await eventually { await nodes[16].controller.view.endpoints[network]?.count == 64 - 3 - spare }
        for number in 0..<spare { _ = try await nodes[16].run("c\(number)", on: docker[16]) }
        let error = await #expect(throws: AgentError.self) { try await nodes[16].run("more", on: docker[16]) }
        #expect(error?.code == .full)
        await cluster.end()
    }

    @Test("a node that is cut off from the store goes on from its own blocks while its lease lasts, and not after")
    func cutOff() async throws {
        let cluster = try await TestCluster(lease: 3)
        let node = try await cluster.start(1)
        try await node.ready()
        let docker = try await node.createNetwork("shop", subnet: "10.32.0.0/16")
        _ = try await node.run("before", on: docker)
        cluster.store.isCut = true
        _ = try await node.run("within", on: docker)
        try await eventually { await !node.controller.lease.isValid(at: bootSeconds()) }
        let error = await #expect(throws: AgentError.self) { try await node.run("after", on: docker) }
        #expect(error?.code == .storeAway)
        cluster.store.isCut = false
        try await node.ready()
        _ = try await node.run("again", on: docker)
        await cluster.end()
    }

    @Test("an agent that was killed remembers every address it gave")
    func restart() async throws {
        let cluster = try await TestCluster()
        var node: TestCluster.Member? = try await cluster.start(1)
        try await node?.ready()
        let docker = try #require(try await node?.createNetwork("shop", subnet: "10.32.0.0/28"))
        var given: Set<IPAddress> = []
        for number in 0..<9 {
            given.insert(try #require(try await node?.run("c\(number)", on: docker)))
            if number % 3 == 2 { _ = try await cluster.restart(&node) }
        }
        #expect(given.count == 9)
        #expect(await node?.controller.local.endpoints.count == 9)
        await cluster.end()
    }

    @Test("a store that was emptied, or went back, changes nothing until a person accepts it")
    func emptied() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let node = nodes[0]
        let docker = try await node.createNetwork("shop", subnet: "10.32.0.0/16")
        _ = try await node.run("web", on: docker)
        let network = try #require(await node.controller.view.network(name: "shop")?.id)
        try await eventually { try await node.reconciler.preview().allSatisfy(\.1.isEmpty) }
        let before = await node.kernel.states
        let keys = try await cluster.store.list(prefix: "").entries.map { StoreOperation.delete(key: $0.key) }
        _ = try await cluster.store.commit(StoreTransaction(operations: keys))
        try await eventually { await node.controller.distrust != nil }
        #expect(await node.kernel.states == before)
        #expect(await node.controller.problems["store-trust"]?.contains("tulle store accept") == true)
        await #expect(throws: AgentError.self) { try await node.createNetwork("other", subnet: "10.33.0.0/16") }
        // Accepted, it begins its next epoch with what this node knows.
        #expect(try await node.controller.acceptable("accept it") == StoreIdentity(cluster: cluster.cluster, epoch: 1))
        try await cluster.store.succeed(with: try node.controller.replica.snapshot(), epoch: 1_000_001)
        try await eventually { await node.controller.viewEpoch == 1_000_001 }
        try await node.ready()
        try await eventually { await node.controller.view.nodes.count == 1 }
        #expect(await node.controller.view.networks[network]?.state == .active)
        try await eventually { await node.kernel.states == before }
        #expect(try await cluster.store.list(prefix: StoreKey.blocks(of: network)).entries.count == 1)
        _ = try await node.run("second", on: docker)
        try await node.createNetwork("other", subnet: "10.33.0.0/16")
        await cluster.end()
    }

    @Test("a store that was restored from a backup is told again, once it is accepted, what lives here")
    func restored() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let docker = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        try await eventually { await nodes[1].controller.view.network(name: "shop") != nil }
        let network = try #require(await nodes[1].controller.view.network(name: "shop"))
        let mirrored = try await nodes[1].mirror(network)
        let backup = try await cluster.store.list(prefix: "")
        let address = try await nodes[0].run("web", on: docker)
        let owner = await nodes[0].controller.me.id
        func isKnown() async -> Bool {
            let view = await nodes[1].controller.view
            return view.endpoints[network.id]?.count == 1 && view.holder(of: address, in: network) == owner
        }
        try await eventually { await isKnown() }
        try await cluster.store.goBack(to: backup)
        for node in nodes { try await eventually { await node.controller.distrust?.contains("back in time") == true } }
        try await cluster.store.succeed(with: try nodes[1].controller.replica.snapshot(), epoch: 1_000_001)
        for node in nodes { try await eventually { await node.controller.viewEpoch == 1_000_001 } }
        try await eventually { await isKnown() }
        for node in nodes { try await eventually { await node.controller.view.unheard.isEmpty } }
        #expect(try await nodes[1].run("other", on: mirrored) != address)
        let error = await #expect(throws: AgentError.self) { try await nodes[1].run("same", on: mirrored, address: address) }
        #expect(error?.code == .conflict)
        await cluster.end()
    }

    @Test("an old copy of a node's state directory gives no address, and says why")
    func oldCopy() async throws {
        let cluster = try await TestCluster()
        var node: TestCluster.Member? = try await cluster.start(1)
        try await node?.ready()
        let docker = try #require(try await node?.createNetwork("shop", subnet: "10.32.0.0/16"))
        if let node { await cluster.stop(node) }
        node = nil
        try await eventually { cluster.isClosed(1) }
        try cluster.backUp(1)
        // It lives on, and ends.
        node = try await cluster.start(1)
        try await eventually { await node?.controller.isRegistered == true }
        _ = try await node?.run("web", on: docker)
        if let node { await cluster.stop(node) }
        node = nil
        try await eventually { cluster.isClosed(1) }
        try cluster.restoreBackup(1)
        let copy = try await cluster.start(1)
        try await eventually { await copy.controller.problems["registration"]?.contains("same identity") == true }
        let error = await #expect(throws: AgentError.self) { try await copy.run("another", on: docker) }
        #expect(error?.description.contains("tulle reset") == true)
        await cluster.end()
    }

    @Test("the same name with other options is quarantined, and its containers are refused with the reason")
    func quarantine() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        let docker = try await nodes[1].createNetwork("shop", subnet: "10.99.0.0/16")
        let error = await #expect(throws: AgentError.self) { try await nodes[1].run("web", on: docker) }
        #expect(error?.description.contains("another subnet") == true)
        let report = await nodes[1].controller.networkReports().first { $0.dockerNetworkID == docker }
        #expect(report?.state == .quarantined)
        await cluster.end()
    }

    @Test("the same name with the same options is one network")
    func adoption() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let first = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        try await eventually { await nodes[1].controller.view.network(name: "shop") != nil }
        let second = try await nodes[1].createNetwork("shop", subnet: "10.32.0.0/16")
        #expect(await nodes[1].controller.local.engineNetworks[second]?.standing == .confirmed)
        let (a, b) = (try await nodes[0].run("a", on: first), try await nodes[1].run("b", on: second))
        #expect(a != b)
        #expect(try await cluster.store.list(prefix: StoreKey.networks).entries.count == 1)
        await cluster.end()
    }

    @Test("a network with endpoints elsewhere survives its removal on one engine; without any it becomes a tombstone")
    func removal() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let first = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        try await eventually { await nodes[1].controller.view.network(name: "shop") != nil }
        let network = try #require(await nodes[1].controller.view.network(name: "shop"))
        let second = try await nodes[1].mirror(network)
        let address = try await nodes[1].run("web", on: second)
        try await eventually { await nodes[0].controller.view.endpoints[network.id]?.isEmpty == false }
        try await nodes[0].controller.deleteNetwork(first)
        #expect(await nodes[0].controller.engineWork(present: []).create.map(\.id) == [network.id])
        #expect(await nodes[0].controller.networkReports().first?.reason?.contains("h2") == true)
        // So does the next create that it is in the way of.
        let error = await #expect(throws: AgentError.self) { try await nodes[0].createNetwork("part", subnet: "10.32.4.0/24") }
        #expect(error?.description.contains("removed on this engine and made again: 1 endpoint(s) on h2") == true)
        try await nodes[1].remove("web", on: second, address: address)
        try await eventually { await nodes[0].controller.view.endpoints[network.id]?.isEmpty == true }
        try await nodes[1].controller.deleteNetwork(second)
        try await eventually { await nodes[0].controller.view.networks[network.id]?.state == .removed }
        await cluster.end()
    }

    @Test("overlapping subnets are refused, and allowed under a key of their own")
    func overlap() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let node = nodes[0]
        try await node.createNetwork("shop", subnet: "10.32.0.0/16")
        let error = await #expect(throws: AgentError.self) { try await node.createNetwork("part", subnet: "10.32.4.0/24") }
        #expect(error?.description.contains("tulle.network=KEY") == true)
        let keyed = try await node.createNetwork(
            "twin", subnet: "10.32.0.0/16", options: ["tulle.network": "blue"], ipam: ["tulle.network": "blue"])
        #expect(try await node.run("x", on: keyed).description.hasPrefix("10.32."))
        await cluster.end()
    }
}
