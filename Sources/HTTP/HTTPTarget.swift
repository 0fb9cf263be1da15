/// The request target (RFC 9112 section 3.2): `/path?name=value`, percent-encoded (RFC 3986 section 2.1).
enum HTTPTarget {
    /// Path and query of an origin-form or absolute-form target; nil when it is neither, or badly encoded.
    static func parse(_ target: String) -> (path: String, query: [String: String])? {
        var rest = Substring(target)
        if !rest.hasPrefix("/") {
            // Absolute form, as a proxy's client sends it: the authority says nothing new to us.
            guard let scheme = rest.firstRange(of: "://") else { return nil }
            rest = rest[scheme.upperBound...]
            rest = rest.firstIndex(of: "/").map { rest[$0...] } ?? "/"
        }
        let parts = rest.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        guard let path = decode(parts[0], plusIsSpace: false) else { return nil }
        var query: [String: String] = [:]
        for pair in parts.dropFirst().joined().split(separator: "&") {
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = decode(halves[0], plusIsSpace: true),
                let value = halves.count == 2 ? decode(halves[1], plusIsSpace: true) : ""
            else { return nil }
            query[name] = value
        }
        return (path, query)
    }

    /// The target that `parse` takes apart into the same path and query; names in order, so that it is reproducible.
    static func text(path: String, query: [String: String]) -> String {
        let start = path.hasPrefix("/") ? "" : "/"
        let encoded = start + encode(path, keeping: "/:@!$&'()*,;=+")
        guard !query.isEmpty else { return encoded }
        let pairs = query.sorted { $0.key < $1.key }.map { encode($0.key, keeping: "") + "=" + encode($0.value, keeping: "") }
        return encoded + "?" + pairs.joined(separator: "&")
    }

    private static func encode(_ text: String, keeping: StaticString) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count)
        keeping.withUTF8Buffer { kept in
            for byte in text.utf8 {
                if isUnreserved(byte) || kept.contains(byte) {
                    result.append(byte)
                } else {
                    result += [UInt8(ascii: "%"), hexDigit(byte >> 4), hexDigit(byte & 15)]
                }
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    private static func decode(_ text: Substring, plusIsSpace: Bool) -> String? {
        var result: [UInt8] = []
        result.reserveCapacity(text.utf8.count)
        var bytes = text.utf8.makeIterator()
        while let byte = bytes.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = bytes.next().flatMap(hexValue), let low = bytes.next().flatMap(hexValue) else { return nil }
                result.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace:
                result.append(UInt8(ascii: " "))
            default:
                result.append(byte)
            }
        }
        return String(validating: result, as: UTF8.self)
    }

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
            return true
        default:
            return false
        }
    }

    private static func hexDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") + value - 10
    }

    private static func hexValue(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): return digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): return digit - UInt8(ascii: "A") + 10
        default: return nil
        }
    }
}
