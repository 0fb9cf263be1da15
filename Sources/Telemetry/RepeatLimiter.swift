/// Keeps a fault that comes again and again from filling the log: of the messages with one key the first passes, then one
/// per interval, which says how many were held back since.
package import Logging
import Synchronization

package final class RepeatLimiter: Sendable {
    private struct Entry {
        var passed: ContinuousClock.Instant
        var heldBack: UInt64 = 0
    }

    private let interval: Duration
    private let capacity: Int
    private let entries = Mutex<[String: Entry]>([:])

    /// - Parameter capacity: how many keys are remembered; past it the one that passed longest ago is forgotten, so its
    ///   next message passes.
    package init(interval: Duration = .seconds(60), capacity: Int = 512) {
        self.interval = interval
        self.capacity = capacity
    }

    /// Nil: say nothing now. Otherwise how many of that key were held back since the last that passed.
    package func admit(_ key: String, at now: ContinuousClock.Instant = .now) -> UInt64? {
        entries.withLock { entries in
            if let known = entries[key] {
                if now < known.passed + interval {
                    entries[key]?.heldBack += 1
                    return nil
                }
                entries[key] = Entry(passed: now)
                return known.heldBack
            }
            if entries.count >= capacity, let oldest = entries.min(by: { $0.value.passed < $1.value.passed }) {
                entries.removeValue(forKey: oldest.key)
            }
            entries[key] = Entry(passed: now)
            return 0
        }
    }

    /// The key's fault is over: its next message passes at once.
    package func forget(_ key: String) {
        entries.withLock { _ = $0.removeValue(forKey: key) }
    }

    /// Logs, when admitted, the message with "(repeated N times)" after it.
    package func log(
        to logger: Logger, _ level: Logger.Level, key: String, _ message: @autoclosure () -> String,
        metadata: @autoclosure () -> Logger.Metadata? = nil, at now: ContinuousClock.Instant = .now
    ) {
        guard level >= logger.logLevel, let heldBack = admit(key, at: now) else { return }
        let suffix = heldBack == 0 ? "" : heldBack == 1 ? " (repeated once)" : " (repeated \(heldBack) times)"
        logger.log(level: level, "\(message())\(suffix)", metadata: metadata())
    }
}
