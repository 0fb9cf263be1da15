import Agent
import Fabric
import TestKit
import Testing

@Suite("the agent's clocks")
struct AgentClockTests {
    @Test("a test's clock is two numbers after a word that nobody writes by mistake", arguments: [
        ("tulle-test-clock 3600 -3600", 3600, -3600), ("tulle-test-clock 0 0", 0, 0),
    ])
    func read(text: String, boot: Int, wall: Int) throws {
        let shift = try #require(AgentClock.parse(text))
        #expect(shift == (Double(boot), wall))
    }

    @Test("anything else is none", arguments: [
        "", "3600 3600", "tulle-test-clock", "tulle-test-clock 1", "tulle-test-clock 1 2 3", "tulle-test-clock x 1", "tulle-test-clock 1 99999999999999",
    ])
    func refused(text: String) { #expect(AgentClock.parse(text) == nil) }

    @Test("a starting container's endpoint is not freed for half a minute by the clock that nobody sets, and then after two lists without it")
    func starting() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let node = nodes[0].controller
        let docker = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        try await eventually { await node.view.network(name: "shop") != nil }
        let network = try #require(await node.view.network(name: "shop")).id
        _ = try await nodes[0].run("web", on: docker)
        let begin = bootSeconds()
        for seconds in [0, 1, 29] as [Double] {
            await node.engineListed([], of: [network], now: begin + seconds) { _ in true }
            #expect(await node.local.endpoints.count == 1)
        }
        for seconds in [31, 32] as [Double] { await node.engineListed([], of: [network], now: begin + seconds) { _ in true } }
        #expect(await node.local.endpoints.isEmpty)
        await cluster.end()
    }

    @Test("without the variable the clocks are the machine's")
    func machine() { #expect(!AgentClock.isTest) }
}
