/// People at work while something is broken: on every host containers are started and removed, and networks made, at random. It remembers what each was told, so that the
/// checker can ask for it, and looks at once whether an address was given that a living container has.
import TestKit

final class Churn {
    private enum Act { case run(Container), remove(Container), network(String) }
    private struct Running {
        let act: Act
        let host: LabHost
        let process: LabProcess
        let began = ContinuousClock.now
    }

    private var random: SeededRandom
    private let hosts: [LabHost]
    private var serial = 0
    private var running: [Running] = []
    /// Acknowledged, and not removed.
    private(set) var living: [Container] = []
    private(set) var networks: [String] = []
    /// Addresses of the living.
    private var holders: [String: String] = [:]
    /// "host: what it was told"
    private(set) var refusals: [(host: LabHost, text: String)] = []
    private(set) var violations: [String] = []
    private(set) var done = 0

    /// - Parameter stage: the containers that stay.
    init(seed: UInt64, hosts: [LabHost], stage: [Container]) throws {
        random = SeededRandom(seed: seed)
        self.hosts = hosts
        for container in stage { for address in try Self.addresses(of: container) { holders[address] = "\(container)" } }
    }

    /// For that long, about three acts a second. On one host two at most run at once: an engine that waits for its agent is left alone.
    func work(for duration: Duration) async throws {
        let end = ContinuousClock.now + duration
        while ContinuousClock.now < end {
            try reap()
            let host = hosts[Int(random.next() % UInt64(hosts.count))]
            if running.filter({ $0.host.number == host.number }).count < 2 { try act(on: host) }
            try await Task.sleep(for: .milliseconds(200 + Int(random.next() % 200)))
        }
    }

    /// Waits for what is under way.
    func settle(within limit: Duration) async throws {
        try await eventually("what was begun during the fault has ended: \(running.map(\.act))", within: limit) {
            try reap()
            return running.isEmpty
        }
    }

    private func act(on host: LabHost) throws {
        serial += 1
        let here = living.filter { $0.host.number == host.number }
        switch random.next() % 10 {
        case 0 where networks.count < 2:
            let name = "n\(serial)"
            let line = "network create -d tulle --ipam-driver tulle --subnet 10.\(100 + serial % 100).0.0/24 \(name)"
            try start(.network(name), line, on: host)
        case 1...4 where !here.isEmpty, 5...9 where here.count >= 3:
            let victim = here[Int(random.next() % UInt64(here.count))]
            living.removeAll { $0.name == victim.name }
            try start(.remove(victim), "rm -f \(victim.name)", on: host)
        default:
            let fresh = Container(host: host, name: "c\(serial)")
            try start(.run(fresh), "run -d --stop-signal KILL --name \(fresh.name) --network \(Stage.network) lab sleep 3600", on: host)
        }
    }

    private func start(_ act: Act, _ line: String, on host: LabHost) throws {
        running.append(Running(act: act, host: host, process: try lab.start("docker \(host) \(line)".labWords)))
    }

    private func reap() throws {
        for index in running.indices.reversed() where running[index].process.hasEnded {
            let ended = running.remove(at: index)
            let result = try ended.process.finish(within: .seconds(5))
            done += 1
            switch ended.act {
            case .run(let container):
                guard result.status == 0 else {
                    refusals.append((ended.host, "run \(container.name), after \(ContinuousClock.now - ended.began): \(result.talk.trimmed)"))
                    _ = try? container.host.docker("rm -f \(container.name)")
                    continue
                }
                living.append(container)
                for address in (try? Self.addresses(of: container)) ?? [] {
                    if let other = holders.updateValue("\(container)", forKey: address), other != "\(container)" {
                        violations.append("S1: \(address) was given to \(container) while \(other) had it")
                    }
                }
            case .remove(let container):
                if result.status != 0 {
                    // Nobody was told that it is gone.
                    if (try? container.host.docker("inspect \(container.name)")) != nil { try container.remove() }
                }
                holders = holders.filter { $0.value != "\(container)" }
            case .network(let name):
                if result.status == 0 { networks.append(name) } else { refusals.append((ended.host, "network \(name): \(result.talk.trimmed)")) }
            }
        }
    }

    private static func addresses(of container: Container) throws -> [String] {
        try container.host.docker([
            "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}", container.name,
        ], within: .seconds(10)).labWords
    }

    /// Takes away what is left of it, side by side.
    func clear() async throws {
        let gone = try Dictionary(grouping: living, by: \.host.number).map { number, containers in
            try lab.start(["docker", "h\(number)", "rm", "-f"] + containers.map(\.name))
        }
        for process in gone { _ = try process.finish(within: .seconds(60)) }
        for name in networks { try h1.docker("network rm \(name)") }
        living = []
        networks = []
    }
}
