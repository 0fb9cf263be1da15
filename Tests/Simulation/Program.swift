/// The seeds, each in a process of its own: what a crashed agent leaves in memory goes with it, and a trap is one seed's failure.
import CSimulation
import Glibc

enum Program {
    private static let marker = "TULLE_SIMULATION"
    /// Seconds of the real clock and jobs that one seed may take.
    private static let limit: UInt32 = 300
    private static let steps: UInt64 = 30_000_000

    static func run(_ arguments: [String]) -> Int32 {
        guard getenv(marker) != nil else { return again() }
        if arguments.first == "--seed", arguments.count == 2, let seed = UInt64(arguments[1]) { return one(seed, isVerbose: true) ? 0 : 1 }
        guard let text = arguments.first, let range = range(text), arguments.count <= 2 else {
            print("usage: simulation SEEDS|FIRST-LAST [JOBS]\n       simulation --seed N")
            return 2
        }
        return many(range, jobs: arguments.count == 2 ? max(1, Int(arguments[1]) ?? 2) : 2)
    }

    private static func range(_ text: String) -> ClosedRange<UInt64>? {
        let parts = text.split(separator: "-").map { UInt64($0) }
        switch parts.count {
        case 1: return parts[0].map { 1...max(1, $0) }
        case 2:
            guard let first = parts[0], let last = parts[1], first <= last else { return nil }
            return first...last
        default: return nil
        }
    }

    /// This program once more, with what makes a run come again: hashes and addresses that are always the same.
    private static func again() -> Int32 {
        setenv(marker, "1", 1)
        setenv("SWIFT_DETERMINISTIC_HASHING", "1", 1)
        _ = simulation_fix_addresses()
        var arguments = CommandLine.arguments.map { strdup($0) }
        arguments.append(nil)
        execv("/proc/self/exe", &arguments)
        perror("simulation: cannot execute itself")
        return 2
    }

    // MARK: One seed

    /// - Returns: whether everything held.
    private static func one(_ seed: UInt64, isVerbose: Bool) -> Bool {
        alarm(limit)
        let start = simulation_real_time()
        let executor = Executor.takeOver(seed: seed)
        let world = World(seed: seed, isVerbose: isVerbose)
        if isVerbose { print("seed \(seed): \(world.plan)") }
        let result = Ending()
        _ = executor.within(executor.world) {
            Task(priority: .medium) {
                await Scenario(world).run()
                result.isOver = true
            }
        }
        if !executor.run(limit: steps, until: { result.isOver }) { world.fail("S7", "it does not end: \(executor.steps) jobs ran") }
        let milliseconds = (simulation_real_time() - start) / 1_000_000
        for failure in world.failures { print("failed\tseed \(seed)\t\(failure)") }
        print("seed\t\(seed)\t\(String(executor.hash, radix: 16))\t\(executor.steps)\t\(world.checker.allocations)\t\(world.plan.hosts)\t\(milliseconds)")
        return world.failures.isEmpty
    }

    private final class Ending: @unchecked Sendable { var isOver = false }

    // MARK: Many

    private struct Child {
        var seed: UInt64
        var output: Int32
    }

    private static func many(_ seeds: ClosedRange<UInt64>, jobs: Int) -> Int32 {
        let start = simulation_real_time()
        var running: [Int32: Child] = [:]
        var (next, failed, steps, allocations, slowest) = (seeds.lowerBound, [UInt64](), 0, 0, (seed: UInt64(0), milliseconds: 0))
        var hash: UInt64 = 0
        while next <= seeds.upperBound || !running.isEmpty {
            while running.count < jobs, next <= seeds.upperBound {
                guard let (pid, child) = begin(next) else { return 2 }
                running[pid] = child
                next += 1
            }
            var status: Int32 = 0
            let pid = waitpid(-1, &status, 0)
            guard let child = running.removeValue(forKey: pid) else { continue }
            let lines = readAll(child.output).split(separator: "\n")
            for line in lines where !line.hasPrefix("seed\t") { print(line) }
            fflush(nil)
            if status != 0 {
                if status & 0x7f != 0 { print("failed\tseed \(child.seed)\tended by signal \(status & 0x7f)") }
                failed.append(child.seed)
            }
            if let fields = lines.last(where: { $0.hasPrefix("seed\t") })?.split(separator: "\t"), fields.count == 7 {
                hash ^= (UInt64(fields[2], radix: 16) ?? 0) &* (2 * child.seed + 1)
                steps += Int(fields[3]) ?? 0
                allocations += Int(fields[4]) ?? 0
                if let milliseconds = Int(fields[6]), milliseconds > slowest.milliseconds { slowest = (child.seed, milliseconds) }
            }
        }
        let seconds = Double(simulation_real_time() - start) / 1e9
        print("\(steps) jobs, \(allocations) addresses given, slowest seed \(slowest.seed) with \(slowest.milliseconds) ms, trace \(String(hash, radix: 16))")
        if !failed.isEmpty { print("failed seeds: \(failed.sorted().map(String.init).joined(separator: " "))") }
        print("\(seeds.count - failed.count) seeds passed, \(failed.count) failed, \(Int(seconds)) s")
        return failed.isEmpty ? 0 : 1
    }

    private static func begin(_ seed: UInt64) -> (Int32, Child)? {
        // In memory: nobody need read while the child writes.
        let output = simulation_memory_file()
        let pid = simulation_fork()
        guard output >= 0, pid >= 0 else {
            perror("simulation: cannot start a process")
            return nil
        }
        guard pid == 0 else { return (pid, Child(seed: seed, output: output)) }
        dup2(output, 1)
        dup2(output, 2)
        let isGood = one(seed, isVerbose: false)
        fflush(nil)
        _exit(isGood ? 0 : 1)
    }

    private static func readAll(_ file: Int32) -> String {
        defer { close(file) }
        lseek(file, 0, SEEK_SET)
        var (bytes, buffer) = ([UInt8](), [UInt8](repeating: 0, count: 65_536))
        while bytes.count < 1 << 22 {
            let count = read(file, &buffer, buffer.count)
            if count <= 0 { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
