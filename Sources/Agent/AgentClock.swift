/// The two clocks that the agent decides by, in one place.
///
/// A test moves them for one agent, never the machine's: a debug build whose variable TULLE_TEST_CLOCK names a file adds the
/// two numbers of seconds in it, for example `tulle-test-clock 3600 -3600`: CLOCK_BOOTTIME an hour on, as after a sleep, and the
/// wall clock an hour back. The file is read each time, so what it says counts at once. An agent with the variable and without such a file does
/// not start, and one that starts says so in its log; a release build knows nothing of it.
import Glibc
import Logging
import Store

package enum AgentClock {
    package static let variable = "TULLE_TEST_CLOCK"
    static let word = "tulle-test-clock"

    #if DEBUG
    private static let path = getenv(variable).map { String(cString: $0) }
    package static var isTest: Bool { path != nil }

    /// What is added, in seconds.
    static var shift: (boot: Double, wall: Int) {
        guard let path, let text = try? readSmallFile(path) else { return (0, 0) }
        return parse(text) ?? (0, 0)
    }

    /// At the start: a variable that was set by mistake is an error.
    static func check(_ log: Logger) throws {
        guard let path else { return }
        guard let shift = parse((try? readSmallFile(path)) ?? "") else {
            throw AgentError(
                .setup, "read the test's clock", cause: "\(variable) is set and \(path) is no file that begins with '\(word)'",
                remedy: "unset \(variable): it is for tests of the agent only")
        }
        log.warning("\(variable) is set: this agent's clocks are a test's", metadata: ["boot": "\(shift.boot)", "wall": "\(shift.wall)"])
    }

    /// `tulle-test-clock BOOT WALL`; nil for anything else.
    package static func parse(_ text: String) -> (boot: Double, wall: Int)? {
        let words = text.split(separator: " ")
        guard words.count == 3, words[0] == word, let boot = Int(words[1]), let wall = Int(words[2]),
            abs(boot) < 1 << 40, abs(wall) < 1 << 40
        else { return nil }
        return (Double(boot), wall)
    }
    #else
    package static let isTest = false
    static let shift = (boot: 0.0, wall: 0)
    static func check(_ log: Logger) throws {}
    #endif

    /// CLOCK_BOOTTIME for the embedded store, in nanoseconds.
    static let store: EmbeddedStore.Time = { EmbeddedStore.bootTime() &+ UInt64(bitPattern: Int64(shift.boot) * 1_000_000_000) }
}
