/// A 48-bit Ethernet address (IEEE 802, EUI-48).
package struct MACAddress: Hashable, Sendable, Comparable {
    /// In the low 48 bits, first byte on the wire highest.
    package let bits: UInt64

    package init(bits: UInt64) { self.bits = bits & 0xffff_ffff_ffff }
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 6 else { return nil }
        bits = bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }
    package var bytes: [UInt8] { (0..<6).reversed().map { UInt8(truncatingIfNeeded: bits >> UInt64($0 * 8)) } }

    /// The group bit: never a valid source or interface address.
    package var isMulticast: Bool { bits >> 40 & 1 == 1 }

    /// A locally administered unicast address whose lower 40 bits are those given.
    package static func local(_ low: UInt64) -> MACAddress { MACAddress(bits: 0x02 << 40 | low & 0xff_ffff_ffff) }

    /// The link-local address that EUI-64 makes of it (RFC 4291 appendix A).
    package var linkLocal: IPAddress {
        let high = (bits >> 24) ^ 0x020000
        let interface = high << 40 | 0xfffe << 24 | bits & 0xff_ffff
        return IPAddress(.v6, bits: UInt128(0xfe80) << 112 | UInt128(interface))
    }

    package static func < (left: Self, right: Self) -> Bool { left.bits < right.bits }
}

extension MACAddress: LosslessStringConvertible, Codable {
    /// Six pairs of hexadecimal digits between colons.
    package init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 6 else { return nil }
        var bits: UInt64 = 0
        for part in parts {
            guard part.utf8.count == 2, part.utf8.first != UInt8(ascii: "+"), let byte = UInt8(part, radix: 16)
            else { return nil }
            bits = bits << 8 | UInt64(byte)
        }
        self.init(bits: bits)
    }
    package var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
    }
    package init(from decoder: any Decoder) throws {
        self = try decoder.decodeText("a MAC address", MACAddress.init)
    }
    package func encode(to encoder: any Encoder) throws { try encoder.encodeText(self) }
}

/// A VXLAN network identifier: 24 bits (RFC 7348 section 5).
package struct VNI: Hashable, Sendable, Comparable, Codable, CustomStringConvertible {
    package let number: UInt32

    package init?(_ number: UInt32) {
        guard (1...0xff_ffff).contains(number) else { return nil }
        self.number = number
    }
    package var description: String { String(number) }
    package static func < (left: Self, right: Self) -> Bool { left.number < right.number }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let vni = VNI(try container.decode(UInt32.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "a VNI is 1 to 16777215")
        }
        self = vni
    }
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(number)
    }
}
