/// The lab of a suite: brought up once before its first test, taken down after its last, whatever happens in between.
import Glibc
import TestKit
import Testing

struct LabTrait: SuiteTrait, TestScoping {
    @TaskLocal static var current: Lab?

    let suite: String
    var settings: [String: String] = [:]
    var options: [String] = []
    /// Arguments of each agent; nil: no agents.
    var agents: String? = ""
    /// Done once, before the first test.
    var prepare: (@Sendable (Lab) async throws -> Void)?

    static let hostCount = 3

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        let lab = Lab(suite: suite, settings: settings)
        do {
            let store = try await bringUp(lab)
            try await Self.$current.withValue(lab) { try await function() }
            withExtendedLifetime(store) {}
        } catch {
            try? takeDown(lab)
            throw error
        }
        try takeDown(lab)
    }

    /// - Returns: the store, where it is no agent's; it ends with the last reference to it.
    private func bringUp(_ lab: Lab) async throws -> LabProcess? {
        try lab.up(hosts: Self.hostCount, options: options)
        let store = try await LabStore.start(in: lab)
        if let agents { try await lab.startCluster(arguments: agents) }
        try await prepare?(lab)
        return store
    }

    /// `TULLE_LAB_LOGS` names a directory where the daemons' logs are to be kept.
    private func takeDown(_ lab: Lab) throws {
        if let place = getenv("TULLE_LAB_LOGS") { try lab.saveLogs(in: String(cString: place)) }
        let left = try lab.down()
        guard left.isEmpty else { throw LabFailure("left of the lab after its end:\n\(left)") }
    }
}

extension Trait where Self == LabTrait {
    /// - Parameters:
    ///   - suite: a few letters, the lab's name.
    ///   - agents: arguments of each agent; nil: the tests start them.
    ///   - settings: variables of `lab/lab up`.
    static func lab(
        _ suite: String, agents: String? = "", options: [String] = [], settings: [String: String] = [:],
        prepare: (@Sendable (Lab) async throws -> Void)? = nil
    ) -> Self {
        LabTrait(suite: suite, settings: settings, options: options, agents: agents, prepare: prepare)
    }
}

extension Trait where Self == ConditionTrait {
    /// Root alone can make the hosts, and a lab takes minutes: who wants it says so.
    static var needsLab: Self {
        .enabled(
            if: geteuid() == 0 && getenv("TULLE_LAB").map { String(cString: $0) } == "1",
            "it needs root and TULLE_LAB=1: 'sudo make test' runs it on real Docker hosts made of namespaces")
    }
}

/// The running suite's lab and its hosts.
var lab: Lab {
    guard let lab = LabTrait.current else { preconditionFailure("the suite lacks the trait .lab") }
    return lab
}
var hosts: [LabHost] { lab.hosts(LabTrait.hostCount) }
var h1: LabHost { lab.host(1) }
var h2: LabHost { lab.host(2) }
var h3: LabHost { lab.host(3) }
