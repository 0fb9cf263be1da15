import LocalAPI
import TestKit
import Testing

/// For every start: an agent remembers its cluster, but not its options.
private let terms = "--lease 20s --forget-after 1h"

/// The store lives with the agent of h1. The lease is 20 s here, of which an agent uses 18.
@Suite("without the store", .serialized, .needsLab, .needsEmbeddedStore("the store goes away with its agent; EtcdTests has it for etcd"), .lab("away", agents: terms, prepare: Stage.prepare))
struct StoreAwayTests {
    init() async throws {
        if h1.hasEnded("agent") { try h1.startAgent(terms) }
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
    }

    @Test("existing traffic goes on, and new containers start and are reached")
    func traffic() async throws {
        let pings = try Pinger(from: Stage.web2, to: Stage.web3.address(on: Stage.network))
        let toStore = try Pinger(from: Stage.web2, to: Stage.web1.address(on: Stage.network))
        try h1.stopAgent()
        try await eventually("h2 has noticed") { try await !h2.agent.status().store.reachable }
        let fresh = try h2.runContainer("fresh", on: Stage.network)
        try await Stage.web3.mustReach(fresh.address(on: Stage.network))
        try await Stage.web1.mustReach(fresh.address(on: Stage.network))
        try await fresh.mustReach(Stage.web3.address6(on: Stage.network))
        #expect(try await h2.agent.status().problems.contains { $0.contains("store does not answer") })
        #expect(try h2.tulle("status").contains("not reachable"))
        try pings.expectNoLoss()
        try toStore.expectNoLoss()
        try fresh.remove()
    }

    @Test("an agent that restarts meanwhile works from what it remembers")
    func replica() async throws {
        let pings = try Pinger(from: Stage.web2, to: Stage.web3.address(on: Stage.network))
        try h1.stopAgent()
        try h2.restartAgent("KILL", with: terms)
        #expect(try await h2.agent.status().store.reachable == false)
        #expect(try await h2.agent.plan() == [])
        #expect(try await h2.metric("tulle_drift_repaired_total") == 0)
        #expect(try await h2.agent.networks().map(\.name) == [Stage.network])
        #expect(try await h2.agent.endpoints().count == 4)
        let fresh = try h2.runContainer("fresh", on: Stage.network)
        try await Stage.web3.mustReach(fresh.address(on: Stage.network))
        try pings.expectNoLoss()
        try fresh.remove()
    }

    @Test("a node goes on giving addresses until its lease ends, never after, and says so; traffic goes on")
    func lease() async throws {
        try h1.stopAgent()
        let cut = ContinuousClock.now
        let pings = try Pinger(from: Stage.web2, to: Stage.web3.address(on: Stage.network))
        let within = try h2.runContainer("within", on: Stage.network)
        try await eventually("the lease has ended", within: .seconds(25)) { try await h2.agent.status().lease.state == .ended }
        // It is renewed each 5 to 10 s, and lasts 18.
        #expect((Duration.seconds(7)...Duration.seconds(19)).contains(ContinuousClock.now - cut))
        let answer = try h2.dockerRefuses("run -d --name after --network shop lab sleep 60")
        #expect(answer.contains("lease ended"), "\(answer)")
        #expect(answer.contains("bring the store back"), "\(answer)")
        try h2.docker("rm -f after")
        try await within.mustReach(Stage.web3.address(on: Stage.network))
        try pings.expectNoLoss()
        // A restart does not renew it.
        try h2.restartAgent(with: terms)
        #expect(try h2.dockerRefuses("run -d --name after --network shop lab sleep 60").contains("lease"))
        try h2.docker("rm -f after")
        try h1.startAgent(terms)
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
        let after = try h2.runContainer("after", on: Stage.network)
        try await Stage.web1.mustReach(after.address(on: Stage.network))
        try await eventually("h1 has heard of all") { try await h1.agent.endpoints().count == 6 }
        for container in [within, after] { try container.remove() }
    }

    @Test("a host that is cut off from the others keeps its own traffic, and is reached again when the cable is back")
    func cable() async throws {
        let address = try Stage.beside.address(on: Stage.network)
        let fresh = try h3.runContainer("near", on: Stage.network)
        let near = try Pinger(from: Stage.web3, to: fresh.address(on: Stage.network))
        try lab.run(["link", "h3", "down"])
        #expect(try !Stage.web3.reaches(address))
        try await eventually("h1 sees it gone", within: .seconds(25)) {
            try await h1.agent.nodes().contains { $0.name == "h3" && !$0.alive }
        }
        #expect(try await h1.agent.endpoints().filter { $0.node == "h3" }.allSatisfy { $0.state == .suspended })
        // Suspended, not forgotten: its routes stay.
        #expect(try await h1.agent.plan() == [])
        #expect(try await h1.agent.endpoints().filter { $0.node == "h3" }.count == 2)
        try lab.run(["link", "h3", "up"])
        try await Stage.web3.mustReach(address, within: .seconds(10))
        try await Stage.web1.mustReach(fresh.address(on: Stage.network))
        try near.expectNoLoss()
        try fresh.remove()
    }
}
