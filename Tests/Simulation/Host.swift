/// One machine: what outlives agents (its disk, its kernel, its engine, its clocks) and the agent that runs on it at present, which is the real one put
/// together as `RunningAgent` does, without sockets.
import Addressing
import Agent
import Fabric
import Logging
import Store
import TestKit

final class Host: @unchecked Sendable {
    struct Agent {
        var life: Life
        var controller: Controller
        var reconciler: Reconciler
        var tasks: [Task<Void, Never>]
        var started: Double
    }

    let number: Int
    let id: NodeID
    let world: World
    let kernel: SimulatedKernel
    private(set) var table: LocalTable
    private var replica: LocalTable
    lazy var engine = SimulatedEngine(self)
    private(set) var agent: Agent?
    private(set) var boot: UInt64 = 1
    private var bootedAt = 0.0
    /// Seconds by which its wall clock is wrong.
    var skew = 0
    /// The agent dies at the write to its disk after so many more.
    var writesToLive: Int?
    private let disk = Disk()
    private var random: SeededRandom

    private final class Disk: @unchecked Sendable { weak var host: Host? }

    var name: String { "h\(number)" }
    var life: Life? { agent?.life }
    var bootSeconds: Double { Executor.shared.seconds - bootedAt }

    init(_ number: Int, _ world: World) {
        self.number = number
        self.world = world
        id = NodeID(random: UInt128(world.next()) << 64 | UInt128(number))
        kernel = SimulatedKernel(seed: world.next())
        random = SeededRandom(seed: world.next())
        bootedAt = Executor.shared.seconds - Double(100 + number)
        let disk = disk
        table = LocalTable(inMemory: { _ in try disk.host?.beforeWrite() })
        replica = LocalTable(inMemory: { _ in if disk.host?.isSilent ?? false { throw Lost.ended } })
        disk.host = self
    }

    /// What a dead process does reaches nothing.
    private var isSilent: Bool { agent?.life.isOver ?? false }

    private func beforeWrite() throws {
        if isSilent { throw Lost.ended }
        guard let left = writesToLive else { return }
        writesToLive = left > 0 ? left - 1 : nil
        guard left == 0, let life else { return }
        world.trace("\(name): the agent dies at a write")
        Executor.shared.end(life)
        throw Lost.ended
    }

    // MARK: The agent

    func start() {
        guard agent == nil || agent?.life.isOver == true else { return }
        agent = nil
        let life = Executor.shared.beginLife(name)
        do { agent = try Executor.shared.within(life) { try assemble(life) } } catch {
            world.fail("start", "\(name): the agent does not start: \(error)")
            return
        }
        world.trace("\(name): the agent starts")
        if number == 0 { world.serveStore(for: life) }
        engine.agentStarted()
    }

    private func assemble(_ life: Life) throws -> Agent {
        let (world, name) = (world, name)
        let log = Logger(label: name) { _ in
            if world.isVerbose { TraceLogHandler(world: world, host: name) } else { SwiftLogNoOpLogHandler() }
        }
        let plane = KernelLink(kernel: kernel, life: life)
        let reconciler = Reconciler(plane, log: log, onDrift: { _ in }, onFailure: { _, _ in })
        var me = NodeObject(
            id: id, name: name, underlay: IPAddress(v4: 0xc0a8_0000 + UInt32(number) + 1), mtu: 1500, agent: "192.168.\(number / 250).\(number % 250 + 1):7940",
            version: "simulation", instance: String(random.next(), radix: 16))
        me.fingerprint = "simulated"
        let surroundings = Surroundings(
            boot: { self.bootSeconds }, wall: { 1_800_000_000 + Int(Executor.shared.seconds) + self.skew }, bootID: { "boot \(self.boot)" },
            random: { self.random.next() })
        let id = id
        let link = StoreLink(
            host: number, server: 0, life: life, network: world.network, center: world.center, isRefused: { world.removed.contains(id) },
            onRemoval: { world.noteRemoval($0) })
        let controller = try Controller(
            identity: .init(node: id, instance: me.instance), me: me, underlay: "eth0", settings: Settings(vxlanPort: 7941, vniBase: 0x100000),
            terms: .init(lease: world.plan.lease, forgetAfter: 1000, scopeIsGlobal: false), cluster: world.center.identity.cluster, store: link,
            table: table, replica: Replica(replica, log: log), reconciler: reconciler, log: log, hostRoutes: { [] }, surroundings: surroundings)
        let sync = EngineSync(
            EngineLink(engine: engine, life: life), socket: "model", controller: controller, log: log,
            isMounted: { [engine] in engine.isMounted($0) })
        let isMounted: @Sendable (String) -> Bool = { [engine] in engine.isMounted($0) }
        let tasks = [
            Task(priority: .medium) { await reconciler.run(controller) }, Task(priority: .medium) { await controller.follow() },
            Task(priority: .medium) { await controller.keepRegistered() }, Task(priority: .medium) { await controller.publish() },
            Task(priority: .medium) { await sync.run() },
            Task(priority: .medium) { for await namespace in await plane.changes() { await reconciler.mark(namespace, .kernel) } },
            Task(priority: .medium) { await Self.tick(controller, isMounted) },
            Task(priority: .medium) { await reconciler.markAll() },
        ]
        return Agent(life: life, controller: controller, reconciler: reconciler, tasks: tasks, started: Executor.shared.seconds)
    }

    /// As `RunningAgent` does: garbage each second, a full sweep of the kernel each minute.
    private static func tick(_ controller: Controller, _ isMounted: @escaping @Sendable (String) -> Bool) async {
        var seconds = 0
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            seconds += 1
            await controller.sweepGarbage(isMounted: isMounted)
            if seconds % 60 == 0 { await controller.reconciler.sweep() }
        }
    }

    /// kill -9.
    func crash() {
        guard let life, !life.isOver else { return }
        world.trace("\(name): the agent dies")
        Executor.shared.end(life)
    }

    /// The machine loses its power and starts again: kernel and containers are gone, the disk is not.
    func reboot() {
        world.trace("\(name): the machine starts anew")
        if let life { Executor.shared.end(life) }
        agent = nil
        boot += 1
        bootedAt = Executor.shared.seconds
        kernel.reset()
        engine.machineStarted()
    }

    var isRunning: Bool { agent.map { !$0.life.isOver } ?? false }
}

/// The agents' log lines in the trace of one seed.
struct TraceLogHandler: LogHandler {
    let world: World
    let host: String
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
    func log(
        level: Logger.Level, message: Logger.Message, metadata: Logger.Metadata?, source: String, file: String, function: String, line: UInt
    ) {
        let more = (metadata ?? [:]).sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        world.print("\(host): [\(level)] \(message)\(more)")
    }
}
