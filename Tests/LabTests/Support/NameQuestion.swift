/// DNS questions asked inside containers, byte by byte, so that a test sees what a program there would.
import Addressing
import DNS
import TestKit
import Testing

extension Container {
    /// Asks the container's resolver (127.0.0.11) once; nil when there is no answer in that time.
    /// - Parameter patience: seconds, all of which pass.
    func ask(
        _ name: String, _ type: DNSType = .a, overTCP: Bool = false, size: UInt16? = nil, patience: Double = 0.5
    ) throws -> DNSMessage? {
        var question = DNSMessage(id: .random(in: .min ... .max))
        question.wantsRecursion = true
        question.questions = [DNSQuestion(try #require(DNSName(name)), type)]
        if let size { question.additionals = [DNSOptions(size: size).record] }
        var bytes = question.printed()
        if overTCP { bytes = [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xff)] + bytes }
        let digits = bytes.map { "\\x" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        // Socat's end of a datagram is a time without one; the shell's printf writes the bytes.
        let target = overTCP ? "TCP:127.0.0.11:53" : "UDP:127.0.0.11:53"
        let script = "printf '\(digits)' | socat -b 65536 -t \(patience) - \(target) 2>/dev/null | head -c \(overTCP ? 65_536 : 65_535) | od -An -v -tx1"
        let output = try host.lab.attempt(["docker", "\(host)", "exec", self.name, "sh", "-c", script]).output
        var answer = output.split(whereSeparator: \.isWhitespace).compactMap { UInt8($0, radix: 16) }
        if overTCP { answer.removeFirst(min(2, answer.count)) }
        guard !answer.isEmpty else { return nil }
        let message = try DNSMessage(parsing: answer)
        #expect(message.id == question.id && message.questions == question.questions)
        return message
    }

    /// The data of the answers.
    func lookUp(_ name: String, _ type: DNSType = .a, overTCP: Bool = false) throws -> [String] {
        try ask(name, type, overTCP: overTCP)?.answers.map { "\($0.data)" } ?? []
    }

    func mustFind(_ name: String, _ wanted: [String], _ type: DNSType = .a, within limit: Duration = .seconds(3)) async throws {
        var found: [String] = []
        try await eventually("\(self) finds \(name) as \(wanted), not \(found)", within: limit) {
            found = try lookUp(name, type)
            return found.sorted() == wanted.sorted()
        }
    }
}
