/// How long a change takes until the last kernel has it, and what it costs nodes that it does not concern: real agents and real time, on a store in the same
/// process and kernels that are values. `simulation --propagation NODES ROUNDS` prints a line a round; `bench/run` reads them.
///
/// In each round a node takes a block of a network that all other nodes have containers on, so that each gets a route: `ms` from the commit until the last kernel has it,
/// and `concerned_us` of CPU a node. Then the same on a network of two nodes: `other_us` is what it costs a node, nearly all of which it does not concern. There are no
/// sockets in between, and all nodes share the cores of one machine.
import Addressing
import Agent
import Fabric
import Glibc
import Logging
import Store
import TestKit

enum Propagation {
    fileprivate struct Node: Sendable {
        var id: NodeID
        var controller: Controller
        var kernel: ModelKernel
    }
    fileprivate struct Failure: Error { var what: String }

    static func run(nodes count: Int, rounds: Int) async -> Int32 {
        do {
            let nodes = try await start(count)
            let all = try await network("all", "10.32.0.0/13", nodes)
            // Many at once: each block makes work on all nodes that have one already, and what comes together is one pass there.
            for part in stride(from: 1, to: count, by: 100) {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for index in part..<min(part + 100, count) { group.addTask { _ = try await attach("c\(index)", to: all, on: nodes[index]) } }
                    try await group.waitForAll()
                }
            }
            try await settled(nodes, all, blocks: count - 1)
            var times: [Double] = []
            var work: [Double] = []
            for round in 0..<rounds {
                let (start, used) = (ContinuousClock.now, cpu())
                // A block of a node that had none: the change of all changes.
                let change = Change(all, number: 0x0a27_0000 + UInt32(round) << 6, of: nodes[0])
                _ = try await nodes[0].controller.store.commit(try change.transaction())
                for node in nodes.dropFirst() { try await change.arrives(node.kernel) }
                times.append(seconds(since: start))
                work.append(cpu() - used)
            }
            let two = try await network("two", "10.64.0.0/16", nodes)
            for (index, node) in nodes.suffix(2).enumerated() { _ = try await attach("t\(index)", to: two, on: node) }
            try await settled(nodes.suffix(2), two, blocks: 2)
            try await Task.sleep(for: .seconds(2))
            var idle: [Double] = []
            for round in 0..<rounds {
                let used = cpu()
                let change = Change(two, number: 0x0a40_8000 + UInt32(round) << 6, of: nodes[0])
                _ = try await nodes[0].controller.store.commit(try change.transaction())
                for node in nodes.suffix(2) { try await change.arrives(node.kernel) }
                for node in nodes { try await node.controller.reach(try await node.controller.store.list(prefix: StoreKey.cluster).revision) }
                idle.append((cpu() - used) / Double(count))
            }
            func text(_ value: Double) -> String { String(Double(Int(value * 10)) / 10) }
            for round in 0..<rounds {
                print("ms=\(text(times[round] * 1e3)) concerned_us=\(text(work[round] * 1e6 / Double(count))) other_us=\(text(idle[round] * 1e6))")
            }
            return 0
        } catch {
            print("simulation: \(error)")
            return 1
        }
    }

    private static func start(_ count: Int) async throws -> [Node] {
        let store = EmbeddedStore.inMemory()
        let cluster = await store.identity().cluster
        let log = Logger(label: "") { _ in SwiftLogNoOpLogHandler() }
        let object = ClusterObject(id: cluster, vxlanPort: 7941, vniBase: 0x100000, storeNode: nil)
        _ = try await store.commit(StoreTransaction(operations: [.put(key: StoreKey.cluster, value: try StoredJSON.encode(object), lease: nil)]))
        var nodes: [Node] = []
        for number in 0..<count {
            let (id, kernel) = (NodeID(random: UInt128(number + 1) << 64 | 7), ModelKernel())
            let reconciler = Reconciler(kernel, log: log, onDrift: { _ in }, onFailure: { _, _ in })
            let me = NodeObject(
                id: id, name: "h\(number)", underlay: IPAddress(v4: 0xac10_0000 + UInt32(number)), mtu: 1500, agent: "h\(number):7940",
                version: "bench", instance: "\(number)")
            let controller = try Controller(
                identity: .init(node: id, instance: me.instance), me: me, underlay: "eth0", settings: Settings(vxlanPort: 7941, vniBase: 0x100000),
                terms: .init(lease: 3600, forgetAfter: 3600, scopeIsGlobal: false), cluster: cluster, store: store,
                table: LocalTable(inMemory: { _ in }), replica: Replica(LocalTable(inMemory: { _ in }), log: log), reconciler: reconciler, log: log,
                hostRoutes: { [] })
            Task(priority: .medium) { await reconciler.run(controller) }
            Task(priority: .medium) { await controller.follow() }
            Task(priority: .medium) { await controller.keepRegistered() }
            Task(priority: .medium) { await controller.publish() }
            nodes.append(Node(id: id, controller: controller, kernel: kernel))
        }
        for node in nodes { try await eventually("every node is registered") { await node.controller.view.nodes.count == count } }
        for node in nodes { try await eventually("every node has its lease") { await node.controller.lease.isValid(at: bootSeconds()) } }
        return nodes
    }

    /// As an engine makes it on each node.
    private static func network(_ name: String, _ subnet: String, _ nodes: [Node]) async throws -> NetworkObject {
        for node in nodes {
            let controller = node.controller
            let pool = try await controller.requestPool(prefix: subnet, range: "", options: [:], isV6: false)
            let gateway = try await controller.requestGateway(pool.id, "")
            let asked = NetworkRequest.Pool(
                addressSpace: Controller.addressSpace, prefix: subnet, gateway: gateway.description, auxiliary: [:])
            let id = "\(name)-\(node.id)"
            try await controller.createNetwork(NetworkRequest(dockerID: id, options: [:], isInternal: false, pools: [asked]))
            try await controller.learn(id, name: name, labels: [:], isAttachable: false)
            if node.id == nodes[0].id {
                for other in nodes { try await eventually("the network is everywhere") { await other.controller.view.network(name: name) != nil } }
            }
        }
        guard let network = await nodes[0].controller.view.network(name: name) else { throw Failure(what: "network \(name) is missing") }
        return network
    }

    private static func attach(_ name: String, to network: NetworkObject, on node: Node) async throws -> IPAddress {
        let id = "\(network.displayName)-\(node.id)"
        guard let pool = await node.controller.local.engineNetworks[id]?.pools.first else { throw Failure(what: "no pool") }
        let address = try await node.controller.requestAddress(pool, nil)
        _ = try await node.controller.createEndpoint(
            EndpointRequest(dockerID: id, id: EndpointID(name), addresses: [address.description], mac: ""))
        _ = try await node.controller.join(EndpointID(name), sandbox: "/sandbox/\(name)", publishes: false)
        return address.address
    }

    private static func settled(_ nodes: some Collection<Node>, _ network: NetworkObject, blocks: Int) async throws {
        for node in nodes where await !node.controller.local.endpoints(of: network.id).isEmpty {
            try await eventually("every kernel has every block") {
                let routes = await node.kernel.states[.network(network.id)]?.routes ?? [:]
                return routes.values.filter { if case .via(_, Desired.tunnelLink) = $0 { true } else { false } }.count >= blocks - 1
            }
        }
    }

    private static func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(300)
        while try await !condition() {
            guard ContinuousClock.now < deadline else { throw Failure(what: "in vain: \(what)") }
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    private static func seconds(since start: ContinuousClock.Instant) -> Double {
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        return Double(seconds) + Double(attoseconds) / 1e18
    }

    /// Seconds that this process has used.
    private static func cpu() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }
}

