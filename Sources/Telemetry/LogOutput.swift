/// Where log lines go: one descriptor, normally stderr, shared by all loggers of the process.
///
/// A record is formatted by the caller's thread (`LogLine`) and written at once, so that what was logged before a crash is
/// there. A reader that stops reading (a stuck journal, a stopped terminal) must not stop the agent: writes never
/// block, all loggers together wait for the reader at most `patience` in every `patienceInterval`, and lines that found no
/// room are counted and reported in one line when there is room again.
import Glibc
package import Logging
import Synchronization

package final class LogOutput: Sendable {
    private struct State {
        /// The end of a line of which the beginning was taken.
        var rest: ArraySlice<UInt8> = []
        var dropped: UInt64 = 0
        var patience = LogOutput.patience
        var refilled = ContinuousClock.now
    }

    static let patience: Duration = .milliseconds(100)
    static let patienceInterval: Duration = .seconds(10)

    package let format: LogFormat
    private let level: Logger.Level
    private let channel: LogChannel
    private let state = Mutex(State())

    /// - Parameter descriptor: stays the caller's; it must be open as long as this output is used.
    package init(descriptor: Int32 = STDERR_FILENO, format: LogFormat = .text, level: Logger.Level = .info) {
        self.format = format
        self.level = level
        channel = LogChannel(descriptor)
    }

    /// A logger that writes here; the label is the part of the program that speaks.
    package func logger(_ label: String) -> Logger {
        Logger(label: label) { LineLogHandler(label: $0, level: level, output: self) }
    }

    func write(_ record: LogRecord) {
        state.withLock { state in
            refill(&state)
            if state.dropped > 0 {
                let notice = LogRecord(
                    time: record.time, level: .warning, label: "log",
                    message: "\(state.dropped) log lines were dropped: their reader was too slow")
                guard send(notice, &state) else { return state.dropped += 1 }
                state.dropped = 0
            }
            if !send(record, &state) { state.dropped += 1 }
        }
    }

    private func refill(_ state: inout State) {
        let now = ContinuousClock.now
        guard now - state.refilled >= Self.patienceInterval else { return }
        state.refilled = now
        state.patience = Self.patience
    }

    /// False when nothing of the line was taken. A line that was begun is finished before the next.
    private func send(_ record: LogRecord, _ state: inout State) -> Bool {
        state.rest = push(state.rest, &state)
        guard state.rest.isEmpty else { return false }
        let line = LogLine(record, format: format).bytes
        let left = push(line[...], &state)
        guard left.count < line.count else { return false }
        state.rest = left
        return true
    }

    /// What is left of the bytes. A broken descriptor takes everything: nobody will ever read it, and there is nothing to report to.
    private func push(_ bytes: ArraySlice<UInt8>, _ state: inout State) -> ArraySlice<UInt8> {
        var left = bytes
        while !left.isEmpty {
            switch channel.write(left) {
            case .taken(let count): left = left.dropFirst(count)
            case .broken: return []
            case .full:
                guard state.patience > .zero else { return left }
                let began = ContinuousClock.now
                let hasRoom = channel.waitForRoom(atMost: state.patience)
                state.patience -= ContinuousClock.now - began
                if !hasRoom { state.patience = .zero }
            }
        }
        return left
    }
}
