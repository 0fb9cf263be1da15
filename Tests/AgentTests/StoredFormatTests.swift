import Addressing
@testable import Agent
import Fabric
import Store
import TestKit
import Testing

/// Objects of other versions: what a newer one wrote beside, instead, or as a condition for all.
@Suite("formats of stored objects", .timeLimit(.minutes(2)))
struct StoredFormatTests {
    /// What a later version may have added anywhere.
    private static let future = #""later":{"deep":[1,{"big":18446744073709551615,"none":null}],"text":"ü"}"#

    /// With the fields of a later version in each object of the value.
    private func extended(_ value: [UInt8]) throws -> [UInt8] {
        func extended(_ tree: JSONTree) throws -> JSONTree {
            switch tree {
            case .object(let fields): .object(try fields.merging(["later": later]) { own, _ in own })
            case .array(let items): .array(try items.map(extended))
            default: tree
            }
        }
        var fields = try object(value)
        for (name, field) in fields where name == "subnets" { fields[name] = try extended(field) }
        return try StoredJSON.encode(extended(.object(fields)))
    }

    private func object(_ value: [UInt8]) throws -> [String: JSONTree] {
        guard case .object(let fields) = try StoredJSON.decode(JSONTree.self, value) else { throw Missing(what: "an object") }
        return fields
    }
    private var later: JSONTree { get throws { try #require(try object(Array("{\(Self.future)}".utf8))["later"]) } }

    /// Adds a later version's fields to an entry, and lets `change` make an agent write it anew.
    private func survives(_ key: String, in cluster: TestCluster, _ change: () async throws -> Void) async throws {
        func entry() async throws -> StoreEntry? { try await cluster.store.list(prefix: key).entries.first { $0.key == key } }
        var written: StoreEntry?
        // The agent may write it at the same moment.
        try await eventually {
            let old = try #require(try await entry(), "\(key)")
            let outcome = try await cluster.store.commit(
                StoreTransaction(
                    conditions: [.unchanged(key: key, since: old.modified)],
                    operations: [.put(key: key, value: try self.extended(old.value), lease: old.lease)]))
            guard case .committed = outcome else { return false }
            written = try await entry()
            return true
        }
        try await change()
        var found: StoreEntry?
        try await eventually {
            found = try await entry()
            return found?.modified != written?.modified
        }
        let fields = try object(try #require(found).value)
        #expect(try fields["later"] == later, "\(key): \(String(decoding: found?.value ?? [], as: UTF8.self))")
        if case .array(let subnets)? = fields["subnets"] {
            for case .object(let subnet) in subnets { #expect(try subnet["later"] == later, "\(key): \(subnet)") }
        }
    }

    @Test("what a later version added to an object survives every rewriting, at any depth")
    func unknownFields() async throws {
        let cluster = try await TestCluster(lease: 4)
        let admission = try await Admission(in: cluster, nodes: 2)
        let (one, two) = (admission.nodes[0], admission.nodes[1])
        let docker = try await one.createNetwork("shop", subnet: "10.32.0.0/28")
        try await eventually { await two.controller.view.network(name: "shop") != nil }
        let network = try #require(await two.controller.view.network(name: "shop"))
        let other = try await two.mirror(network)
        let address = try await one.run("web", on: docker)

        try await survives(StoreKey.lease(one.controller.identity.node), in: cluster) {}
        try await survives(StoreKey.node(one.controller.identity.node), in: cluster) { await one.controller.setTrust("00ff", authority: nil, believed: []) }
        try await survives(StoreKey.endpoint(network.id, EndpointID("web")), in: cluster) {
            try await one.controller.name(EndpointID("web"), "better")
        }
        let (token, _) = try await one.controller.createToken(ttl: 60, uses: 5)
        try await survives(StoreKey.token(token.id), in: cluster) { try await admission.spend(token.proof) }
        try await survives(StoreKey.cluster, in: cluster) {
            await two.controller.setTrust("00fe", authority: nil, believed: [])
            try await eventually { await one.controller.view.nodes.values.allSatisfy { $0.fingerprint != nil } }
            try await one.controller.sealIfAllCan()
        }
        // A network: its end.
        try await one.remove("web", on: docker, address: address)
        try await eventually { await one.controller.view.endpoints[network.id]?.isEmpty ?? true }
        try await survives(StoreKey.network(network.id), in: cluster) { try await one.controller.deleteNetwork(docker) }
        // And its return, when somebody came to it at that moment.
        try await eventually { await two.controller.view.networks[network.id]?.state == .removed }
        _ = other
        // A node: its removal.
        await cluster.stop(two)
        let gone = two.controller.identity.node
        try await survives(StoreKey.node(gone), in: cluster) { _ = try await one.controller.removeNode("h2") }
        await cluster.end()
    }

    @Test("a question to a block's owner keeps what a later version added, when it is answered and when it is withdrawn", arguments: [true, false])
    func question(isAnswered: Bool) async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        _ = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        let network = try #require(await nodes[0].controller.view.network(name: "shop"))
        let block = try #require(IPPrefix("10.32.9.0/26"))
        let owner = nodes[0].controller.identity.node
        let ask = BorrowObject(from: NodeID(random: 77), owner: isAnswered ? owner : NodeID(random: 78), block: block, address: IPAddress("10.32.9.7"))
        let key = StoreKey.request(network.id, "77-1")
        _ = try await cluster.store.commit(
            StoreTransaction(operations: [
                // Only living nodes are answered.
                .put(key: StoreKey.alive(ask.from), value: Array("{}".utf8), lease: nil),
                .put(key: key, value: try extended(try StoredJSON.encode(ask)), lease: nil),
            ]))
        if isAnswered {
            try await eventually { await nodes[1].controller.view.requests[network.id]?["77-1"]?.refusal != nil }
        } else {
            try await eventually { await nodes[1].controller.view.requests[network.id]?["77-1"] != nil }
            try await nodes[1].controller.rewrite(key, "withdraw") { (old: BorrowObject) in
                var old = old
                old.refusal = "withdrawn"
                return old
            }
        }
        let entry = try #require(try await cluster.store.list(prefix: key).entries.first)
        #expect(try object(entry.value)["later"] == later)
        await cluster.end()
    }

    /// Keys of each kind of object that an agent reads, with a value that only a newer version can have written.
    private func newer(_ node: NodeID, _ network: NetworkID) -> [String] {
        [
            StoreKey.node(node), StoreKey.lease(node), StoreKey.network(network), "blocks/\(network)/10.32.0.0-26", "addresses/\(network)/10.32.0.9",
            StoreKey.request(network, "1-1"), StoreKey.endpoint(network, EndpointID("e")), StoreKey.groups(network, node), StoreKey.token("00ff"), StoreKey.authority("00ff"),
        ]
    }

    @Test("an object of a newer format is named by its key, left as it is, and harms nothing else")
    func newerFormat() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let docker = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        let keys = newer(NodeID(random: 5), NetworkID(random: 6))
        let value = Array(#"{"v":3,"somethingElse":true}"#.utf8)
        for key in keys { _ = try await cluster.store.commit(StoreTransaction(operations: [.put(key: key, value: value, lease: nil)])) }
        for node in nodes {
            for key in keys {
                try await eventually { await node.controller.problems.values.contains { $0.contains(key) && $0.contains("it has format 3") } }
            }
        }
        _ = try await nodes[0].run("web", on: docker)
        try await nodes[1].createNetwork("second", subnet: "10.33.0.0/16")
        for key in keys { #expect(try await cluster.store.list(prefix: key).entries.first?.value == value, "\(key)") }
        // Without them, no problem is left.
        _ = try await cluster.store.commit(StoreTransaction(operations: keys.map { .delete(key: $0) }))
        for node in nodes { try await eventually { await node.controller.problems.isEmpty } }
        await cluster.end()
    }

    @Test("an agent's own objects of a newer format are not overwritten: it says which, and what to do")
    func ownNewer() async throws {
        let cluster = try await TestCluster(lease: 4)
        let node = try await cluster.start(1)
        try await node.ready()
        let docker = try await node.createNetwork("shop", subnet: "10.32.0.0/16")
        _ = try await node.run("web", on: docker)
        let network = try #require(await node.controller.view.network(name: "shop")).id
        let id = node.controller.identity.node
        try await eventually { await node.controller.view.endpoints[network]?.count == 1 }
        let value = Array(#"{"v":2}"#.utf8)
        let keys = [StoreKey.lease(id), StoreKey.endpoint(network, EndpointID("web")), StoreKey.node(id)]
        for key in keys { _ = try await cluster.store.commit(StoreTransaction(operations: [.put(key: key, value: value, lease: nil)])) }
        try await eventually { await node.controller.problems["registration"] != nil }
        for key in keys { try await eventually { await node.controller.problems.values.contains { $0.contains(key) && $0.contains("upgrade") } } }
        // Its name is told again: the endpoint's object is the later version's.
        try await node.controller.name(EndpointID("web"), "other")
        _ = try? await node.createNetwork("second", subnet: "10.33.0.0/16")
        for key in keys { #expect(try await cluster.store.list(prefix: key).entries.first?.value == value, "\(key)") }
        await cluster.end()
    }

    @Test("a cluster that needs more than this version can do is not followed, and 'tulle store accept' does not change that", arguments: [
        #""v":1,"needs":2"#, #""v":2"#,
    ])
    func level(fields: String) async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let node = nodes[0]
        let docker = try await node.createNetwork("shop", subnet: "10.32.0.0/16")
        _ = try await node.run("first", on: docker)
        let text = #"{"id":"\#(cluster.cluster)","vxlanPort":7941,"vniBase":1048576,\#(fields)}"#
        _ = try await cluster.store.commit(StoreTransaction(operations: [.put(key: StoreKey.cluster, value: Array(text.utf8), lease: nil)]))
        try await eventually { await node.controller.distrust != nil }
        let problem = try #require(await node.controller.problems["store-trust"])
        #expect(problem.contains(fields.contains("needs") ? "needs agents of level 2, and this one has 1" : "it has format 2"), "\(problem)")
        #expect(problem.contains("install the newer version") || problem.contains("upgrade this one"), "\(problem)")
        // What runs goes on; nothing new is asked of the store.
        _ = try await node.run("web", on: docker)
        let error = await #expect(throws: AgentError.self) { try await node.createNetwork("second", subnet: "10.33.0.0/16") }
        #expect(error?.code == .storeRefused)
        await #expect(throws: AgentError.self) { _ = try await node.controller.acceptable("accept it") }
        #expect(await node.controller.distrust != nil)
        await cluster.end()
    }
}