/// A block that a node takes. A class: with its 128-bit address in the loop of `run` itself the runtime (6.3.1 on Linux) crashed at the next resumption.
private final class Change: Sendable {
    private let network: NetworkID
    private let block: IPPrefix
    private let node: NodeID

    init(_ network: NetworkObject, number: UInt32, of node: Propagation.Node) {
        self.network = network.id
        block = IPPrefix(containing: IPAddress(v4: number), length: 26)
        self.node = node.id
    }

    func transaction() throws -> StoreTransaction {
        let object = try StoredJSON.encode(BlockObject(node: node, fence: 1))
        return StoreTransaction(operations: [.put(key: StoreKey.block(network, block), value: object, lease: nil)])
    }

    func arrives(_ kernel: ModelKernel) async throws {
        let deadline = ContinuousClock.now + .seconds(300)
        while await !kernel.has(self) {
            guard ContinuousClock.now < deadline else { throw Propagation.Failure(what: "in vain: a kernel has the new block") }
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    fileprivate func isIn(_ states: [NamespaceID: NamespaceState]) -> Bool {
        states[.network(network)]?.routes[RouteKey(destination: block)] != nil
    }
}

extension ModelKernel {
    fileprivate func has(_ change: Change) -> Bool { change.isIn(states) }
}
