/// What a `Controller` takes from the machine it runs on besides its kernel and its files: the time and chance. One value, handed in, so that
/// a simulated cluster (Tests/Simulation) gives each node a clock of its own and numbers that come again.
import Glibc
import Store

package struct Surroundings: Sendable {
    /// Seconds of CLOCK_BOOTTIME.
    package var boot: @Sendable () -> Double
    /// Seconds since 1970.
    package var wall: @Sendable () -> Int
    /// Another text at each boot of the machine.
    package var bootID: @Sendable () -> String
    /// 64 random bits.
    package var random: @Sendable () -> UInt64

    package init(
        boot: @escaping @Sendable () -> Double, wall: @escaping @Sendable () -> Int, bootID: @escaping @Sendable () -> String,
        random: @escaping @Sendable () -> UInt64
    ) {
        (self.boot, self.wall, self.bootID, self.random) = (boot, wall, bootID, random)
    }

    package static let machine = Surroundings(
        boot: { Double(EmbeddedStore.bootTime()) / 1e9 + AgentClock.shift.boot },
        wall: { time(nil) + AgentClock.shift.wall },
        bootID: { (try? readSmallFile("/proc/sys/kernel/random/boot_id")) ?? "unknown" },
        random: { .random(in: .min ... .max) })
}

/// CLOCK_BOOTTIME in seconds.
package func bootSeconds() -> Double { Surroundings.machine.boot() }

/// Seconds since 1970.
package func wallSeconds() -> Int { Surroundings.machine.wall() }

/// Inside the controller the clocks are those that it was given.
extension Controller {
    nonisolated func bootSeconds() -> Double { surroundings.boot() }
    nonisolated func wallSeconds() -> Int { surroundings.wall() }
}
