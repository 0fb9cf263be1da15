@testable import Agent
import Addressing
import Fabric
import Store
import Testing

/// A copy takes the store's place that lacks the last changes: nobody loses what was acknowledged to him, and nobody gets what is another's.
@Suite("a store of a new epoch", .timeLimit(.minutes(1)))
struct EpochTests {
    /// Who has which block, by each view.
    private func owners(_ nodes: [TestCluster.Member], _ id: NetworkID) async -> [[IPPrefix: NodeID]] {
        var all: [[IPPrefix: NodeID]] = []
        for node in nodes { all.append(await (node.controller.view.blocks[id] ?? [:]).mapValues(\.node)) }
        return all
    }
    private func isHeard(_ nodes: TestCluster.Member...) async -> Bool {
        for node in nodes {
            let view = await node.controller.view
            guard view.unheard.isEmpty, view.epoch > 1 else { return false }
        }
        return true
    }
    private func follow(_ epoch: UInt64, _ nodes: TestCluster.Member...) async throws {
        for node in nodes { try await eventually { await node.controller.viewEpoch == epoch } }
    }

    @Test("what a node took after the copy was made is its own again when it comes back; until then nobody takes what looks free")
    func lateClaims() async throws {
        var (cluster, nodes) = try await TestCluster.of(3)
        let shop = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/24", ipam: ["tulle.block-size": "28"])
        try await eventually { await nodes[2].controller.view.network(name: "shop") != nil }
        let network = try #require(await nodes[0].controller.view.network(name: "shop"))
        let first = try await nodes[0].run("a1", on: shop)
        let mirror3 = try await nodes[2].createNetwork("shop", subnet: network.subnets[0].prefix.description, ipam: network.addressOptions)
        try await eventually { await nodes[2].controller.view.network(name: "shop")?.id == network.id }
        let copy = try await cluster.store.list(prefix: "")
        // Nodes 1 and 2 hear nothing of what follows.
        await cluster.stop(nodes[0])
        await cluster.stop(nodes[1])
        let late = try await nodes[2].run("c1", on: mirror3)
        let other = try await nodes[2].createNetwork("late", subnet: "10.40.0.0/16")
        let there = try await nodes[2].run("c2", on: other)
        await cluster.stop(nodes[2])
        nodes = []
        try await cluster.store.succeed(with: copy, epoch: 2_000_001)

        let one = try await cluster.startAgain(1)
        let two = try await cluster.startAgain(2)
        try await follow(2_000_001, one, two)
        try await eventually { await one.controller.view.unheard.map(\.name) == ["h3"] }
        // In its own block it goes on; what looks free it does not take.
        let second = try await one.run("a2", on: shop)
        #expect(second != first)
        let mirror2 = try await two.createNetwork("shop", subnet: network.subnets[0].prefix.description, ipam: network.addressOptions)
        await #expect(throws: AgentError.self, "fixed, in a block that looks free") { _ = try await two.run("b1", on: mirror2, address: late) }
        #expect(await two.controller.problems["unheard"]?.contains("'tulle node remove h3'") == true)

        let three = try await cluster.startAgain(3)
        try await eventually { await isHeard(one, two, three) }
        #expect(await one.controller.view.network(name: "late")?.state == .active)
        #expect(await one.controller.view.holder(of: late, in: network) == three.controller.identity.node)
        let lateNetwork = try #require(await one.controller.view.network(name: "late"))
        #expect(await one.controller.view.holder(of: there, in: lateNetwork) == three.controller.identity.node)
        #expect(await three.controller.view.networks[network.id]?.vni != lateNetwork.vni)
        // And now blocks are taken again.
        let given = try await two.run("b1", on: mirror2)
        #expect(Set([first, second, late, given]).count == 4)
        try await eventually { Set(await owners([one, two, three], network.id)).count == 1 }
        await cluster.end()
    }

