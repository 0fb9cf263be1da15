import Addressing
@testable import Agent
import Fabric
import Glibc
import Logging
import Store
import TestKit
import Testing

/// Whatever somebody puts under the store's keys is read, refused or left out, and what is read can be worked with.
@Suite("junk in the store", .timeLimit(.minutes(2)))
struct StoredObjectFuzzTests {
    private static let node = NodeID(random: 5), network = NetworkID(random: 6)

    /// A good object of each kind.
    private static func objects() throws -> [(key: String, value: [UInt8])] {
        let v4 = try #require(IPPrefix("10.32.0.0/16")), v6 = try #require(IPPrefix("fd00:32::/64"))
        var subnet = Subnet(prefix: v4, gateway: v4.address, range: IPPrefix("10.32.4.0/22"), auxiliary: ["router": IPAddress(v4: 0x0a20_0009)])
        subnet.pool = "tulle/10.32.0.0/16"
        var made = NetworkObject(
            id: network, key: "k", name: "shop", state: .active, vni: try #require(VNI(0x100000)), subnets: [subnet, Subnet(prefix: v6, gateway: v6.address)],
            isInternal: false, mtu: 1400, options: ["a": "b"], addressOptions: [:], origin: node, dockerID: "d")
        made.removed = 5
        var member = NodeObject(
            id: node, name: "h1", underlay: IPAddress(v4: 0xc0a8_6301), mtu: 1500, agent: "192.168.99.1:7940", version: "1", instance: "x")
        (member.fingerprint, member.removed) = ("00", 7)
        var cluster = ClusterObject(id: "c", vxlanPort: 7941, vniBase: 0x100000, storeNode: node)
        (cluster.isSealed, cluster.needs) = (true, 1)
        let token = TokenObject(id: "00ff", hash: "h", created: 1, expires: 2, uses: 3).admitting("n k")
        func encoded(_ key: String, _ value: some Codable) throws -> (String, [UInt8]) { (key, try StoredJSON.encode(value)) }
        return [
            try encoded(StoreKey.cluster, cluster), try encoded(StoreKey.node(node), member), try encoded(StoreKey.network(network), made),
            try encoded(StoreKey.lease(node), LeaseObject(node: node, count: .max, term: 600)), (StoreKey.alive(node), Array("{}".utf8)),
            try encoded(StoreKey.block(network, try #require(IPPrefix("10.32.0.0/26"))), BlockObject(node: node, fence: .max)),
            try encoded(StoreKey.address(network, IPAddress(v4: 0x0a20_0007)), AddressObject(node: node)),
            try encoded(StoreKey.request(network, "1-1"), BorrowObject(from: node, owner: node, block: v4, address: v4.address)),
            try encoded(
                StoreKey.endpoint(network, EndpointID("e")),
                EndpointObject(id: EndpointID("e"), network: network, node: node, name: "web", addresses: [v4.address], mac: MACAddress(bits: 7), created: 9)),
            try encoded(StoreKey.token("00ff"), token),
            try encoded(StoreKey.authority("00"), AuthorityObject(fingerprint: "00", certificate: "PEM", node: node, created: 3)),
        ]
    }

    private static let pieces = [
        "null", "-1", "0", "9223372036854775807", "18446744073709551615", "1e400", "0.5", "true", "\"\"", "{}", "[]", "[[[[", "\"x\"", "\\u0000", "\"10.32.0.0/0\"",
        "\"::/0\"", "\"255.255.255.255/32\"", "65536", "4294967295",
    ].map { Array($0.utf8) }

    private static func damaged(_ value: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
        var text = value
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            let place = Int.random(in: 0...text.count, using: &random)
            let piece = pieces.randomElement(using: &random) ?? []
            switch Int.random(in: 0..<4, using: &random) {
            case 0 where place < text.count: text[place] = UInt8.random(in: 0 ... .max, using: &random)
            case 1: text.removeSubrange(place..<min(text.count, place + Int.random(in: 0...12, using: &random)))
            case 2: text.insert(contentsOf: piece, at: place)
            default:
                // A value in place of another.
                guard let colon = text.indices.filter({ text[$0] == UInt8(ascii: ":") }).randomElement(using: &random) else { continue }
                let end = text[(colon + 1)...].firstIndex { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "}") } ?? text.endIndex
                text.replaceSubrange(colon + 1..<end, with: piece)
            }
        }
        return text
    }

