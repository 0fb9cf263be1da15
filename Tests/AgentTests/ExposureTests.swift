import Addressing
import Agent
import Fabric
import TestKit
import Testing

/// The host itself on a network, without a kernel.
@Suite("exposures") struct ExposureTests {
    private func addresses(_ node: TestCluster.Member) async -> [IPAddress] {
        await node.controller.local.endpoints.values.filter(\.id.isHost).flatMap(\.addresses)
    }

    @Test("an exposed network has an endpoint of the host, which the store knows and whose end no engine says")
    func life() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let docker = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        let given = try await nodes[0].controller.expose("shop", addresses: [])
        let network = try #require(await nodes[0].controller.view.network(name: "shop"))
        let link = EgressPair(network: network, settings: Settings(vxlanPort: 7941, vniBase: 0x100000)).hostLink
        let key = RouteKey(destination: network.subnets[0].prefix, metric: Desired.exposedMetric)
        let host = try #require(await nodes[0].kernel.observe(.host, fresh: true))
        #expect(host.routes[key]?.link == link)
        #expect(host.addresses.contains(LinkAddress(link: link, address: InterfaceAddress(given.addresses[0], length: 32))))
        try await eventually { await nodes[1].controller.view.endpoints[network.id]?[given.id]?.node == nodes[0].controller.me.id }
        // No engine knows it: that is no sign of its end.
        for _ in 0..<3 { await nodes[0].controller.engineListed([], of: [network.id], now: 1e9) { _ in false } }
        await nodes[0].controller.sweepGarbage { _ in false }
        #expect(await addresses(nodes[0]) == given.addresses)
        // Its address is nobody else's.
        #expect(try await nodes[0].run("web", on: docker) != given.addresses[0])
        await #expect(throws: AgentError.self) { try await nodes[0].run("thief", on: docker, address: given.addresses[0]) }
        await cluster.end()
    }

    @Test("a host's exposure is the same after its agent's restart, and hiding gives the address back")
    func restart() async throws {
        let cluster = try await TestCluster()
        var member: TestCluster.Member? = try await cluster.start(1)
        try await member?.ready()
        _ = try await member?.createNetwork("shop", subnet: "10.32.0.0/16")
        let given = try await member?.controller.expose("shop", addresses: ["10.32.5.5"])
        #expect(given?.addresses.map(\.description) == ["10.32.5.5"])
        let again = try await cluster.restart(&member)
        #expect(await addresses(again) == given?.addresses)
        #expect(try await again.controller.expose("shop", addresses: []).addresses == given?.addresses)
        await #expect(throws: AgentError.self) { try await again.controller.expose("shop", addresses: ["10.32.5.6"]) }
        // Before, a single address is given back later.
        try await eventually { await again.controller.isRegistered }
        _ = try await again.controller.hide("shop")
        #expect(await addresses(again) == [])
        try await eventually { await again.controller.view.addresses.values.allSatisfy(\.isEmpty) }
        #expect(await again.controller.local.allocations.values.allSatisfy(\.isEmpty))
        let host = try #require(await again.kernel.observe(.host, fresh: true))
        #expect(host.links.isEmpty && host.routes.isEmpty && host.addresses.isEmpty)
        await #expect(throws: AgentError.self) { try await again.controller.hide("shop") }
        await cluster.end()
    }

    @Test("of two networks with one subnet a host joins one, also when both are asked for at once")
    func overlap() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        for key in ["red", "blue"] {
            try await nodes[0].createNetwork(
                key, subnet: "10.32.0.0/16", options: [DriverOption.network: key], ipam: [DriverOption.network: key])
        }
        let controller = nodes[0].controller
        async let red = try? controller.expose("red", addresses: [])
        async let blue = try? controller.expose("blue", addresses: [])
        let made = await [red, blue].compactMap { $0 }
        #expect(made.count == 1)
        #expect(await addresses(nodes[0]).count == 1)
        await cluster.end()
    }

    @Test("what a kernel refuses leaves no exposure and no address behind")
    func refused() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        await nodes[0].kernel.setFault { step in
            if case .createLink(_, Desired.egressLink, _) = step { "no such thing here" } else { nil }
        }
        await #expect(throws: AgentError.self) { try await nodes[0].controller.expose("shop", addresses: []) }
        #expect(await addresses(nodes[0]) == [])
        #expect(await nodes[0].controller.local.allocations.values.allSatisfy(\.isEmpty))
        await cluster.end()
    }
}
