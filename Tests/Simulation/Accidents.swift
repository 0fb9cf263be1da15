/// The accidents of a cluster, each with its end.
import Addressing
import Agent
import Fabric
import Store
import TestKit

enum Accidents {
    static func cause(_ fault: Fault, in world: World) {
        guard let host = world.pick(world.hosts) else { return }
        switch fault {
        case .split: split(host, world, out: true, in: true)
        case .oneWay:
            let isOut = world.chance(50)
            split(host, world, out: isOut, in: !isOut)
        case .late:
            world.network.lateness = world.network.lateness > 0 ? 0 : world.number(1..<40)
            world.trace("of a thousand messages \(world.network.lateness) are late")
        case .pause: pause(host, world)
        case .crash:
            host.crash()
            restart(host, world)
        case .writeCrash:
            host.writesToLive = world.number(0..<6)
            restart(host, world, after: 1...20)
        case .stepCrash:
            host.kernel.stepsToLive = world.number(0..<12)
            restart(host, world, after: 1...20)
        case .reboot:
            host.reboot()
            restart(host, world)
        case .clock:
            host.skew += world.number(-200_000..<200_000)
            world.trace("\(host.name): its clock is wrong by \(host.skew) s")
        case .kernel: tamper(host, world)
        case .refusal:
            host.kernel.refusals = host.kernel.refusals > 0 ? 0 : world.number(1..<200)
            world.trace("\(host.name): of a thousand steps \(host.kernel.refusals) are refused")
        case .removal: remove(host, world)
        case .store: stopStore(world)
        case .foreignStore: foreignStore(world)
        case .burst: break
        }
    }

    private static func split(_ host: Host, _ world: World, out: Bool, in inward: Bool) {
        world.trace("\(host.name): cut off\(out ? " out" : "")\(inward ? " in" : "")")
        world.network.split(host.number, out: out, in: inward)
        Executor.shared.after(world.seconds(0.5...40)) {
            world.trace("\(host.name): joined again")
            world.network.heal(host.number)
        }
    }

    /// SIGSTOP, for longer than the lease now and then.
    private static func pause(_ host: Host, _ world: World) {
        guard let life = host.life, life.state == .running else { return }
        world.trace("\(host.name): the agent stands still")
        Executor.shared.pause(life)
        Executor.shared.after(world.chance(30) ? world.seconds(20...90) : world.seconds(0.05...15)) {
            world.trace("\(host.name): the agent goes on")
            Executor.shared.resume(life)
        }
    }

    /// systemd starts an agent again.
    private static func restart(_ host: Host, _ world: World, after range: ClosedRange<Double> = 0.05...20) {
        Executor.shared.after(world.seconds(range)) { if !host.isRunning { host.start() } }
        // One that died later than thought.
        Executor.shared.after(.seconds(25)) { if !host.isRunning { host.start() } }
    }

    private static func tamper(_ host: Host, _ world: World) {
        guard let namespace = world.pick(host.kernel.model.namespaces.sorted()) else { return }
        world.trace("\(host.name): somebody's hand in \(namespace)")
        switch world.number(0..<5) {
        case 0: host.kernel.remove(namespace)
        case 1: host.kernel.tamper(namespace) { $0.routes = $0.routes.filter { $0.key.destination.length != 32 } }
        case 2: host.kernel.tamper(namespace) { $0.neighbors = [:] }
        case 3: host.kernel.tamper(namespace) { $0.filter = nil }
        default: host.kernel.tamper(namespace) { $0.links[Desired.tunnelLink]?.isUp = false }
        }
    }

    /// `tulle node remove`, typed on another host.
    private static func remove(_ host: Host, _ world: World) {
        guard host.number != 0, !world.removed.contains(host.id), world.removed.count * 3 < world.hosts.count,
            let other = world.pick(world.hosts.filter { $0.number != host.number && $0.isRunning && !world.removed.contains($0.id) }),
            let agent = other.agent
        else { return }
        world.trace("\(other.name)> node remove \(host.name)")
        // Whatever the answer: it may be done.
        Task(priority: .medium) {
            _ = try? await Executor.shared.call(agent.life, within: .seconds(60)) { _ = try await agent.controller.removeNode(host.id.description) }
        }
    }

    private static func stopStore(_ world: World) {
        world.trace("the store's host stops")
        world.hosts[0].crash()
        Executor.shared.after(world.seconds(0.2...60)) { if !world.hosts[0].isRunning { world.hosts[0].start() } }
    }

    /// Somebody starts the store from an empty file, or another cluster's, and puts the right one back.
    private static func foreignStore(_ world: World) {
        guard world.hosts[0].isRunning else { return }
        let isEmpty = world.chance(50)
        let pause = world.seconds(1...15)
        world.trace("\(isEmpty ? "an empty store" : "another cluster's store") is served")
        Task(priority: .medium) {
            let identity = isEmpty ? world.center.identity : StoreIdentity(cluster: "ffffffff-0000-4000-8000-000000000000", epoch: 1)
            let other = JournalContents(identity: identity, revision: .zero, lastLease: 0, entries: [], leases: [:])
            await world.serve(other, for: pause)
        }
    }

    /// Waits for those that end by a task of their own.
    static func endAll(in world: World) async { try? await Task.sleep(for: .seconds(16)) }
}
