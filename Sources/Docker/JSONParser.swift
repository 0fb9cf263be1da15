/// Why bytes are not JSON, and where.
package struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
    package var cause: String
    /// Bytes before the fault.
    package var offset: Int

    package var description: String { "\(cause) at byte \(offset)" }
}

extension JSONValue {
    /// Parses one JSON text, with white space around it and nothing else.
    package init(parsing bytes: [UInt8]) throws(JSONError) {
        var parser = JSONParser(bytes)
        self = try parser.document()
    }
}

/// A recursive parser of JSON (RFC 8259). It is strict, and bounded in depth, so that no input from outside can end the
/// stack; length is bounded by whoever received the bytes. Of a repeated key the last counts, as in Go.
struct JSONParser {
    private static let maximumDepth = 64

    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() throws(JSONError) -> JSONValue {
        skipSpace()
        let value = try value(depth: 0)
        skipSpace()
        guard position == bytes.count else { throw error("more follows after the value") }
        return value
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        guard depth < JSONParser.maximumDepth else { throw error("nested deeper than \(JSONParser.maximumDepth) levels") }
        guard let first = next else { throw error("the text ends too early") }
        switch first {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try list(depth: depth)
        case UInt8(ascii: "\""): return .text(try text())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw error("no value")
        }
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
        var fields: [String: JSONValue] = [:]
        position += 1
        skipSpace()
        if take("}") { return .object(fields) }
        repeat {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw error("no key") }
            let key = try text()
            skipSpace()
            guard take(":") else { throw error("no colon after a key") }
            skipSpace()
            fields[key] = try value(depth: depth + 1)
            skipSpace()
        } while take(",")
        guard take("}") else { throw error("an object does not end") }
        return .object(fields)
    }

    private mutating func list(depth: Int) throws(JSONError) -> JSONValue {
        var values: [JSONValue] = []
        position += 1
        skipSpace()
        if take("]") { return .list(values) }
        repeat {
            skipSpace()
            values.append(try value(depth: depth + 1))
            skipSpace()
        } while take(",")
        guard take("]") else { throw error("a list does not end") }
        return .list(values)
    }

    private mutating func word(_ word: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
        let matches = word.withUTF8Buffer { bytes[position...].starts(with: $0) }
        guard matches else { throw error("no value") }
        position += word.utf8CodeUnitCount
        return value
    }

    private mutating func number() throws(JSONError) -> JSONValue {
        let start = position
        _ = take("-")
        if !take("0") { try digits() }
        var isInteger = true
        if take(".") {
            isInteger = false
            try digits()
        }
        if take("e") || take("E") {
            isInteger = false
            if !take("+") { _ = take("-") }
            try digits()
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isInteger, let integer = Int64(text) { return .integer(integer) }
        guard let number = Double(text), number.isFinite else { throw error("a number is out of range") }
        return .number(number)
    }

    private mutating func digits() throws(JSONError) {
        let start = position
        while let next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(next) { position += 1 }
        guard position > start else { throw error("no digit") }
    }

    private mutating func text() throws(JSONError) -> String {
        position += 1
        var result: [UInt8] = []
        while let byte = next {
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: result, as: UTF8.self) else { throw error("a text is not UTF-8") }
                return text
            case UInt8(ascii: "\\"): try escape(into: &result)
            case 0..<0x20: throw error("a control character in a text")
            default: result.append(byte)
            }
        }
        throw error("a text does not end")
    }

    private mutating func escape(into result: inout [UInt8]) throws(JSONError) {
        guard let byte = next else { throw error("a text does not end") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(byte)
        case UInt8(ascii: "b"): result.append(0x08)
        case UInt8(ascii: "f"): result.append(0x0c)
        case UInt8(ascii: "n"): result.append(0x0a)
        case UInt8(ascii: "r"): result.append(0x0d)
        case UInt8(ascii: "t"): result.append(0x09)
        case UInt8(ascii: "u"): result += String(try codePoint()).utf8
        default: throw error("an unknown escape")
        }
    }

    /// The character of `\uXXXX`, with the second half of a surrogate pair; half a pair alone is U+FFFD, as in Go.
    private mutating func codePoint() throws(JSONError) -> Character {
        let first = try hexQuad()
        if (0xd800..<0xdc00).contains(first), bytes[position...].starts(with: "\\u".utf8) {
            let mark = position
            position += 2
            let second = try hexQuad()
            if (0xdc00..<0xe000).contains(second) {
                return Unicode.Scalar(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).map { Character($0) } ?? "\u{fffd}"
            }
            position = mark
        }
        return Unicode.Scalar(first).map { Character($0) } ?? "\u{fffd}"
    }

    private mutating func hexQuad() throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { throw error("a bad escape") }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func skipSpace() {
        while let next, next == 0x20 || next == 0x0a || next == 0x0d || next == 0x09 { position += 1 }
    }

    private func error(_ cause: String) -> JSONError { JSONError(cause: cause, offset: position) }
}
