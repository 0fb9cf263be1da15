/// Where a command's data and talk go.
import Glibc

/// The data could not be written.
struct OutputFailure: Error, Equatable {
    let code: Int32
    /// The reader took what it wanted and left.
    var isClosed: Bool { code == EPIPE }
}

struct Console: Sendable {
    private let output: Int32
    private let talk: Int32
    private let input: Int32
    let hasColor: Bool

    init(
        output: Int32 = STDOUT_FILENO, talk: Int32 = STDERR_FILENO, input: Int32 = STDIN_FILENO, environment: [String: String]
    ) {
        self.output = output
        self.talk = talk
        self.input = input
        hasColor = Self.allowsColor(isTerminal: isatty(output) == 1, environment: environment)
    }

    /// Data may be coloured on a terminal, without NO_COLOR (no-color.org), and not on a "dumb" one.
    static func allowsColor(isTerminal: Bool, environment: [String: String]) -> Bool {
        isTerminal && environment["NO_COLOR", default: ""].isEmpty && environment["TERM"] != "dumb"
    }

    /// Data: what the command was asked for.
    func write(_ bytes: [UInt8]) throws(OutputFailure) {
        let code = Self.writeAll(bytes, to: output)
        if code != 0 { throw OutputFailure(code: code) }
    }
    func write(_ text: String) throws(OutputFailure) { try write(Array(text.utf8)) }

    /// Talk: one line to the person; it is lost when nobody listens.
    func say(_ line: String) {
        _ = Self.writeAll(Array((line.hasSuffix("\n") ? line : line + "\n").utf8), to: talk)
    }

    /// Whether somebody is there to answer questions.
    var isInteractive: Bool { isatty(input) == 1 && isatty(talk) == 1 }

    /// True for "y" or "yes".
    func confirm(_ question: String) -> Bool {
        _ = Self.writeAll(Array("\(question) [y/N] ".utf8), to: talk)
        var line: [UInt8] = []
        var byte: UInt8 = 0
        while line.count < 16, read(input, &byte, 1) == 1, byte != UInt8(ascii: "\n") { line.append(byte) }
        return ["y", "yes"].contains(String(decoding: line, as: UTF8.self).lowercased())
    }

    /// Zero, or the errno.
    private static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Int32 {
        var left = bytes[...]
        while !left.isEmpty {
            let count = left.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 {
                left = left.dropFirst(count)
            } else if errno == EAGAIN {
                var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&entry, 1, -1)
            } else if errno != EINTR {
                return errno
            }
        }
        return 0
    }
}
