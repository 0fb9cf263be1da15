/// One case from start to end, and what was measured.
import LocalAPI
import TestKit
import Testing

/// Containers that talk all the time. Each host has one end at least, and both families are there.
struct Flow {
    let from: Container
    let to: Container
    let isIPv6: Bool

    static var all: [Flow] {
        [
            Flow(from: Stage.web1, to: Stage.web2, isIPv6: false), Flow(from: Stage.web2, to: Stage.web3, isIPv6: true),
            Flow(from: Stage.web3, to: Stage.web1, isIPv6: false), Flow(from: Stage.web1, to: Stage.beside, isIPv6: false),
        ]
    }
    func begin() throws -> Pinger {
        try Pinger(from: from, to: isIPv6 ? to.address6(on: Stage.network) : to.address(on: Stage.network))
    }
    func isCut(by faults: [Fault]) -> Bool { faults.contains { $0.cuts(from.host.number, to.host.number) } }
}

struct FaultRun {
    let one: FaultCase
    private let scene: FaultScene

    init(_ one: FaultCase) {
        self.one = one
        scene = FaultScene(one.kind)
    }

    func run() async throws {
        FaultSettings.say("fault \(one.testDescription) begins")
        let faults = one.faults
        let sizes = try hosts.map { try AgentSize(of: $0) }
        let flows = try Flow.all.map { ($0, try $0.begin()) }
        let bars = faults.reduce(into: Set<Int>()) { $0.formUnion($1.bars) }
        let churn = try Churn(seed: one.seed, hosts: hosts.filter { !bars.contains($0.number) }, stage: Stage.all)
        do {
            for fault in faults { try await fault.inject(scene) }
            try await churn.work(for: faults.map(\.lasts).max() ?? .zero)
            if faults.count == 1 { try await faults[0].meanwhile(scene) }
        } catch {
            for fault in faults.reversed() { try? await fault.heal(scene) }
            throw error
        }
        for fault in faults.reversed() {
            try await fault.heal(scene)
            if faults.count > 1 || !scene.mending.isMarked { scene.mending.mark() }
        }
        let mended = scene.mending.last
        try await churn.settle(within: .seconds(90))
        let settled = ContinuousClock.now
        let convergence = try await converge(churn, since: mended, within: faults.map(\.within).max() ?? .zero)
        #expect(churn.violations == [])
        let allowed = faults.reduce(into: Set<Int>()) { $0.formUnion($1.refuses) }
        for refusal in churn.refusals where !refusal.text.hasPrefix("network ") {
            #expect(allowed.contains(refusal.host.number), "\(refusal.host) refused: \(refusal.text)")
        }
        let everybody = Stage.all + churn.living
        #expect(try unreachablePairs(everybody, addresses: everybody.map { try $0.address(on: Stage.network) }) == [])
        var losses: [String] = []
        for (flow, pinger) in flows {
            // A flow whose container goes ends with it.
            guard !flow.isCut(by: faults) else {
                losses.append("\(flow.from.name)>\(flow.to.name) cut")
                pinger.end()
                continue
            }
            let count = try pinger.count()
            #expect(count.lost == 0, "S4: \(count.text)")
            losses.append("\(flow.from.name)>\(flow.to.name) \(count.lost)/\(count.sent)")
        }
        try await expectBounds(before: sizes)
        FaultSettings.say(
            "fault \(one.testDescription): well after \(convergence.tenths) s (what was begun had ended after \((settled - mended).tenths) s), "
                + "\(churn.done) acts, \(churn.refusals.count) refused, lost \(losses.joined(separator: ", "))")
        for refusal in churn.refusals { FaultSettings.say("  refused on \(refusal.host): \(refusal.text.suffix(300))") }
        try await churn.clear()
        try await eventually("what people made is gone", within: .seconds(60)) {
            let left = try await scene.checker.differences(acknowledged: Stage.all, networks: [])
            guard left.isEmpty else { throw LabFailure(left.joined(separator: "\n")) }
            return true
        }
    }

    private func converge(_ churn: Churn, since start: ContinuousClock.Instant, within limit: Duration) async throws -> Duration {
        // More than is published, so that the test says how much more it took.
        let took = try await obtain("all is well", within: .seconds(120)) {
            let asked = ContinuousClock.now
            let left = try await scene.checker.differences(acknowledged: Stage.all + churn.living, networks: churn.networks)
            guard left.isEmpty else { throw LabFailure(left.joined(separator: "\n")) }
            guard try await lab.isWhole() else { throw LabFailure("not every agent sees every other") }
            return max(.zero, asked - start)
        }
        #expect(took <= limit, "S3: all was well after \(took.tenths) s only")
        return took
    }

    /// S7: whatever happened, an agent stays small and its log too.
    private func expectBounds(before: [AgentSize]) async throws {
        for (host, old) in zip(hosts, before) {
            let now = try AgentSize(of: host)
            #expect(now.memory < 200 << 20, "S7: the agent on \(host) has \(now.memory >> 20) MiB")
            #expect(now.files < 256, "S7: the agent on \(host) has \(now.files) files open")
            #expect(now.log - old.log < 256 << 10, "S7: the agent on \(host) wrote \((now.log - old.log) >> 10) KiB into its log")
            #expect(now.state < 24 << 20, "S7: the state of \(host) has \(now.state >> 20) MiB")
        }
    }
}

extension Duration {
    /// Seconds with one digit after the point.
    var tenths: String {
        let tenths = components.seconds * 10 + components.attoseconds / 100_000_000_000_000_000
        return "\(tenths / 10).\(tenths % 10)"
    }
}

/// In bytes, but `files`.
struct AgentSize {
    let memory: Int
    let files: Int
    let log: Int
    let state: Int

    init(of host: LabHost) throws {
        // The process as the machine counts.
        let pid = try #require(host.read("agent.pid").labWords.first)
        let words = try lab.shell("awk '/VmRSS/ { print $2 * 1024 }' /proc/\(pid)/status; ls /proc/\(pid)/fd | wc -l").lines
            + [host.sh("du -sb \(FaultLab.state) | cut -f1")]
        let numbers = words.compactMap { Int($0) }
        guard numbers.count == 3 else { throw LabFailure("\(host) has no agent: \(words)") }
        (memory, files, state) = (numbers[0], numbers[1], numbers[2])
        log = try host.log().utf8.count
    }
}
