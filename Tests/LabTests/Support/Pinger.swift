/// Pings without a pause from within a container's network namespace, so that it sees what happens to an established flow. It
/// does not go through the engine, which may be dead meanwhile.
import Glibc
import TestKit
import Testing

struct Pinger {
    private let process: LabProcess
    private let path: String

    /// One packet each 20 ms; returns after the first answer.
    init(from container: Container, to address: String) throws {
        let namespace = "/proc/\(try container.pid())/ns/net"
        let script = "exec nsenter --net=\(namespace) busybox ping -i 0.02 \(address)"
        process = try container.host.lab.start(["exec", "\(container.host)", "sh", "-c", script])
        // On a busy machine its start may take longer than what it is to watch.
        try process.wait(for: "bytes from", within: .seconds(10))
        path = "\(container) -> \(address)"
    }

    /// What became of its packets. Of the lost ones the last may have been on its way.
    struct Count {
        let sent: Int
        let lost: Int
        /// For people.
        let text: String
    }

    /// Ends it.
    func count(sourceLocation: SourceLocation = #_sourceLocation) throws -> Count {
        process.signal(SIGINT)
        let output = try process.finish(within: .seconds(10)).output
        let numbers = output.lines.first { $0.contains("packets transmitted") }?.split(separator: " ").compactMap { Int($0) } ?? []
        try #require(numbers.count >= 2, "\(path): \(output.suffix(400))", sourceLocation: sourceLocation)
        let text = "\(path): \(numbers[0]) sent, \(numbers[1]) received; gaps: \(gaps(output))"
        return Count(sent: numbers[0], lost: max(0, numbers[0] - numbers[1] - 1), text: text)
    }

    /// Ends it, whatever became of it: its container may be gone.
    func end() { process.signal(SIGINT) }

    /// Ends it; nothing may have been lost, and something must have been sent.
    func expectNoLoss(sourceLocation: SourceLocation = #_sourceLocation) throws {
        let count = try count(sourceLocation: sourceLocation)
        #expect(count.sent > 5, "too few packets on \(path)", sourceLocation: sourceLocation)
        #expect(count.lost == 0, "\(count.text)", sourceLocation: sourceLocation)
    }

    /// Which packets are missing, 20 ms each, by number.
    private func gaps(_ output: String) -> String {
        let seen = output.lines.compactMap { line in line.split(separator: " ").first { $0.hasPrefix("seq=") }.flatMap { Int($0.dropFirst(4)) } }.sorted()
        return zip(seen, seen.dropFirst()).filter { $1 > $0 + 1 }.map { "\($0 + 1)...\($1 - 1)" }.joined(separator: ", ")
    }
}
