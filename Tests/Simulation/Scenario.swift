/// What happens in one seed: users' commands and accidents in an order and at times that the seed gives, then peace, and then everything must agree.
import Addressing
import Agent
import Docker
import Fabric
import Store

final class Scenario: @unchecked Sendable {
    let world: World
    /// Commands that are not answered yet.
    private var open = 0
    /// Names of networks whose creation was acknowledged and whose removal nobody asked for.
    private var promised: Set<String> = []
    private var unpromised: Set<String> = []

    init(_ world: World) { self.world = world }

    private var plan: Plan { world.plan }

    func run() async {
        await begin()
        let end = Executor.shared.seconds + plan.length
        while Executor.shared.seconds < end {
            let isBurst = plan.faults.contains(.burst) && world.chance(2)
            for _ in 0..<(isBurst ? 20 : 1) { step() }
            try? await Task.sleep(for: world.seconds(0...(2 * plan.pause)))
        }
        await peace()
        await settle("S3", within: 100) { [self] in await world.checker.disagreements(world) }
        await keepsPromises()
        if plan.isCleared, world.failures.isEmpty { await clear() }
    }

    private func begin() async {
        let object = ClusterObject(id: world.center.identity.cluster, vxlanPort: 7941, vniBase: 0x100000, storeNode: world.hosts[0].id)
        if let value = try? StoredJSON.encode(object) {
            _ = try? await world.center.engine.commit(StoreTransaction(operations: [.put(key: StoreKey.cluster, value: value, lease: nil)]))
        }
        for host in world.hosts {
            host.start()
            try? await Task.sleep(for: world.seconds(0...(plan.hosts > 50 ? 0.02 : 0.3)))
        }
        try? await Task.sleep(for: .seconds(1))
    }

    private func step() {
        if world.chance(plan.faults.isEmpty ? 0 : 12), let fault = world.pick(plan.faults.sorted { $0.rawValue < $1.rawValue }) {
            Accidents.cause(fault, in: world)
        } else {
            command()
        }
    }

    // MARK: Commands

    private func command() {
        guard let host = world.pick(world.hosts) else { return }
        let networks = host.engine.networks.values.filter { !$0.isHidden }.sorted { $0.id < $1.id }
        let containers = host.engine.containers.values.filter { $0.isJoined && !$0.isEnding }.sorted { $0.name < $1.name }
        switch world.number(0..<100) {
        case ..<12: create(on: host)
        case ..<15: if let net = world.pick(networks) { remove(net, on: host) }
        case ..<65:
            guard let net = world.pick(networks) else { return create(on: host) }
            let prefix = net.pools.first?.prefix
            var wanted: IPAddress?
            if world.chance(20), let prefix { wanted = prefix.first.advanced(by: UInt128(world.number(2..<Int(min(prefix.count, 40))))) }
            let address = wanted
            type("run on \(net.spec.name)\(wanted.map { " --ip \($0)" } ?? "")", on: host) { _ = try await host.engine.run(on: net.id, address: address) }
        default:
            guard let container = world.pick(containers) else { return }
            type("rm \(container.name)", on: host) { await host.engine.end(container.name) }
        }
    }

    private func create(on host: Host) {
        let number = world.number(0..<plan.names)
        let name = "n\(number)"
        // Now and then somebody gives it another subnet.
        let second = world.chance(5) ? 100 : 32
        let subnet = "10.\(second + number).0.0/\(plan.subnetLength)"
        let specification = EngineNetworkSpec(
            name: name, driver: "tulle", ipam: EngineIPAM(driver: "tulle", subnets: [.init(subnet: subnet)]))
        type("network create \(name) \(subnet)", on: host) { [self] in
            _ = try await host.engine.create(specification)
            if !unpromised.contains(name) { promised.insert(name) }
        }
    }

    private func remove(_ net: SimulatedEngine.Net, on host: Host) {
        promised.remove(net.spec.name)
        unpromised.insert(net.spec.name)
        type("network rm \(net.spec.name)", on: host) { try await host.engine.remove(network: net.id) }
    }

    private func type(_ text: String, on host: Host, _ body: @escaping @Sendable () async throws -> Void) {
        open += 1
        world.trace("\(host.name)> \(text)")
        Task(priority: .medium) {
            do {
                try await body()
                world.trace("\(host.name)> \(text): done")
            } catch {
                world.trace("\(host.name)> \(text): \(error)")
            }
            open -= 1
        }
    }

    // MARK: The end

    /// All faults are over; what was removed from the cluster stays so.
    private func peace() async {
        world.trace("peace")
        world.network.lateness = 0
        await Accidents.endAll(in: world)
        world.network.healAll()
        for host in world.hosts {
            (host.kernel.refusals, host.kernel.stepsToLive, host.writesToLive) = (0, nil, nil)
            if let life = host.life { Executor.shared.resume(life) }
            if !host.isRunning { host.start() }
        }
        // Commands have their own limits, some minutes in all.
        for _ in 0..<600 where open > 0 { try? await Task.sleep(for: .seconds(1)) }
        if open > 0 { world.fail("S7", "\(open) commands are not answered") }
        for host in world.hosts where !host.isRunning { host.start() }
    }

    private func settle(_ guarantee: String, within limit: Double, _ look: () async -> [String]) async {
        let end = Executor.shared.seconds + limit
        var found = await look()
        while !found.isEmpty, Executor.shared.seconds < end {
            try? await Task.sleep(for: .seconds(1))
            found = await look()
        }
        world.trace("settled \(end - Executor.shared.seconds) s before the limit")
        for text in found.prefix(6) { world.fail(guarantee, text) }
        if !found.isEmpty, world.isVerbose { await world.checker.describe(world) }
    }

    private func keepsPromises() async {
        let view = await world.center.view()
        for name in promised.sorted() where view.network(name: name) == nil {
            world.fail("S2", "network \(name) was made, nobody removed it, and it is gone")
        }
        for host in world.hosts {
            // Sleeps that nobody waits for any more end by themselves, so there are always some.
            if let pending = host.life?.pending, pending > 5_000 { world.fail("S7", "\(host.name) has \(pending) jobs and sleeps waiting") }
            let rows = (try? host.table.all().count) ?? 0
            if rows > 3_000 { world.fail("S7", "\(host.name) has \(rows) rows on its disk") }
        }
    }

    /// Containers and networks go, and after them whatever they held.
    private func clear() async {
        world.trace("everything is removed")
        for host in world.hosts {
            for container in host.engine.containers.values.sorted(by: { $0.name < $1.name }) { await host.engine.end(container.name) }
        }
        try? await Task.sleep(for: .seconds(5))
        for _ in 0..<6 {
            for host in world.hosts where !world.removed.contains(host.id) {
                for net in host.engine.networks.values.sorted(by: { $0.id < $1.id }) { try? await host.engine.remove(network: net.id) }
            }
            try? await Task.sleep(for: .seconds(10))
            if world.hosts.allSatisfy({ $0.engine.networks.isEmpty || world.removed.contains($0.id) }) { break }
        }
        await settle("left over", within: 300) { [self] in await world.checker.leftovers(world) }
    }
}
