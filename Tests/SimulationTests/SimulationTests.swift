/// The simulated cluster (Tests/Simulation) as a test: each seed is a cluster of its own, run in a process of its own.
import Glibc
import TestKit
import Testing

@Suite struct SimulationTests {
    @Test("a thousand simulated clusters keep their guarantees through faults of network, store, nodes and clocks")
    func thousand() throws { try Simulation.run(["1-1000"], within: .seconds(1_200)) }

    @Test("a seed comes again exactly")
    func again() throws {
        let traces = try (0..<2).map { _ in try Simulation.run(["11-16"], within: .seconds(300)) }
        #expect(!traces[0].isEmpty && traces[0] == traces[1])
    }
}

/// Other seeds, and ten times as many, in a release build: `make soak`.
@Suite("SimulationSoak", .enabled(if: getenv("TULLE_SOAK") != nil, "a long load: make soak"))
struct SimulationSoakTests {
    @Test("ten thousand simulated clusters keep their guarantees")
    func tenThousand() throws { try Simulation.run(["1001-11000"], within: .seconds(7_200)) }
}

enum Simulation {
    /// Beside the tests' own program, or where SIMULATION says.
    private static var program: String {
        if let path = getenv("SIMULATION") { return String(cString: path) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = max(0, readlink("/proc/self/exe", &bytes, bytes.count))
        let path = String(decoding: bytes[..<count], as: UTF8.self)
        return String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]) + "/simulation"
    }

    /// - Returns: the line that sums up the traces of all seeds, without what depends on the machine's speed.
    @discardableResult
    static func run(_ arguments: [String], within limit: Duration) throws -> String {
        let result = try LabProcess([program] + arguments).finish(within: limit)
        let lines = (result.output + result.talk).split(separator: "\n")
        let told = lines.suffix(40).joined(separator: "\n")
        #expect(result.status == 0, "run one again with 'make simulate SEED=N'\n\(told)")
        return lines.last { $0.split(separator: " ").contains("trace") }?.split(separator: " ").last.map(String.init) ?? ""
    }
}