    @Test("a block that a node gave back after the copy was made, and another took, belongs to the other")
    func movedBlock() async throws {
        var (cluster, nodes) = try await TestCluster.of(3)
        let shop = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/28", ipam: ["tulle.block-size": "29"])
        try await eventually { await nodes[2].controller.view.network(name: "shop") != nil }
        let network = try #require(await nodes[0].controller.view.network(name: "shop"))
        let mirror3 = try await nodes[2].createNetwork("shop", subnet: network.subnets[0].prefix.description, ipam: network.addressOptions)
        let address = try await nodes[0].run("a1", on: shop)
        let block = try #require(await nodes[0].controller.view.blocks(of: network.id, owner: nodes[0].controller.identity.node).first)
        let copy = try await cluster.store.list(prefix: "")
        // Node 2 hears nothing of what follows.
        await cluster.stop(nodes[1])
        try await nodes[0].remove("a1", on: shop, address: address)
        let node1 = nodes[0].controller.identity.node
        let key = StoreKey.block(network.id, block)
        try await eventually {
            // As the sweep does after a minute.
            _ = try await cluster.store.commit(StoreTransaction(operations: [.delete(key: key)]))
            return await nodes[0].controller.view.blocks(of: network.id, owner: node1).isEmpty
        }
        let node3 = nodes[2].controller.identity.node
        _ = try await cluster.store.commit(
            StoreTransaction(
                conditions: [.absent(key: key)],
                operations: [.put(key: key, value: try StoredJSON.encode(BlockObject(node: node3, fence: 1)), lease: nil)]))
        try await eventually {
            let owned = await nodes[2].controller.view.blocks(of: network.id, owner: node3)
            let seen = await nodes[0].controller.view.blocks(of: network.id, owner: node3)
            return owned.contains(block) && seen.contains(block)
        }
        let held = try await nodes[2].run("c1", on: mirror3)
        await cluster.stop(nodes[0])
        await cluster.stop(nodes[2])
        nodes = []
        try await cluster.store.succeed(with: copy, epoch: 2_000_001)
        // The one that took it comes first: it waits for the one that had it.
        let three = try await cluster.startAgain(3)
        try await eventually { await three.controller.problems["store-epoch"]?.contains("h1") == true }
        #expect(await three.controller.viewEpoch == 1)
        let one = try await cluster.startAgain(1)
        try await follow(2_000_001, one, three)
        try await eventually { await one.controller.view.holder(of: held, in: network) == node3 }
        #expect(await three.controller.view.holder(of: held, in: network) == node3)
        await cluster.end()
    }

    @Test("what was removed after the copy was made stays removed: networks and nodes")
    func removals() async throws {
        let (cluster, nodes) = try await TestCluster.of(3)
        let old = try await nodes[0].createNetwork("old", subnet: "10.32.0.0/16")
        try await eventually { await nodes[1].controller.view.network(name: "old") != nil }
        let id = try #require(await nodes[0].controller.view.network(name: "old")).id
        let copy = try await cluster.store.list(prefix: "")
        try await nodes[0].controller.deleteNetwork(old)
        try await eventually { await nodes[1].controller.view.networks[id]?.state == .removed }
        await cluster.stop(nodes[2])
        var gone = try #require(await nodes[1].controller.view.nodes[nodes[2].controller.identity.node])
        gone.removed = 1
        _ = try await cluster.store.commit(
            StoreTransaction(operations: [.put(key: StoreKey.node(gone.id), value: try StoredJSON.encode(gone), lease: nil)]))
        try await eventually { await nodes[1].controller.view.removed[gone.id] != nil }
        try await cluster.store.succeed(with: copy, epoch: 3_000_001)
        try await follow(3_000_001, nodes[0], nodes[1])
        try await eventually { await isHeard(nodes[0]) }
        #expect(await nodes[0].controller.view.networks[id]?.state == .removed)
        #expect(await nodes[0].controller.view.removed[gone.id] != nil)
        // Its name and subnet are free.
        _ = try await nodes[1].createNetwork("old", subnet: "10.32.0.0/16", dockerID: "docker-again")
        await cluster.end()
    }