    @Test("damaged objects of each kind, under damaged keys, never trap, nor does what is made of those that pass", arguments: 1...6 as ClosedRange<UInt64>)
    func fuzz(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let good = try Self.objects()
        for (key, value) in good { #expect(try ClusterView.Object(key: key, value: value) != nil, "\(key)") }
        let me = NodeObject(id: Self.node, name: "h1", underlay: IPAddress(v4: 0xc0a8_6301), mtu: 1500, agent: "a", version: "1", instance: "x")
        var accepted = 0
        for round in 0..<300 {
            var view = ClusterView()
            for (key, value) in good {
                let isWhole = Int.random(in: 0..<3, using: &random) == 0
                let bad = isWhole ? value : Self.damaged(value, &random)
                let name = Int.random(in: 0..<10, using: &random) == 0 ? String(decoding: Self.damaged(Array(key.utf8), &random), as: UTF8.self) : key
                guard let object = try? ClusterView.Object(key: name, value: bad) else { continue }
                accepted += 1
                _ = view.set(object)
                let entry = StoreEntry(key: name, value: bad, created: .zero, modified: .zero, lease: nil)
                do {
                    if case .node(_, let node?) = object { _ = try StoredJSON.encode(node, over: entry) }
                    if case .network(_, let network?) = object { _ = try StoredJSON.encode(network, over: entry) }
                } catch {
                    // A number that cannot be kept, of an unknown field.
                    #expect((error as? AgentError)?.description.contains(name) == true, "\(error)")
                }
                // Its deletion is none of junk.
                _ = try ClusterView.Object(key: name, value: nil)
            }
            let settings = Settings(vxlanPort: view.cluster?.vxlanPort ?? 1, vniBase: view.cluster?.vniBase ?? 1)
            for network in view.networks.values {
                _ = (view.mtu(of: network, me: me), Desired.remote(network, view: view, me: me, settings: settings), network.displayName)
                for block in (view.blocks[network.id] ?? [:]).keys { _ = view.holder(of: block.address, in: network) }
            }
            _ = Desired.host(view: view, me: me, networks: Array(view.networks.values), unknown: [], underlay: "eth0", settings: settings)
            _ = (view.freeVNI(base: settings.vniBase), view.authority, view.possessions(of: [Self.node]))
            for token in view.tokens.values { _ = (token.state(at: round), token.admitting("x")) }
        }
        #expect(accepted > 300)
    }

    @Test("a key that is none, and a value that is another key's, are named; nothing is written there, and the rest works")
    func keys() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let junk = [
            "nodes/not-a-uuid", "networks/zz", "blocks/\(Self.network)/10.0.0.0", "addresses/x/10.0.0.1", "endpoints/y/e", "requests/z/1", "leases/", "alive/%FF",
            StoreKey.node(Self.node), StoreKey.lease(Self.node), StoreKey.network(Self.network), StoreKey.token("ab"),
        ]
        // As it would be for somebody else, or for nobody.
        let other = Dictionary(uniqueKeysWithValues: try Self.objects().map { ($0.key.split(separator: "/")[0], $0.value) })
        for key in junk {
            var value = other[key.split(separator: "/")[0]] ?? []
            let text = String(decoding: value, as: UTF8.self)
            value = Array(text.split(separator: Self.node.description).joined(separator: NodeID(random: 9).description)
                .split(separator: Self.network.description).joined(separator: NetworkID(random: 9).description).utf8)
            _ = try await cluster.store.commit(StoreTransaction(operations: [.put(key: key, value: value, lease: nil)]))
        }
        for node in nodes {
            for key in junk { try await eventually { await node.controller.problems.values.contains { $0.contains("key \(key):") } } }
        }
        let before = try await cluster.store.list(prefix: "").entries.filter { junk.contains($0.key) }
        let docker = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        _ = try await nodes[0].run("web", on: docker)
        try await eventually { await nodes[1].controller.view.network(name: "shop") != nil }
        #expect(try await cluster.store.list(prefix: "").entries.filter { junk.contains($0.key) } == before)
        await cluster.end()
    }

    @Test("of thousands of junk keys the first hundred are named, and the log has no line for each of the others")
    func many() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        for start in stride(from: 0, to: 3_000, by: 500) {
            let operations = (start..<start + 500).map { StoreOperation.put(key: "nodes/junk\($0)", value: Array("{}".utf8), lease: nil) }
            _ = try await cluster.store.commit(StoreTransaction(operations: operations))
        }
        try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        let problems = await nodes[0].controller.problems
        #expect(problems.count == 101 && problems.values.contains { $0.hasPrefix("more than 100 keys") }, "\(problems.count)")
        #expect(cluster.said.all.count < 150)
        await cluster.end()
    }

    @Test("values of the largest size the store takes are read, and one byte more is refused with the size")
    func largest() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let docker = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        let id = try #require(await nodes[0].controller.view.network(name: "shop")).id
        let key = StoreKey.network(id)
        let entry = try #require(try await cluster.store.list(prefix: key).entries.first)
        func sized(_ bytes: Int) -> [UInt8] { Array(entry.value.dropLast()) + Array(#","later":""#.utf8) + Array(repeating: 0x78, count: bytes - entry.value.count - 11) + Array("\"}".utf8) }
        _ = try await cluster.store.commit(StoreTransaction(operations: [.put(key: key, value: sized(StoreLimits.valueBytes), lease: nil)]))
        _ = try await nodes[0].run("web", on: docker)
        try await eventually { await nodes[1].controller.view.endpoints[id]?.count == 1 }
        let error = await #expect(throws: StoreError.self) {
            _ = try await cluster.store.commit(StoreTransaction(operations: [.put(key: key, value: sized(StoreLimits.valueBytes + 1), lease: nil)]))
        }
        #expect(error?.code == .invalid && error?.description.contains(key) == true, "\(error?.description ?? "")")
        // Its end is a rewriting that would be too large by some bytes: it is told, and nothing is lost.
        await cluster.end()
    }

    // MARK: The agent's own rows

    @Test("a row of agent.db of a newer version, or a damaged one, is refused by its name, and the file is left as it is", arguments: [
        "membership", "engine/x", "pool/x", "endpoint/x", "removed", "allocation/\(network)/10.32.0.7",
    ])
    func rows(key: String) throws {
        let path = "/tmp/tulle-rows-\(UInt64.random(in: .min ... .max)).db"
        defer { for end in ["", "-wal", "-shm"] { unlink(path + end) } }
        for (value, cause) in [(#"{"v":2}"#, "has format 2, and this version knows 1"), (#"{"v":1}"#, "is not understood"), ("x", "is not understood")] {
            let table = try LocalTable(path: path)
            try table.put(key, Array(value.utf8))
            let error = #expect(throws: AgentError.self) {
                _ = try Membership.load(table)
                _ = try LocalState(table, now: 0)
            }
            #expect(error?.cause.contains(key) == true && error?.cause.contains(cause) == true, "\(error?.description ?? "")")
            #expect(error?.remedy.contains("start that one") == true)
            #expect(try table.value(key) == Array(value.utf8))
        }
    }
}
