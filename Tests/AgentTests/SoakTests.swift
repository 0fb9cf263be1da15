import Addressing
import Agent
import Fabric
import Foundation
import TestKit
import Testing

/// Four nodes on one small network, containers coming and going at random, several at once, some with fixed addresses.
enum Chaos {
    static func addresses(seed: UInt64, rounds: Int) async throws {
        var random = SeededRandom(seed: seed)
        let (cluster, nodes) = try await TestCluster.of(4)
        // Small, so that blocks run out and addresses are lent.
        var docker = [try await nodes[0].createNetwork("tiny", subnet: "10.32.0.0/26")]
        for node in nodes.dropFirst() {
            try await eventually { await node.controller.view.network(name: "tiny") != nil }
            docker.append(try await node.mirror(try #require(await node.controller.view.network(name: "tiny"))))
        }
        var live: [IPAddress: (name: String, node: Int)] = [:]
        var count = 0
        for _ in 0..<rounds {
            // A few nodes at once.
            let wishes = (0..<4).filter { _ in Bool.random(using: &random) }
            let fixed = IPAddress(v4: 0x0a20_0000 + UInt32.random(in: 2..<62, using: &random))
            let isFixed = Int.random(in: 0..<4, using: &random) == 0
            let names = wishes.map { node -> (Int, String) in
                count += 1
                return (node, "c\(count)")
            }
            let given = await withTaskGroup(of: (IPAddress, String, Int)?.self) { [nodes, docker] group in
                for (node, name) in names {
                    group.addTask {
                        guard let address = try? await nodes[node].run(name, on: docker[node], address: isFixed ? fixed : nil)
                        else { return nil }
                        return (address, name, node)
                    }
                }
                var all: [(IPAddress, String, Int)] = []
                for await one in group { if let one { all.append(one) } }
                return all
            }
            for (address, name, node) in given {
                #expect(live[address] == nil, "\(address) given to \(name) and \(live[address]?.name ?? "")")
                live[address] = (name, node)
            }
            let leaving = live.keys.sorted().filter { _ in Int.random(in: 0..<5, using: &random) == 0 }
            for address in leaving {
                guard let (name, node) = live.removeValue(forKey: address) else { continue }
                try await nodes[node].remove(name, on: docker[node], address: address)
            }
        }
        #expect(count > rounds)
        await cluster.end()
    }
}

/// The same for long: `make soak`.
@Suite("Soak", .enabled(if: ProcessInfo.processInfo.environment["TULLE_SOAK"] != nil, "a long load: make soak"))
struct SoakTests {
    @Test("no address is ever given twice in a long time", arguments: 0..<50 as Range<UInt64>)
    func addresses(seed: UInt64) async throws { try await Chaos.addresses(seed: 1000 + seed, rounds: 400) }
}
