/// Nodes that are in the store and never answer, many changes in one instant, a node that wakes after its removal.
import Addressing
import Agent
import Fabric
import Glibc
import LocalAPI
import TestKit
import Testing

extension Fault {
    static let nodes = [dead, burst, woken]

    /// 200 nodes with blocks and leases, of which nothing is ever heard.
    private static let dead = Fault(
        name: "dead-nodes", parts: [.store], lasts: .seconds(3), within: .seconds(20), isShort: true,
        inject: { scene in
            let network = try await scene.network()
            let made = try await DeadNodes.objects(count: 200, on: network, scene.truth.view())
            // etcd takes so many changes at once.
            for start in stride(from: 0, to: made.count, by: 500) { try await scene.truth.commit(Array(made[start..<min(start + 500, made.count)])) }
        },
        meanwhile: { scene in
            try await eventually("everybody knows of them", within: .seconds(10)) {
                for host in hosts where try await host.agent.status().cluster?.nodesTotal != 203 { return false }
                return true
            }
            for host in hosts { #expect(try await host.agent.status().cluster?.nodesAlive == 3) }
            try await scene.expectWell(within: .seconds(10))
        },
        heal: { scene in
            let all = try await DeadNodes.known(scene.truth.view())
            for node in all.prefix(20) { _ = try await h2.agent.removeNode(node.id.description) }
            // As if whoever removed the others died before it could clear up after them.
            let marked = try all.dropFirst(20).map { node in
                var gone = node
                gone.removed = time(nil)
                return (key: StoreKey.node(node.id), value: Optional(try StoredJSON.encode(gone)))
            }
            try await scene.truth.commit(marked)
            scene.mending.mark()
            try await DeadNodes.forget(scene)
        })

    /// Twenty addresses appear in one transaction, and vanish by one range delete; five times.
    private static let burst = Fault(
        name: "burst-and-range-delete", parts: [.store], lasts: .seconds(1), within: .seconds(10), isShort: true,
        inject: { scene in
            let network = try await scene.network()
            for _ in 0..<5 {
                try await scene.truth.commit(DeadNodes.addresses(count: 20, on: network, epoch: scene.truth.view().epoch))
                try await scene.expectWell(within: .seconds(5))
                try await scene.truth.deleteRange(StoreKey.addresses(of: network.id) + DeadNodes.addressPrefix)
                try await scene.expectWell(within: .seconds(5))
            }
        },
        heal: { scene in
            try await scene.truth.deleteRange(StoreKey.addresses(of: scene.network().id) + DeadNodes.addressPrefix)
            try await scene.truth.deleteRange(StoreKey.nodes + DeadNodes.mark)
        })

    /// Its agent stands still while it is removed. What it has must not be delivered to, whoever has its addresses now.
    private static let woken = Fault(
        name: "removed-node-wakes", parts: [.host(3), .store], bars: [3], cuts: { $0 == 3 || $1 == 3 }, lasts: .seconds(2), within: .seconds(30), isShort: true,
        inject: { _ in
            try h3.stop("agent", "STOP")
            _ = try await h1.agent.removeNode("h3")
        },
        meanwhile: { scene in
            let address = try Stage.web3.address(on: Stage.network)
            let heir = try h2.runContainer("heir", on: Stage.network, "--ip \(address)")
            try await Stage.web1.mustReach(address)
            try await scene.expectWell(within: .seconds(10), except: [3], and: [heir])
            try h3.stop("agent", "CONT")
            try await eventually("it knows", within: .seconds(15)) {
                try await h3.agent.status().problems.contains { $0.contains("this node was removed from the cluster") }
            }
            // (A ping that does not arrive takes a second itself.)
            try await eventually("its containers are cut off", within: .seconds(1)) {
                try !Stage.web3.reaches(Stage.web1.address(on: Stage.network))
            }
            let refusal = try h3.dockerRefuses("run --name never --network \(Stage.network) lab true")
            #expect(refusal.contains("removed from the cluster"), "\(refusal)")
            _ = try? h3.docker("rm -f never")
            try await Stage.web1.mustReach(address)
            try heir.remove()
        },
        heal: { scene in
            try h3.stop("agent", "CONT")
            try Stage.web3.remove()
            try h3.stopAgent()
            try h3.tulle("reset --yes")
            // (A removal that was not noticed before the end leaves the state directory to the next start.)
            try await h3.joinAsTest(h1)
            scene.mending.mark()
            try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
            try await networkIsEverywhere(Stage.network, within: .seconds(10))
            try await eventually("it has the cluster's network", within: .seconds(10)) { try await h3.agent.status().problems.isEmpty }
            try h3.runContainer("web3", on: Stage.network, Stage.privileged)
        })
}

extension FaultScene {
    func network() async throws -> NetworkObject { try #require(try await truth.view().network(name: Stage.network)) }

    /// As the checker wants it, while the fault lasts.
    func expectWell(within limit: Duration, except skipped: Set<Int> = [], and more: [Container] = []) async throws {
        try await eventually("all is as the store says", within: limit) {
            let left = try await checker.differences(acknowledged: more, networks: [], except: skipped)
            guard left.isEmpty else { throw LabFailure(left.joined(separator: "\n")) }
            return true
        }
    }
}

/// Objects of nodes that were never there.
enum DeadNodes {
    /// Their ids begin with it.
    static let mark = "dead0000-0000-4000-8000-"
    /// A part of the stage's subnet where nobody has a block.
    static let addressPrefix = "10.32.0."

