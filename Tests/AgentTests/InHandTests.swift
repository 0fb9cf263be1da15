@testable import Agent
import Addressing
import Fabric
import Store
import Testing

/// What the engine has in its hand between two calls, when the agent that gave it has ended.
@Suite("an address between two calls of the engine, and a new agent", .timeLimit(.minutes(1)))
struct InHandTests {
    /// The simulation's seed 1272.
    @Test("what was given, and has no endpoint yet, is given to nobody else; its endpoint is taken")
    func given() async throws {
        let cluster = try await TestCluster()
        var node: TestCluster.Member? = try await cluster.start(1)
        let shop: String, pool: String, given: IPAddress
        do {
            let first = try #require(node)
            try await first.ready()
            shop = try await first.createNetwork("shop", subnet: "10.32.0.0/24")
            pool = try await first.pool(of: shop)
            given = try await first.controller.requestAddress(pool, nil).address
        }
        let again = try await cluster.restart(&node)
        await #expect(throws: AgentError.self) { _ = try await again.controller.requestAddress(pool, given) }
        #expect(try await again.controller.requestAddress(pool, nil).address != given)
        _ = try await again.controller.createEndpoint(EndpointRequest(dockerID: shop, id: EndpointID("e1"), addresses: ["\(given)/32"], mac: ""))
        #expect(await again.controller.local.allocations.values.first?[given]?.endpoint == EndpointID("e1"))
        await cluster.end()
    }

    @Test("a fixed address that the engine released while the store was away is had again by the next agent's first request for it")
    func released() async throws {
        let cluster = try await TestCluster()
        var node: TestCluster.Member? = try await cluster.start(1)
        let shop: String, pool: String
        let fixed = try #require(IPAddress("10.32.0.200"))
        do {
            let first = try #require(node)
            try await first.ready()
            shop = try await first.createNetwork("shop", subnet: "10.32.0.0/24", ipam: ["tulle.block-size": "28"])
            pool = try await first.pool(of: shop)
            _ = try await first.run("db", on: shop, address: fixed)
            cluster.store.isCut = true
            // Its release is not heard of by the store.
            await #expect(throws: (any Error).self) { try await first.remove("db", on: shop, address: fixed) }
        }
        let ended = try #require(node?.number)
        if let node { await cluster.stop(node) }
        node = nil
        let again = try await cluster.startAgain(ended)
        #expect(try await again.controller.requestAddress(pool, fixed).address == fixed)
        await #expect(throws: AgentError.self, "once") { _ = try await again.controller.requestAddress(pool, fixed) }
        cluster.store.isCut = false
        await cluster.end()
    }
}
