/// An IPv4 or IPv6 address as a number. Both families share one type, so that nothing above is written twice.

package enum AddressFamily: UInt8, Hashable, Sendable, CaseIterable, Comparable {
    case v4 = 4
    case v6 = 6

    /// Bits in an address.
    package var width: Int { self == .v4 ? 32 : 128 }
    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

package struct IPAddress: Hashable, Sendable, Comparable {
    package let family: AddressFamily
    /// The address in host order, in the low `family.width` bits.
    package let bits: UInt128

    package init(_ family: AddressFamily, bits: UInt128) {
        self.family = family
        self.bits = family == .v4 ? bits & 0xffff_ffff : bits
    }

    package init(v4 bits: UInt32) { self.init(.v4, bits: UInt128(bits)) }

    /// From 4 or 16 bytes in network order; nil for any other count.
    package init?(bytes: some Collection<UInt8>) {
        switch bytes.count {
        case 4: family = .v4
        case 16: family = .v6
        default: return nil
        }
        bits = bytes.reduce(0) { $0 << 8 | UInt128($1) }
    }

    /// 4 or 16 bytes in network order.
    package var bytes: [UInt8] {
        (0..<family.width / 8).reversed().map { UInt8(truncatingIfNeeded: bits >> UInt128($0 * 8)) }
    }

    package static func < (left: Self, right: Self) -> Bool {
        (left.family, left.bits) < (right.family, right.bits)
    }

    /// The address `offset` further on, or nil beyond the end of the family's space.
    package func advanced(by offset: UInt128) -> IPAddress? {
        let (sum, overflow) = bits.addingReportingOverflow(offset)
        guard !overflow, family == .v6 || sum <= 0xffff_ffff else { return nil }
        return IPAddress(family, bits: sum)
    }

    /// 169.254.0.0/16 (RFC 3927) or fe80::/10 (RFC 4291 section 2.5.6).
    package var isLinkLocal: Bool {
        family == .v4 ? bits >> 16 == 0xa9fe : bits >> 118 == 0xfe80 >> 6
    }
    package var isMulticast: Bool { family == .v4 ? bits >> 28 == 0xe : bits >> 120 == 0xff }
    package var isLoopback: Bool { family == .v4 ? bits >> 24 == 127 : bits == 1 }
    package var isUnspecified: Bool { bits == 0 }
    /// ::ffff:0:0/96 (RFC 4291 section 2.5.5.2).
    package var isMappedV4: Bool { family == .v6 && bits >> 32 == 0xffff }
}

// MARK: Text

extension IPAddress: LosslessStringConvertible, Codable {
    /// Dotted decimal without leading zeros, or RFC 4291 section 2.2 (with an embedded IPv4 tail, without a zone).
    package init?(_ text: String) {
        self.init(text[...])
    }

    package init?(_ text: Substring) {
        if text.utf8.contains(UInt8(ascii: ":")) {
            guard let bits = Self.parseV6(text) else { return nil }
            self.init(.v6, bits: bits)
        } else {
            guard let bits = Self.parseV4(text) else { return nil }
            self.init(v4: bits)
        }
    }

    private static func parseV4(_ text: Substring) -> UInt32? {
        let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bits: UInt32 = 0
        for part in parts {
            guard (1...3).contains(part.count), part.allSatisfy({ (0x30...0x39).contains($0) }),
                part.count == 1 || part.first != 0x30, let byte = UInt8(Substring(part))
            else { return nil }
            bits = bits << 8 | UInt32(byte)
        }
        return bits
    }

    private static func parseV6(_ text: Substring) -> UInt128? {
        guard text.utf8.count <= 45 else { return nil }
        let halves = splitAtDoubleColon(text)
        guard let head = parseGroups(halves.head) else { return nil }
        guard let tailText = halves.tail else { return head.count == 8 ? join(head) : nil }
        guard let tail = parseGroups(tailText), head.count + tail.count <= 7 else { return nil }
        return join(head + Array(repeating: 0, count: 8 - head.count - tail.count) + tail)
    }

    private static func splitAtDoubleColon(_ text: Substring) -> (head: Substring, tail: Substring?) {
        let utf8 = text.utf8
        var index = utf8.startIndex
        while index < utf8.endIndex {
            let next = utf8.index(after: index)
            if utf8[index] == 0x3a, next < utf8.endIndex, utf8[next] == 0x3a {
                return (text[..<index], text[utf8.index(after: next)...])
            }
            index = next
        }
        return (text, nil)
    }

    private static func parseGroups(_ text: Substring) -> [UInt16]? {
        if text.isEmpty { return [] }
        var groups: [UInt16] = []
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            if index == parts.count - 1, part.utf8.contains(UInt8(ascii: ".")) {
                guard let v4 = parseV4(part) else { return nil }
                groups += [UInt16(v4 >> 16), UInt16(truncatingIfNeeded: v4)]
            } else {
                guard (1...4).contains(part.utf8.count), part.utf8.first != UInt8(ascii: "+"),
                    let group = UInt16(part, radix: 16)
                else { return nil }
                groups.append(group)
            }
        }
        return groups
    }

    private static func join(_ groups: [UInt16]) -> UInt128 { groups.reduce(0) { $0 << 16 | UInt128($1) } }

    /// Dotted decimal, or the canonical form of RFC 5952.
    package var description: String {
        if family == .v4 { return bytes.map(String.init).joined(separator: ".") }
        let groups = (0..<8).reversed().map { UInt16(truncatingIfNeeded: bits >> UInt128($0 * 16)) }
        var best = 0..<0
        var start = 0
        while start < 8 {
            guard groups[start] == 0 else {
                start += 1
                continue
            }
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > best.count { best = start..<end }
            start = end
        }
        func text(_ part: ArraySlice<UInt16>) -> String {
            part.map { String($0, radix: 16) }.joined(separator: ":")
        }
        if best.count < 2 { return text(groups[...]) }
        return text(groups[..<best.lowerBound]) + "::" + text(groups[best.upperBound...])
    }

    package init(from decoder: any Decoder) throws {
        self = try decoder.decodeText("an IP address", IPAddress.init)
    }
    package func encode(to encoder: any Encoder) throws { try encoder.encodeText(self) }
}

extension Decoder {
    /// One string that must parse.
    func decodeText<Value>(_ what: String, _ parse: (String) -> Value?) throws -> Value {
        let container = try singleValueContainer()
        let text = try container.decode(String.self)
        guard let value = parse(text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "'\(text)' is not \(what)")
        }
        return value
    }
}

extension Encoder {
    func encodeText(_ value: some CustomStringConvertible) throws {
        var container = singleValueContainer()
        try container.encode(value.description)
    }
}