    static func id(_ number: Int) -> NodeID? { NodeID(mark + String(repeating: "0", count: 12 - String(number).count) + String(number)) }
    static func known(_ view: ClusterView) -> [NodeObject] { view.nodes.values.filter { $0.id.description.hasPrefix(mark) } }

    /// Takes their marks away, which would stay for a month and slow down what follows; only when nothing is left that hangs on them.
    static func forget(_ scene: FaultScene) async throws {
        try await eventually("nothing of them is left", within: .seconds(20)) {
            let view = try await scene.truth.view()
            let owners = view.blocks.values.flatMap(\.values).map(\.node) + view.leases.keys
            return known(view).isEmpty && !owners.contains { $0.description.hasPrefix(mark) }
        }
        try await scene.truth.deleteRange(StoreKey.nodes + mark)
    }

    /// - Parameter epoch: the store's, in which it was heard.
    private static func node(_ number: Int, epoch: UInt64) throws -> NodeObject {
        let digits = String(number)
        let id = try #require(NodeID(mark + String(repeating: "0", count: 12 - digits.count) + digits))
        // Of the addresses that documentation may name (RFC 5737).
        let place = IPAddress(v4: 0xc633_6400 + UInt32(number))
        var object = NodeObject(id: id, name: "dead\(number)", underlay: place, mtu: 1500, agent: "\(place):7940", version: "0.2.0", instance: "dead")
        if epoch > 1 { object.epoch = epoch }
        return object
    }

    /// Each has a block of either family, and a lease that nobody renews.
    static func objects(count: Int, on network: NetworkObject, _ view: ClusterView) throws -> [(key: String, value: [UInt8]?)] {
        let taken = view.blocks[network.id] ?? [:]
        let free = network.subnets.map { subnet in
            let step = UInt128(1) << UInt128(subnet.prefix.family.width - subnet.blockLength)
            let blocks = (1...count + taken.count).map { number in
                IPPrefix(
                    containing: IPAddress(subnet.prefix.family, bits: subnet.prefix.first.bits + UInt128(number) * step),
                    length: subnet.blockLength)
            }
            return Array(blocks.filter { taken[$0] == nil }.prefix(count))
        }
        return try (1...count).flatMap { number in
            let node = try node(number, epoch: view.epoch)
            var changes: [(key: String, value: [UInt8]?)] = [
                (StoreKey.node(node.id), try StoredJSON.encode(node)),
                (StoreKey.lease(node.id), try StoredJSON.encode(LeaseObject(node: node.id, count: 1, term: FaultLab.lease))),
            ]
            for blocks in free {
                changes.append((StoreKey.block(network.id, blocks[number - 1]), try StoredJSON.encode(BlockObject(node: node.id, fence: 1))))
            }
            return changes
        }
    }

    /// Single addresses, all one node's.
    static func addresses(count: Int, on network: NetworkObject, epoch: UInt64) throws -> [(key: String, value: [UInt8]?)] {
        let node = try node(1, epoch: epoch)
        let addresses = (1...count).map { IPAddress(v4: 0x0a20_0000 + UInt32($0) + 1) }
        return [(StoreKey.node(node.id), try StoredJSON.encode(node))]
            + (try addresses.map { (StoreKey.address(network.id, $0), try StoredJSON.encode(AddressObject(node: node.id))) })
    }
}

extension DeadNodes {
    /// Leases, of which nobody's kernel knows: only so that there are changes.
    static func leases(count: Int, _ renewals: UInt64) throws -> [(key: String, value: [UInt8]?)] {
        try (1...count).map { number in
            let id = try node(number, epoch: 1).id
            return (StoreKey.lease(id), try StoredJSON.encode(LeaseObject(node: id, count: renewals, term: FaultLab.lease)))
        }
    }
}
