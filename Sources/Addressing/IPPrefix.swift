/// An address block in CIDR notation (RFC 4632), host bits zero.
package struct IPPrefix: Hashable, Sendable, Comparable {
    package let address: IPAddress
    /// 0 … `address.family.width`.
    package let length: Int

    /// The block that contains `address`; the length is clamped to the family's width.
    package init(containing address: IPAddress, length: Int) {
        self.length = min(max(length, 0), address.family.width)
        self.address = IPAddress(address.family, bits: address.bits & ~Self.hostMask(address.family, self.length))
    }

    /// One address: /32 or /128.
    package init(_ address: IPAddress) { self.init(containing: address, length: address.family.width) }

    package var family: AddressFamily { address.family }

    private static func hostMask(_ family: AddressFamily, _ length: Int) -> UInt128 {
        let host = family.width - length
        return host == 128 ? .max : (UInt128(1) << UInt128(host)) - 1
    }
    private var hostMask: UInt128 { Self.hostMask(family, length) }

    package var first: IPAddress { address }
    package var last: IPAddress { IPAddress(family, bits: address.bits | hostMask) }
    /// How many addresses, saturated at UInt128.max.
    package var count: UInt128 { hostMask == .max ? .max : hostMask + 1 }
    package var isSingle: Bool { length == family.width }

    package func contains(_ other: IPAddress) -> Bool {
        other.family == family && other.bits & ~hostMask == address.bits
    }
    package func contains(_ other: IPPrefix) -> Bool { other.length >= length && contains(other.address) }
    package func overlaps(_ other: IPPrefix) -> Bool { contains(other) || other.contains(self) }

    /// How many blocks of that length fit in (0 when it is shorter than ours), saturated.
    package func blockCount(length blockLength: Int) -> UInt128 {
        let extra = blockLength - length
        guard extra >= 0, blockLength <= family.width else { return 0 }
        return extra >= 128 ? .max : UInt128(1) << UInt128(extra)
    }

    /// The block of that length with that number, counted from our first address; nil when out of range.
    package func block(_ index: UInt128, length blockLength: Int) -> IPPrefix? {
        guard index < blockCount(length: blockLength) else { return nil }
        let shift = family.width - blockLength
        let offset = shift >= 128 ? 0 : index << UInt128(shift)
        return IPPrefix(containing: IPAddress(family, bits: address.bits | offset), length: blockLength)
    }

    package static func < (left: Self, right: Self) -> Bool {
        left.address != right.address ? left.address < right.address : left.length < right.length
    }
}

extension IPPrefix: LosslessStringConvertible, Codable {
    /// "10.32.0.0/16"; host bits must be zero.
    package init?(_ text: String) {
        guard let parsed = InterfaceAddress(text), parsed.address == parsed.prefix.address else { return nil }
        self = parsed.prefix
    }
    package var description: String { "\(address)/\(length)" }
    package init(from decoder: any Decoder) throws {
        self = try decoder.decodeText("a network such as 10.32.0.0/16", IPPrefix.init)
    }
    package func encode(to encoder: any Encoder) throws { try encoder.encodeText(self) }
}

/// An address with the length of the prefix it is used in: "10.50.0.9/24".
package struct InterfaceAddress: Hashable, Sendable, LosslessStringConvertible, Codable {
    package let address: IPAddress
    package let length: Int

    package init(_ address: IPAddress, length: Int) {
        self.address = address
        self.length = min(max(length, 0), address.family.width)
    }
    package var prefix: IPPrefix { IPPrefix(containing: address, length: length) }

    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPAddress(parts[0]), (1...3).contains(parts[1].utf8.count),
            parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let length = Int(parts[1]),
            length <= address.family.width
        else { return nil }
        self.init(address, length: length)
    }
    package var description: String { "\(address)/\(length)" }
    package init(from decoder: any Decoder) throws {
        self = try decoder.decodeText("an address with a prefix length", InterfaceAddress.init)
    }
    package func encode(to encoder: any Encoder) throws { try encoder.encodeText(self) }
}
