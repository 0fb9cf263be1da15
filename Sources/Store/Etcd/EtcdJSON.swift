/// Reads JSON in one pass without building a tree: a list of 4,000 entries is a megabyte, and nearly all of it is
/// base64 that goes straight into bytes. Any input is read or refused, none traps.
///
/// The gateway writes 64-bit numbers as strings and leaves out what is zero, false or empty, so every field has a default.
struct EtcdJSON {
    struct Malformed: Error {
        var what: String
    }

    private let bytes: UnsafeBufferPointer<UInt8>
    private var position = 0
    private var depth = 0
    /// Deeper than anything etcd sends.
    private static let maximumDepth = 32

    private init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

    /// Reads a whole text.
    static func read<Value>(_ text: [UInt8], _ body: (inout EtcdJSON) throws -> Value) throws -> Value {
        try text.withUnsafeBufferPointer { bytes in
            var reader = EtcdJSON(bytes)
            let value = try body(&reader)
            reader.skipSpace()
            guard reader.position == bytes.count else { throw Malformed(what: "something follows at byte \(reader.position)") }
            return value
        }
    }

    private func malformed(_ wanted: String) -> Malformed { Malformed(what: "there is no \(wanted) at byte \(position)") }

    private mutating func skipSpace() {
        while position < bytes.count, bytes[position] <= 0x20 { position += 1 }
    }

    private mutating func peek() -> UInt8? {
        skipSpace()
        return position < bytes.count ? bytes[position] : nil
    }

    private mutating func take(_ byte: Unicode.Scalar) -> Bool {
        guard peek() == UInt8(ascii: byte) else { return false }
        position += 1
        return true
    }

    /// Calls `field` for each field with its name; it must read the value or skip it.
    mutating func object(_ field: (inout EtcdJSON, String) throws -> Void) throws {
        if try isNull() { return }
        guard take("{"), depth < Self.maximumDepth else { throw malformed("object") }
        depth += 1
        defer { depth -= 1 }
        if take("}") { return }
        repeat {
            let name = try string()
            guard take(":") else { throw malformed("colon") }
            try field(&self, name)
        } while take(",")
        guard take("}") else { throw malformed("end of an object") }
    }

    mutating func array(_ element: (inout EtcdJSON) throws -> Void) throws {
        if try isNull() { return }
        guard take("["), depth < Self.maximumDepth else { throw malformed("array") }
        depth += 1
        defer { depth -= 1 }
        if take("]") { return }
        repeat { try element(&self) } while take(",")
        guard take("]") else { throw malformed("end of an array") }
    }

    var isString: Bool {
        mutating get { peek() == UInt8(ascii: "\"") }
    }

    mutating func string() throws -> String {
        if try isNull() { return "" }
        let (range, isPlain) = try stringRange()
        if isPlain { return String(decoding: bytes[range], as: UTF8.self) }
        return String(decoding: try unescaped(range), as: UTF8.self)
    }

    mutating func base64() throws -> [UInt8] {
        if try isNull() { return [] }
        let start = position
        let (range, isPlain) = try stringRange()
        let decoded: [UInt8]?
        if isPlain {
            decoded = Base64.decode(UnsafeBufferPointer(rebasing: bytes[range]))
        } else {
            decoded = try unescaped(range).withUnsafeBufferPointer { Base64.decode($0) }
        }
        guard let decoded else { throw Malformed(what: "the text at byte \(start) is not base64") }
        return decoded
    }

    /// A whole number, or a string that is one; a negative one by its two's complement, as etcd's 64-bit ids may be.
    mutating func number() throws -> UInt64 {
        if try isNull() { return 0 }
        let isQuoted = take("\"")
        let isNegative = take("-")
        var value: UInt64 = 0
        let start = position
        while position < bytes.count, case let digit = bytes[position] &- 0x30, digit < 10 {
            let (product, tooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, tooLargeToo) = product.addingReportingOverflow(UInt64(digit))
            guard !tooLarge, !tooLargeToo else { throw malformed("number of 64 bits") }
            value = sum
            position += 1
        }
        guard position > start, !isQuoted || take("\"") else { throw malformed("number") }
        return isNegative ? 0 &- value : value
    }

    /// Counts from 0 up; one less than the largest 64-bit number, so that the next one is a number too.
    mutating func revision() throws -> UInt64 {
        let value = try number()
        guard value < UInt64(Int64.max) else { throw malformed("revision") }
        return value
    }

    mutating func bool() throws -> Bool {
        if try literal("true") { return true }
        if try literal("false") || isNull() { return false }
        throw malformed("true or false")
    }

    mutating func skip() throws {
        switch peek() {
        case UInt8(ascii: "{"): try object { reader, _ in try reader.skip() }
        case UInt8(ascii: "["): try array { reader in try reader.skip() }
        case UInt8(ascii: "\""): _ = try stringRange()
        case nil: throw malformed("value")
        default:
            let start = position
            while position < bytes.count, !",]} \n\r\t\"[{:".utf8.contains(bytes[position]) { position += 1 }
            guard position > start else { throw malformed("value") }
        }
    }

    private mutating func isNull() throws -> Bool { try literal("null") }

    private mutating func literal(_ word: StaticString) throws -> Bool {
        _ = peek()
        let length = word.utf8CodeUnitCount
        guard bytes.count - position >= length,
            word.withUTF8Buffer({ $0.elementsEqual(bytes[position..<position + length]) })
        else { return false }
        position += length
        return true
    }

    /// The inside of a string, and whether it is free of escapes.
    private mutating func stringRange() throws -> (Range<Int>, isPlain: Bool) {
        guard take("\"") else { throw malformed("string") }
        let start = position
        var isPlain = true
        while position < bytes.count {
            switch bytes[position] {
            case UInt8(ascii: "\""):
                position += 1
                return (start..<position - 1, isPlain)
            case UInt8(ascii: "\\"):
                isPlain = false
                position += 2
            default: position += 1
            }
        }
        position = bytes.count
        throw malformed("end of a string")
    }

    private func unescaped(_ range: Range<Int>) throws -> [UInt8] {
        var text: [UInt8] = []
        var units: [UInt16] = []
        var index = range.lowerBound
        func flush() {
            guard !units.isEmpty else { return }
            text += String(decoding: units, as: UTF16.self).utf8
            units = []
        }
        while index < range.upperBound {
            let byte = bytes[index]
            index += 1
            guard byte == UInt8(ascii: "\\"), index < range.upperBound else {
                flush()
                text.append(byte)
                continue
            }
            let kind = bytes[index]
            index += 1
            if kind == UInt8(ascii: "u") {
                guard range.upperBound - index >= 4,
                    let unit = UInt16(String(decoding: bytes[index..<index + 4], as: UTF8.self), radix: 16)
                else { throw Malformed(what: "there is a bad escape at byte \(index)") }
                units.append(unit)
                index += 4
                continue
            }
            flush()
            switch kind {
            case UInt8(ascii: "n"): text.append(0x0A)
            case UInt8(ascii: "r"): text.append(0x0D)
            case UInt8(ascii: "t"): text.append(0x09)
            case UInt8(ascii: "b"): text.append(0x08)
            case UInt8(ascii: "f"): text.append(0x0C)
            default: text.append(kind)
            }
        }
        flush()
        return text
    }
}
