import Addressing
@testable import Agent
import Fabric
import Store
import TestKit
import Testing

/// `--opt tulle.mode=switched`, from the option to the other node's rows.
@Suite("switched networks in a cluster", .timeLimit(.minutes(2))) struct SwitchedNetworkTests {
    private static let options = [DriverOption.mode: "switched"]

    @Test("containers get the subnet's prefix length and no route of ours; each node gets rows of the other's, which follow a new MAC and vanish with it")
    func rows() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let first = try await nodes[0].createNetwork("seg", subnet: "10.32.0.0/16", options: Self.options)
        try await eventually { await nodes[1].controller.view.network(name: "seg") != nil }
        let network = try #require(await nodes[1].controller.view.network(name: "seg"))
        #expect(network.isSwitched)
        let second = try await nodes[1].mirror(network)
        let (one, two) = (nodes[0], nodes[1])
        let pool = try await one.pool(of: first)
        let given = try await one.controller.requestAddress(pool, nil)
        #expect(given.length == 16)
        let request = EndpointRequest(dockerID: first, id: EndpointID("a"), addresses: [given.description], mac: "")
        let mac = try await nodes[0].controller.createEndpoint(request)
        let attachment = try await nodes[0].controller.join(EndpointID("a"), sandbox: "/sandbox/a", publishes: false)
        #expect(attachment.routes.isEmpty && attachment.gateways.count == 1)
        _ = try await nodes[1].run("b", on: second)
        let id = NamespaceID.network(network.id)
        try await eventually { await two.kernel.observe(id, fresh: true)?.stations[mac] == "vxlan" }
        let state = try #require(await nodes[1].kernel.observe(id, fresh: true))
        #expect(state.neighbors[NeighborKey(link: "br0", address: given.address)] == mac)
        #expect(state.floods.count == 1)

        // Docker's restart of a container: a new endpoint, here with another MAC.
        try await nodes[0].remove("a", on: first, address: given.address)
        let again = try await one.controller.requestAddress(pool, given.address)
        _ = try await nodes[0].controller.createEndpoint(
            EndpointRequest(dockerID: first, id: EndpointID("a2"), addresses: [again.description], mac: "02:00:00:00:12:34"))
        _ = try await nodes[0].controller.join(EndpointID("a2"), sandbox: "/sandbox/a2", publishes: false)
        let new = try #require(MACAddress("02:00:00:00:12:34"))
        let key = NeighborKey(link: "br0", address: given.address)
        try await eventually(within: .seconds(1)) {
            guard let state = await two.kernel.observe(id, fresh: true) else { return false }
            return state.stations[new] == "vxlan" && state.stations[mac] == nil && state.neighbors[key] == new
        }
        try await nodes[0].remove("a2", on: first, address: given.address)
        try await eventually { await two.kernel.observe(id, fresh: true)?.floods.isEmpty == true }
        await cluster.end()
    }

    @Test("what a node's containers listen to is told to the others, once, and taken back; an agent that has just started takes nothing back")
    func groups() async throws {
        var (cluster, nodes) = try await TestCluster.of(2)
        let first = try await nodes[0].createNetwork("seg", subnet: "10.32.0.0/16", options: Self.options)
        try await eventually { await nodes[1].controller.view.network(name: "seg") != nil }
        let network = try #require(await nodes[1].controller.view.network(name: "seg"))
        let second = try await nodes[1].mirror(network)
        _ = try await nodes[0].run("a", on: first)
        _ = try await nodes[1].run("b", on: second)
        let id = NamespaceID.network(network.id), group = try #require(IPAddress("239.1.1.1"))
        await nodes[0].kernel.tamper(id) { $0.listened = [group] }
        await nodes[0].reconciler.mark(id, .kernel)
        let listener = nodes[1]
        try await eventually { await listener.kernel.observe(id, fresh: true)?.groups.map(\.group) == [group] }
        let key = StoreKey.groups(network.id, await nodes[0].controller.me.id)
        let written = try await cluster.store.list(prefix: key).entries.first?.modified
        #expect(written != nil)

        await cluster.stop(nodes[0])
        nodes.removeFirst()
        let again = try await cluster.startAgain(1)
        try await again.ready()
        try await eventually { await again.controller.listened[network.id] == [group] }
        #expect(try await cluster.store.list(prefix: key).entries.first?.modified == written)

        await again.kernel.tamper(id) { $0.listened = [] }
        await again.reconciler.mark(id, .kernel)
        let other = nodes[0]
        try await eventually { await other.kernel.observe(id, fresh: true)?.groups.isEmpty == true }
        try await eventually { try await cluster.store.list(prefix: key).entries.isEmpty }
        await cluster.end()
    }

    @Test("a mode that does not exist is refused, with those that do")
    func unknownMode() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let error = await #expect(throws: AgentError.self) {
            try await nodes[0].createNetwork("odd", subnet: "10.32.0.0/16", options: [DriverOption.mode: "bridged"])
        }
        #expect(error?.description.contains("routed or switched") == true)
        await cluster.end()
    }

    @Test("the gateway's MAC is no container's")
    func gatewayMAC() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let docker = try await nodes[0].createNetwork("seg", subnet: "10.32.0.0/16", options: Self.options)
        let network = try #require(await nodes[0].controller.view.network(name: "seg"))
        let node = nodes[0]
        let pool = try await node.pool(of: docker)
        let address = try await node.controller.requestAddress(pool, nil)
        let request = EndpointRequest(
            dockerID: docker, id: EndpointID("a"), addresses: [address.description], mac: Desired.gatewayMAC(network).description)
        let error = await #expect(throws: AgentError.self) { _ = try await node.controller.createEndpoint(request) }
        #expect(error?.description.contains("gateway") == true)
        await cluster.end()
    }

    @Test("an agent that knows no modes does not read such a network, and says which version it needs; a routed one it reads")
    func format() throws {
        var network = NetworkObject(
            id: NetworkID(random: 7), key: "k", name: "n", state: .active, vni: try #require(VNI(5)), subnets: [], isInternal: false, mtu: nil,
            options: [:], addressOptions: [:], origin: NodeID(random: 1))
        #expect(String(decoding: try StoredJSON.encode(network), as: UTF8.self).contains(#""v":1"#))
        network.mode = .switched
        let bytes = try StoredJSON.encode(network)
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(text.contains(#""v":2"#) && text.contains(#""mode":"switched""#))
        let key = StoreKey.network(network.id)
        #expect(try StoredJSON.read(NetworkObject.self, key, bytes) == network)
        // Other objects of format 2 are of a later version.
        #expect(throws: AgentError.self) { try StoredJSON.read(BlockObject.self, "k", Array(#"{"v":2,"node":"x","fence":1}"#.utf8)) }
        let newer = Array(text.replacing(#""v":2"#, with: #""v":3"#).utf8)
        let error = #expect(throws: AgentError.self) { try StoredJSON.read(NetworkObject.self, key, newer) }
        #expect(error?.description.contains("format 3") == true)
        // A mode of a later version is not taken for another.
        let other = Array(text.replacing("switched", with: "folded").utf8)
        #expect(throws: AgentError.self) { try StoredJSON.read(NetworkObject.self, key, other) }
    }

    @Test("an object of groups that is not what its key says, or has what is no group, is junk")
    func junk() throws {
        let network = NetworkID(random: 7), node = NodeID(random: 1)
        let object = GroupsObject(network: network, node: node, listened: [try #require(IPAddress("239.1.1.1"))])
        let key = StoreKey.groups(network, node)
        guard case .groups(network, node, object)? = try ClusterView.Object(key: key, value: StoredJSON.encode(object)) else {
            Issue.record("\(key) is not read")
            return
        }
        let foreign = StoreKey.groups(network, NodeID(random: 2))
        #expect(throws: AgentError.self) { try ClusterView.Object(key: foreign, value: StoredJSON.encode(object)) }
        var wrong = object
        wrong.groups = [try #require(IPAddress("10.0.0.1"))]
        #expect(throws: AgentError.self) { try ClusterView.Object(key: key, value: StoredJSON.encode(wrong)) }
    }
}
