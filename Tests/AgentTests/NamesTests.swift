import Addressing
import Agent
import DNS
import Docker
import Fabric
import NameService
import TestKit
import Testing

@Suite("names between agents")
struct NamesTests {
    private func told(_ name: String, at node: TestCluster.Member, on network: NetworkID) throws -> [String]? {
        let question = DNSQuestion(try #require(DNSName(name)), .a)
        return node.controller.names.look { $0.answer(question, asking: [network], rotation: 0) }?.answers.map { "\($0.data)" }
    }

    @Test("what the engine tells of a container is told on the other node, and no more when the container has ended")
    func travel() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let docker = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        let address = try await nodes[0].run("web", on: docker)
        let endpoint = try #require(await nodes[0].controller.local.endpoints.values.first)
        let names = try #require(
            ContainerNames(
                EngineContainer(
                    id: "0123456789abcdef", name: "web", hostname: "front",
                    attachments: [
                        "other": .init(endpointID: "e", aliases: ["no"]),
                        "shop": .init(endpointID: endpoint.id.description, aliases: ["www", "0123456789ab"], dnsNames: ["web", "www", "front", "*.cdn"]),
                    ], ports: ["80/tcp", "junk", "53/udp"]),
                endpoint: endpoint.id))
        #expect(names.aliases == ["www", "*.cdn"] && names.hostname == "front")
        #expect(names.ports == [PublishedPort(port: 53, protocol: "udp"), PublishedPort(port: 80, protocol: "tcp")])
        try await nodes[0].controller.name(endpoint.id, "web")
        try await nodes[0].controller.describe(endpoint.id, names)
        for name in ["web", "www", "x.cdn", "front.shop", "0123456789ab"] {
            #expect(try told(name, at: nodes[0], on: endpoint.network) == ["\(address)"], "at once")
            try await eventually { try told(name, at: nodes[1], on: endpoint.network) == ["\(address)"] }
        }
        let object = try #require(await nodes[1].controller.view.endpoints[endpoint.network]?[endpoint.id])
        #expect(object.names == names)
        try await nodes[0].remove("web", on: docker, address: address)
        try await eventually { try told("www", at: nodes[1], on: endpoint.network) == nil }
        await cluster.end()
    }

    @Test("an agent that is restarted takes no name from others; one that stays away does, after a few seconds")
    func restart() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let docker = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        let address = try await nodes[0].run("web", on: docker)
        let endpoint = try #require(await nodes[0].controller.local.endpoints.values.first)
        try await nodes[0].controller.name(endpoint.id, "web")
        try await eventually { try told("web", at: nodes[1], on: endpoint.network) == ["\(address)"] }
        let id = nodes[0].controller.identity.node
        await cluster.stop(nodes[0])
        try await eventually { await !nodes[1].controller.view.alive.contains(id) }
        #expect(try told("web", at: nodes[1], on: endpoint.network) == ["\(address)"])
        try await eventually { try told("web", at: nodes[1], on: endpoint.network) == nil }
        await cluster.end()
    }
}
