/// One agent's clocks are moved by an hour: the wall clock both ways, and CLOCK_BOOTTIME forward, as after an hour's sleep. (It never goes back while a machine runs,
/// so that is no fault.) The machine's clocks stay; see `AgentClock`.
import LocalAPI
import TestKit
import Testing

extension Fault {
    static let clocks = [
        wall("clock-ahead", 2, 3_600, isShort: true), wall("clock-behind", 3, -3_600),
        wall("first-clock-ahead", 1, 3_600), wall("first-clock-behind", 1, -3_600),
        slept("slept", 2, isShort: true), slept("first-slept", 1),
    ]

    private static func parts(_ number: Int) -> Set<Part> { number == 1 ? [.host(1), .store] : [.host(number)] }

    private static func wall(_ name: String, _ number: Int, _ seconds: Int, isShort: Bool = false) -> Fault {
        Fault(
            name: name, parts: parts(number), refuses: [number], isShort: isShort,
            inject: { _ in
                let host = lab.host(number)
                #expect(try host.log().contains("this agent's clocks are a test's"), "this needs a debug build of the agent")
                // There and back a few times while people work, and then it stays.
                try host.spawnJumps(of: seconds)
            },
            meanwhile: { _ in
                // (It stays by now: people worked for longer than it jumped.) A start with such a clock: its certificates must be good still.
                let host = lab.host(number)
                try host.stopAgent("KILL")
                try await host.startTestAgent()
                try await eventually("its store answers", within: .seconds(10)) { try await host.agent.status().store.reachable }
            },
            heal: { _ in
                let host = lab.host(number)
                try await eventually("the clock stays", within: .seconds(10)) { host.hasEnded("jumps") }
                try host.setWallClock(0)
            })
    }

    /// Its lease is over when it wakes, and if it has the store all signs of life are.
    private static func slept(_ name: String, _ number: Int, isShort: Bool = false) -> Fault {
        Fault(
            name: name, parts: parts(number), refuses: [number], lasts: .seconds(2), isShort: isShort,
            inject: { _ in try lab.host(number).addToClock(boot: 3_600) },
            heal: { _ in })
    }
}