    @Test("the store of a lower epoch is not believed: it was replaced")
    func fenced() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let copy = try await cluster.store.list(prefix: "")
        try await cluster.store.succeed(with: copy, epoch: 5_000_001)
        try await follow(5_000_001, nodes[0])
        try await eventually { await isHeard(nodes[0]) }
        try await cluster.store.succeed(with: copy, epoch: 4_999_999)
        try await eventually { await nodes[0].controller.distrust?.contains("epoch 4999999") == true }
        #expect(await nodes[0].controller.viewEpoch == 5_000_001)
        await #expect(throws: AgentError.self, "not even if a person says so") { _ = try await nodes[0].controller.acceptable("accept it") }
        #expect(await nodes[0].controller.viewEpoch == 5_000_001)
        await cluster.end()
    }

    @Test("what was decided by the store before is not written to the one in its place, though the watch has yet to notice")
    func unnoticed() async throws {
        var (cluster, nodes) = try await TestCluster.of(2)
        let shop = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/24", ipam: ["tulle.block-size": "28"])
        try await eventually { await nodes[1].controller.view.network(name: "shop") != nil }
        let network = try #require(await nodes[0].controller.view.network(name: "shop"))
        let copy = try await cluster.store.list(prefix: "")
        let second = nodes.removeLast()
        await cluster.stop(second)
        try await cluster.store.succeed(with: copy, epoch: 2_000_001, isNoticed: false)

        // Who holds that address is not known in the new epoch: the second node was not heard.
        let address = try #require(IPAddress("10.32.0.77"))
        await #expect(throws: AgentError.self) { _ = try await nodes[0].run("a1", on: shop, address: address) }
        #expect(try await cluster.store.list(prefix: StoreKey.addresses(of: network.id)).entries.isEmpty)
        #expect(try await cluster.store.list(prefix: StoreKey.endpoints).entries.isEmpty)
        await cluster.store.endFormer()
        try await follow(2_000_001, nodes[0])
        await cluster.end()
    }

    @Test("who was cut off in the middle of bringing brings the rest when it starts again")
    func brokenOff() async throws {
        var (cluster, nodes) = try await TestCluster.of(2)
        let shop = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        let copy = try await cluster.store.list(prefix: "")
        let address = try await nodes[0].run("a1", on: shop)
        let network = try #require(await nodes[0].controller.view.network(name: "shop"))
        let node = nodes[0].controller.identity.node
        await cluster.stop(nodes[0])
        await cluster.stop(nodes[1])
        nodes = []
        try await cluster.store.succeed(with: copy, epoch: 2_000_001)
        // Cut off and back, at every call.
        for calls in 1..<12 {
            cluster.store.callsLeft = calls
            let agent: TestCluster.Member = try await cluster.startAgain(1)
            try await eventually {
                let epoch = await agent.controller.viewEpoch
                return epoch > 1 || cluster.store.callsLeft == 0
            }
            cluster.store.callsLeft = nil
            if calls < 11 { await cluster.stop(agent) } else {
                try await eventually { await agent.controller.view.holder(of: address, in: network) == node }
                #expect(await agent.controller.viewEpoch == 2_000_001)
            }
        }
        await cluster.end()
    }

    @Test("a single address inside another's block is not given again while its owner is away")
    func single() async throws {
        var (cluster, nodes) = try await TestCluster.of(3)
        let shop = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/28", ipam: ["tulle.block-size": "29"])
        try await eventually { await nodes[2].controller.view.network(name: "shop") != nil }
        let network = try #require(await nodes[0].controller.view.network(name: "shop"))
        let mirror3 = try await nodes[2].createNetwork("shop", subnet: network.subnets[0].prefix.description, ipam: network.addressOptions)
        let copy = try await cluster.store.list(prefix: "")
        await cluster.stop(nodes[1])
        // H3 takes a fixed address in each of the two blocks, then H1 takes a block with one of them in it.
        let fixed = try await nodes[2].run("c1", on: mirror3, address: IPAddress("10.32.0.3")!)
        let fixed2 = try await nodes[2].run("c2", on: mirror3, address: IPAddress("10.32.0.11")!)
        try await eventually { await nodes[0].controller.view.addresses[network.id]?.count == 2 }
        let first = try await nodes[0].run("a1", on: shop)
        #expect(![fixed, fixed2].contains(first))
        await cluster.stop(nodes[0]); await cluster.stop(nodes[2])
        nodes = []
        try await cluster.store.succeed(with: copy, epoch: 2_000_001)
        let one = try await cluster.startAgain(1)
        try await follow(2_000_001, one)
        try await eventually { await one.controller.isRegistered }
        #expect(await !one.controller.view.unheard.isEmpty)
        var given: Set<IPAddress> = [first]
        for i in 0..<5 { if let a = try? await one.run("x\(i)", on: shop) { #expect(given.insert(a).inserted) } }
        #expect(!given.contains(fixed) && !given.contains(fixed2), "given \(given.sorted()) while h3 has \(fixed), \(fixed2)")
        await cluster.end()
    }

    @Test("a lent address is not taken back while its borrower is away")
    func lent() async throws {
        var (cluster, nodes) = try await TestCluster.of(2)
        let shop = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/28", ipam: ["tulle.block-size": "28"])
        try await eventually { await nodes[1].controller.view.network(name: "shop") != nil }
        let network = try #require(await nodes[0].controller.view.network(name: "shop"))
        let mirror = try await nodes[1].createNetwork("shop", subnet: network.subnets[0].prefix.description, ipam: network.addressOptions)
        _ = try await nodes[0].run("a1", on: shop)
        let copy = try await cluster.store.list(prefix: "")
        let lent = try await nodes[1].run("b1", on: mirror)
        try await eventually { await nodes[0].controller.view.addresses[network.id]?[lent] != nil }
        await cluster.stop(nodes[1]); await cluster.stop(nodes[0])
        nodes = []
        try await cluster.store.succeed(with: copy, epoch: 2_000_001)
        let one = try await cluster.startAgain(1)
        try await follow(2_000_001, one)
        try await eventually { await one.controller.isRegistered }
        let note = await one.controller.local.allocations[network.id]?[lent]
        #expect(note?.lentTo != nil)
        #expect(await one.controller.view.addresses[network.id]?[lent] != nil, "the store does not know that \(lent) is lent: the sweep frees it 60 s after it was lent")
        await cluster.end()
    }

    @Test("a node that the copy does not know, and that was removed, stays removed")
    func removedUnknown() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let copy = try await cluster.store.list(prefix: "")
        let three = try await cluster.start(3)
        try await three.ready()
        let id = three.controller.identity.node
        try await eventually { await nodes[0].controller.view.nodes[id] != nil }
        await cluster.stop(three)
        var gone = try #require(await nodes[0].controller.view.nodes[id])
        gone.removed = 1
        _ = try await cluster.store.commit(
            StoreTransaction(operations: [.put(key: StoreKey.node(id), value: try StoredJSON.encode(gone), lease: nil)]))
        for node in nodes { try await eventually { await node.controller.view.removed[id] != nil } }
        try await cluster.store.succeed(with: copy, epoch: 2_000_001)
        try await follow(2_000_001, nodes[0], nodes[1])
        #expect(await nodes[0].controller.view.removed[id] != nil, "removed stays removed")
        await cluster.end()
    }

    @Test("a name that was taken again after the copy was made is the later network's", arguments: 0..<6)
    func again(_ round: Int) async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let old = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        let copy = try await cluster.store.list(prefix: "")
        try await nodes[0].controller.deleteNetwork(old)
        let new = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16", dockerID: "docker-again")
        let id = try #require(await nodes[0].controller.view.network(name: "shop")).id
        let a = try await nodes[0].run("a1", on: new)
        _ = a
        try await cluster.store.succeed(with: copy, epoch: 2_000_001)
        try await follow(2_000_001, nodes[0])
        #expect(await nodes[0].controller.view.networks[id]?.state == .active)
        await cluster.end()
    }

    @Test("a node that joined after the copy was made is waited for, and its addresses are given to nobody")
    func unknownNode() async throws {
        var (cluster, nodes) = try await TestCluster.of(2)
        let shop = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/28", ipam: ["tulle.block-size": "29"])
        let network = try #require(await nodes[0].controller.view.network(name: "shop"))
        let copy = try await cluster.store.list(prefix: "")
        let three = try await cluster.start(3)
        try await three.ready()
        try await eventually { await three.controller.view.network(name: "shop") != nil }
        let mirror3 = try await three.createNetwork("shop", subnet: network.subnets[0].prefix.description, ipam: network.addressOptions)
        let late = try await three.run("c1", on: mirror3)
        try await eventually { await (nodes[0].controller.view.blocks[network.id] ?? [:]).count == 1 }
        try await eventually { await nodes[0].controller.view.nodes.count == 3 }
        // Only h3's agent is away; h1 and h2 know of it and its block.
        await cluster.stop(three)
        try await cluster.store.succeed(with: copy, epoch: 2_000_001)
        try await follow(2_000_001, nodes[0], nodes[1])
        try await eventually { await nodes[0].controller.isRegistered }
        var given: [IPAddress] = []
        for i in 0..<12 { if let a = try? await nodes[0].run("x\(i)", on: shop) { given.append(a) } else { break } }
        #expect(!given.contains(late), "given \(given) while h3 has \(late)")
        await cluster.end()
    }

    @Test("who has a block that a removed node had in the copy keeps it")
    func removedOwner() async throws {
        let (cluster, nodes) = try await TestCluster.of(2)
        let shop = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/28", ipam: ["tulle.block-size": "29"])
        let network = try #require(await nodes[0].controller.view.network(name: "shop"))
        try await eventually { await nodes[1].controller.view.network(name: "shop") != nil }
        let mirror = try await nodes[1].createNetwork("shop", subnet: network.subnets[0].prefix.description, ipam: network.addressOptions)
        _ = try await nodes[1].run("b1", on: mirror)
        let two = nodes[1].controller.identity.node
        let block = try #require(await nodes[1].controller.view.blocks(of: network.id, owner: two).first)
        try await eventually { await nodes[0].controller.view.blocks[network.id]?[block]?.node == two }
        let copy = try await cluster.store.list(prefix: "")
        await cluster.stop(nodes[1])
        var gone = try #require(await nodes[0].controller.view.nodes[two])
        gone.removed = 1
        _ = try await cluster.store.commit(
            StoreTransaction(operations: [.put(key: StoreKey.node(two), value: try StoredJSON.encode(gone), lease: nil)]))
        let one = nodes[0].controller.identity.node
        try await eventually { await nodes[0].controller.view.blocks[network.id]?[block] == nil }
        for i in 0..<9 { _ = try? await nodes[0].run("x\(i)", on: shop) }
        try #require(await nodes[0].controller.view.blocks[network.id]?[block]?.node == one)
        try await cluster.store.succeed(with: copy, epoch: 2_000_001)
        try await follow(2_000_001, nodes[0])
        await cluster.end()
    }
}
