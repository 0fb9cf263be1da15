/// The names of things. Each is a type of its own, so that one cannot be passed for another.
package import Addressing

/// A network of the cluster: 32 lower-case hexadecimal digits, random.
package struct NetworkID: Hashable, Sendable, Comparable, Codable, LosslessStringConvertible {
    package let description: String

    package init?(_ text: String) {
        guard text.utf8.count == 32, text.utf8.allSatisfy(\.isLowerHex) else { return nil }
        description = text
    }
    /// From 128 random bits.
    package init(random bits: UInt128) { description = hex(bits) }

    /// The first 12 digits, for names in the kernel.
    package var short: String { String(description.prefix(12)) }
    package static func < (left: Self, right: Self) -> Bool { left.description < right.description }
}

/// A node: a lower-case UUID kept in its state directory.
package struct NodeID: Hashable, Sendable, Comparable, Codable, LosslessStringConvertible {
    package let description: String

    package init?(_ text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard parts.map(\.count) == [8, 4, 4, 4, 12], parts.allSatisfy({ $0.allSatisfy(\.isLowerHex) }) else { return nil }
        description = text
    }
    /// A version 4 UUID (RFC 9562 section 5.4) of 128 random bits.
    package init(random bits: UInt128) {
        let version: UInt128 = 0x4 << 76, variant: UInt128 = 0x2 << 62
        let kept: UInt128 = ~(0xf << 76) & ~(0x3 << 62)
        let marked = (bits & kept) | version | variant
        let digits = hex(marked)
        var parts: [Substring] = []
        var rest = digits[...]
        for length in [8, 4, 4, 4, 12] {
            parts.append(rest.prefix(length))
            rest = rest.dropFirst(length)
        }
        description = parts.joined(separator: "-")
    }
    package static func < (left: Self, right: Self) -> Bool { left.description < right.description }

    /// The node's VTEP MAC: the same in every network, made of the identity and not of an address.
    package var tunnelMAC: MACAddress { MACAddress.local(fnv1a(description)) }
}

/// Docker's id of an endpoint on its engine (64 hexadecimal digits, but any text is taken).
package struct EndpointID: Hashable, Sendable, Comparable, Codable, LosslessStringConvertible {
    package let description: String
    package init(_ text: String) { description = text }
    package static func < (left: Self, right: Self) -> Bool { left.description < right.description }
}

extension NetworkID {
    package init(from decoder: any Decoder) throws { self = try decoder.decodeName("a network id", NetworkID.init) }
    package func encode(to encoder: any Encoder) throws { try encoder.encodeName(description) }
}
extension NodeID {
    package init(from decoder: any Decoder) throws { self = try decoder.decodeName("a node's UUID", NodeID.init) }
    package func encode(to encoder: any Encoder) throws { try encoder.encodeName(description) }
}
extension EndpointID {
    package init(from decoder: any Decoder) throws { self = try decoder.decodeName("an endpoint id") { EndpointID($0) } }
    package func encode(to encoder: any Encoder) throws { try encoder.encodeName(description) }
}

extension Decoder {
    fileprivate func decodeName<Value>(_ what: String, _ parse: (String) -> Value?) throws -> Value {
        let container = try singleValueContainer()
        let text = try container.decode(String.self)
        guard let value = parse(text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "'\(text)' is not \(what)")
        }
        return value
    }
}
extension Encoder {
    fileprivate func encodeName(_ text: String) throws {
        var container = singleValueContainer()
        try container.encode(text)
    }
}

extension UInt8 {
    var isLowerHex: Bool { (0x30...0x39).contains(self) || (0x61...0x66).contains(self) }
}

/// 32 lower-case hexadecimal digits.
private func hex(_ bits: UInt128) -> String {
    let digits = String(bits, radix: 16)
    return String(repeating: "0", count: 32 - digits.count) + digits
}

/// FNV-1a, 64 bits: spreads names over small numbers; no secret.
package func fnv1a(_ text: String) -> UInt64 {
    text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
}
