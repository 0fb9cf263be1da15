import Addressing
import Agent
import Fabric
import LocalAPI
import Store
import Testing

/// The copy of a cluster's network that an agent makes on its engine, and what the user does there at the same moment.
@Suite struct EngineCopyTests {
    /// A cluster of two, and a network that the first node's user made.
    private func shop() async throws -> (TestCluster, [TestCluster.Member], NetworkObject) {
        let (cluster, nodes) = try await TestCluster.of(2)
        try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        try await eventually { await nodes[1].controller.view.network(name: "shop") != nil }
        return (cluster, nodes, try #require(await nodes[1].controller.view.network(name: "shop")))
    }

    @Test("what the user and the agent make at once on one engine is one network, whichever comes first", arguments: [true, false])
    func twins(isUserFirst: Bool) async throws {
        let (cluster, nodes, network) = try await shop()
        let node = nodes[1]
        // Both have asked for the addresses before either makes the network.
        for _ in 0..<2 {
            let pool = try await node.controller.requestPool(prefix: "10.32.0.0/16", range: "", options: [:], isV6: false)
            _ = try await node.controller.requestGateway(pool.id, "")
        }
        for id in isUserFirst ? ["user", "copy"] : ["copy", "user"] { try await node.makeNetwork(id, subnet: "10.32.0.0/16", gateway: "10.32.0.1") }
        for id in ["copy", "user"] { try await node.controller.learn(id, name: "shop", labels: [:], isAttachable: false) }
        for id in ["copy", "user"] { #expect(await node.controller.local.engineNetworks[id]?.standing == .confirmed) }
        // The copy gives way; what it shared stays.
        await node.controller.setWithdrawing("copy", true)
        let pool = try #require(await node.controller.local.engineNetworks["user"]?.pools.first)
        try await node.controller.releasePool(pool)
        try await node.controller.deleteNetwork("copy")
        #expect(await node.controller.local.pools[pool] != nil)
        _ = try await node.run("web", on: "user")
        #expect(await node.controller.view.networks[network.id]?.state == .active)
        #expect(await node.controller.view.live.count == 1)
        await cluster.end()
    }

    @Test("while the engine makes the copy the user's create is not refused; with another name it is quarantined and harms nobody")
    func late() async throws {
        let (cluster, nodes, _) = try await shop()
        let node = nodes[1]
        _ = try await node.controller.requestPool(prefix: "10.32.0.0/16", range: "", options: [:], isV6: false)
        try await node.makeNetwork("copy", subnet: "10.32.0.0/16", gateway: "10.32.0.1")
        let other = try await node.createNetwork("other", subnet: "10.32.0.0/16")
        try await node.controller.learn("copy", name: "shop", labels: [:], isAttachable: false)
        _ = try await node.run("web", on: "copy")
        await #expect(throws: AgentError.self) { try await node.run("lost", on: other) }
        // Once it is made, the refusal comes at once.
        await #expect(throws: AgentError.self) { try await node.createNetwork("third", subnet: "10.32.0.0/16") }
        await cluster.end()
    }

    @Test("beside a quarantined network of the same subnet the engine gets the cluster's own")
    func besideQuarantine() async throws {
        let (cluster, nodes, network) = try await shop()
        let node = nodes[1]
        let other = try await node.createNetwork("other", subnet: "10.32.0.0/16")
        #expect(await node.controller.engineWork(present: [other]).create.map(\.id) == [network.id])
        let copy = try await node.mirror(network)
        #expect(await node.controller.local.engineNetworks[copy]?.standing == .confirmed)
        _ = try await node.run("web", on: copy)
        try await node.controller.deleteNetwork(other)
        _ = try await node.run("more", on: copy)
        await cluster.end()
    }

    @Test("a copy of a network that is removed meanwhile does not bring it back")
    func removedMeanwhile() async throws {
        let (cluster, nodes, network) = try await shop()
        let node = nodes[1]
        await node.controller.setCopying(network.id, true)
        _ = try await node.controller.requestPool(prefix: "10.32.0.0/16", range: "", options: [:], isV6: false)
        try await nodes[0].controller.deleteNetwork("docker-shop-1")
        try await eventually { await node.controller.view.networks[network.id]?.state == .removed }
        let error = await #expect(throws: AgentError.self) {
            try await node.makeNetwork("copy", subnet: "10.32.0.0/16", gateway: "10.32.0.1")
        }
        #expect(error?.description.contains("shop was removed") == true)
        #expect(await node.controller.view.live.isEmpty)
        // It is the user's to make it again.
        await node.controller.setCopying(network.id, false)
        try await node.createNetwork("shop", subnet: "10.32.0.0/16")
        await cluster.end()
    }

    @Test("an engine no longer lists a network that it is about to remove: it is removed, not made again")
    func hidden() async throws {
        let (cluster, nodes, network) = try await shop()
        let work = await nodes[0].controller.engineWork(present: [])
        #expect(work.create.isEmpty && work.remove.isEmpty)
        try await nodes[0].controller.deleteNetwork("docker-shop-1")
        #expect(await nodes[0].controller.engineWork(present: []).create.isEmpty)
        try await eventually { await nodes[1].controller.view.networks[network.id]?.state == .removed }
        await cluster.end()
    }

    @Test("a network that waits for the name of one with its subnet stands for itself when that one is given up", arguments: [true, false])
    func givenUp(becomesAnother: Bool) async throws {
        let (cluster, nodes, shop) = try await shop()
        for (node, id) in zip(nodes, ["first", "second"]) {
            let pool = try await node.controller.requestPool(prefix: "10.40.0.0/16", range: "", options: [:], isV6: false)
            let gateway = try await node.controller.requestGateway(pool.id, "")
            try await node.makeNetwork(id, subnet: "10.40.0.0/16", gateway: gateway.address.description)
            try await eventually { await nodes[1].controller.view.live.count == 2 }
        }
        try await nodes[1].controller.learn("second", name: "shop", labels: [:], isAttachable: false)
        #expect(await nodes[1].controller.local.engineNetworks["second"]?.standing == .provisional)
        if becomesAnother {
            // Its name is taken.
            try await nodes[0].controller.learn("first", name: "shop", labels: [:], isAttachable: false)
        } else {
            try await nodes[0].controller.deleteNetwork("first")
        }
        try await eventually { await nodes[1].controller.view.live.count == 1 }
        let name = becomesAnother ? "shop" : "mine"
        for _ in 0..<2 { try await nodes[1].controller.learn("second", name: name, labels: [:], isAttachable: false) }
        let report = await nodes[1].controller.networkReports().first { $0.dockerNetworkID == "second" }
        #expect(report?.name == name && report?.state == (becomesAnother ? .quarantined : .active), "\(String(describing: report))")
        #expect(report?.id != shop.id.description || becomesAnother)
        if !becomesAnother { _ = try await nodes[1].run("web", on: "second") }
        await cluster.end()
    }
}
