/// One log record as one line of at most `LogLine.limit` bytes, whatever went in.
///
/// The limit is PIPE_BUF (`man 7 pipe`): a line in a pipe is written wholly or not at all, never mixed with another's. A
/// message or a value that is too long is cut and marked with "…"; metadata that does not fit is left out, and the
/// line says so. Control characters are escaped, so no text from outside can forge a line or steer a terminal.
import Logging

package enum LogFormat: String, Sendable, CaseIterable {
    /// `2026-01-02T03:04:05.678Z info agent: message key=value`
    case text
    /// One JSON object a line with sorted keys: label, level, message, metadata (an object of strings), time.
    case json
}

struct LogRecord {
    var time: UTCTime
    var level: Logger.Level
    var label: String
    var message: String
    var metadata: [(key: String, value: String)] = []

    init(time: UTCTime, level: Logger.Level, label: String, message: String, metadata: Logger.Metadata = [:]) {
        self.time = time
        self.level = level
        self.label = label
        self.message = message
        self.metadata = metadata.map { ($0.key, Self.text($0.value)) }.sorted { $0.key < $1.key }
    }

    /// Lists as `[a, b]`, dictionaries as `{k: v}` with sorted keys.
    private static func text(_ value: Logger.MetadataValue) -> String {
        switch value {
        case .string(let text): text
        case .stringConvertible(let value): value.description
        case .array(let values): "[" + values.map(text).joined(separator: ", ") + "]"
        case .dictionary(let pairs):
            "{" + pairs.sorted { $0.key < $1.key }.map { "\($0.key): \(text($0.value))" }.joined(separator: ", ") + "}"
        }
    }
}

struct LogLine {
    static let limit = 4096
    private static let messageLimit = 2000
    private static let valueLimit = 800
    /// Left free for the end of the line: `},"time":"…","truncated":true}` and the line feed.
    private static let reserve = 96

    private(set) var bytes: [UInt8] = []

    init(_ record: LogRecord, format: LogFormat) {
        bytes.reserveCapacity(256)
        switch format {
        case .text: writeText(record)
        case .json: writeJSON(record)
        }
        bytes.append(UInt8(ascii: "\n"))
    }

    private mutating func writeText(_ record: LogRecord) {
        append("\(record.time.text) \(record.level) ")
        append(Self.escaped(record.label, limit: 128))
        append(": ")
        append(Self.escaped(record.message, limit: Self.messageLimit))
        for (key, value) in record.metadata {
            let isPlain = !value.isEmpty && value.unicodeScalars.allSatisfy { $0 != " " && $0 != "\"" && $0 != "=" && $0 != "\\" }
            let shown = Self.escaped(value, quoted: !isPlain, limit: Self.valueLimit)
            let pair = " " + Self.escaped(key, limit: 128) + "=" + (isPlain ? shown : "\"\(shown)\"")
            guard fits(pair) else { return append(" …") }
            append(pair)
        }
    }

    private mutating func writeJSON(_ record: LogRecord) {
        append("{\"label\":\(Self.quoted(record.label, limit: 128)),\"level\":\"\(record.level)\"")
        append(",\"message\":\(Self.quoted(record.message, limit: Self.messageLimit))")
        var isTruncated = false
        if !record.metadata.isEmpty {
            append(",\"metadata\":{")
            var separator = ""
            for (key, value) in record.metadata {
                let pair = "\(separator)\(Self.quoted(key, limit: 128)):\(Self.quoted(value, limit: Self.valueLimit))"
                guard fits(pair) else {
                    isTruncated = true
                    break
                }
                append(pair)
                separator = ","
            }
            append("}")
        }
        append(",\"time\":\"\(record.time.text)\"\(isTruncated ? ",\"truncated\":true" : "")}")
    }

    private func fits(_ text: String) -> Bool { bytes.count + text.utf8.count <= Self.limit - Self.reserve }
    private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

    private static func quoted(_ text: String, limit: Int) -> String {
        "\"\(escaped(text, quoted: true, limit: limit))\""
    }

    /// Control characters (C0, DEL, C1) and the line and paragraph separators as JSON escapes, with `quoted` also the double
    /// quote and the backslash; at most `limit` bytes and then "…".
    private static func escaped(_ text: String, quoted: Bool = false, limit: Int) -> String {
        var result = ""
        var count = 0
        for scalar in text.unicodeScalars {
            let piece: String
            switch scalar {
            case "\n": piece = "\\n"
            case "\r": piece = "\\r"
            case "\t": piece = "\\t"
            case "\"" where quoted: piece = "\\\""
            case "\\" where quoted: piece = "\\\\"
            case "\u{0}"..."\u{1f}", "\u{7f}"..."\u{9f}", "\u{2028}", "\u{2029}":
                let digits = String(scalar.value, radix: 16)
                piece = "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: piece = String(scalar)
            }
            count += piece.utf8.count
            guard count <= limit else { return result + "…" }
            result += piece
        }
        return result
    }
}
