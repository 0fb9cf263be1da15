import FoundationEssentials
import Logging
import Testing

@testable import Telemetry

@Suite struct LogLineTests {
    private let time = UTCTime(milliseconds: 1_767_323_045_678)

    private func line(_ message: String, _ metadata: Logger.Metadata = [:], label: String = "agent", _ format: LogFormat) -> String {
        let record = LogRecord(time: time, level: .info, label: label, message: message, metadata: metadata)
        return String(decoding: LogLine(record, format: format).bytes, as: UTF8.self)
    }

    @Test("a text line has the time, the level, the label, the message and sorted metadata")
    func text() {
        #expect(line("message", ["key": "value"], .text) == "2026-01-02T03:04:05.678Z info agent: message key=value\n")
        #expect(
            line("m", ["b": "two words", "a": "", "c": "x=\"y\"", "d": ["1", "2"], "e": ["k": "v"], "f": .stringConvertible(7)], .text)
                == "2026-01-02T03:04:05.678Z info agent: m a=\"\" b=\"two words\" c=\"x=\\\"y\\\"\" d=\"[1, 2]\" e=\"{k: v}\" f=7\n")
    }

    @Test("a JSON line is one object with sorted keys")
    func json() {
        #expect(
            line("message", ["b": "2", "a": "\"1\""], .json)
                == #"{"label":"agent","level":"info","message":"message","metadata":{"a":"\"1\"","b":"2"},"time":"2026-01-02T03:04:05.678Z"}"#
                + "\n")
        #expect(
            line("m", [:], .json) == #"{"label":"agent","level":"info","message":"m","time":"2026-01-02T03:04:05.678Z"}"# + "\n")
    }

    @Test("control characters cannot forge a line or steer a terminal", arguments: LogFormat.allCases)
    func control(format: LogFormat) {
        let text = line("a\nb\r\u{1b}[2J\u{9b}\u{2028}c", ["k": "v\n\u{7f}w"], label: "l\nx", format)
        #expect(text.contains(#"a\nb\r\u001b[2J\u009b\u2028c"#))
        #expect(text.contains(#"v\n\u007fw"#))
        #expect(text.contains(#"l\nx"#))
        #expect(text.unicodeScalars.filter { $0.value < 0x20 } == ["\n"])
    }

    @Test("a line is never longer than a pipe takes at once, and says what it left out")
    func limits() {
        let metadata = Logger.Metadata(uniqueKeysWithValues: (0..<50).map { ("key\($0)", "\(String(repeating: "x", count: 500))") })
        let text = line(String(repeating: "ä", count: 9000), metadata, .text)
        #expect(text.utf8.count <= LogLine.limit)
        #expect(text.hasSuffix(" …\n"))
        let json = line(String(repeating: "ä", count: 9000), metadata, .json)
        #expect(json.utf8.count <= LogLine.limit)
        #expect(json.hasSuffix(",\"truncated\":true}\n"))
        #expect(json.contains("ä…\""))
    }

    private struct Object: Decodable {
        var label, level, message, time: String
        var metadata: [String: String]?
    }

    @Test("whatever goes in, a line is bounded, single and, as JSON, an object")
    func random() throws {
        var generator = SystemRandomNumberGenerator()
        let alphabet: [Unicode.Scalar] = ["a", "\"", "\\", "\n", "\u{0}", "\u{1f}", "\u{7f}", "é", "字", "🦀", "\u{2028}", " ", "=", "}"]
        for _ in 0..<500 {
            func text(_ limit: Int) -> String {
                let count = Int.random(in: 0...limit, using: &generator)
                return String(String.UnicodeScalarView((0..<count).map { _ in alphabet.randomElement(using: &generator) ?? "a" }))
            }
            var metadata: Logger.Metadata = [:]
            for _ in 0..<Int.random(in: 0...12, using: &generator) { metadata[text(200)] = "\(text(1200))" }
            let message = text(3000)
            for format in LogFormat.allCases {
                let record = LogRecord(time: time, level: .error, label: text(200), message: message, metadata: metadata)
                let bytes = LogLine(record, format: format).bytes
                #expect(bytes.count <= LogLine.limit)
                #expect(bytes.filter { $0 == UInt8(ascii: "\n") }.count == 1)
                #expect(bytes.last == UInt8(ascii: "\n"))
                if format == .json {
                    let object = try JSONDecoder().decode(Object.self, from: Data(bytes))
                    #expect(object.message == message || object.message.hasSuffix("…"))
                }
            }
        }
    }
}
