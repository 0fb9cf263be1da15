/// Which address and which block comes next: pure arithmetic over what is taken.
package import Addressing

package enum Allocation {
    /// Addresses of a subnet that no container gets: its ends (RFC 1122 section 3.2.1.3; on IPv6 only the first, the
    /// subnet-router anycast address of RFC 4291 section 2.6.1), its gateway and the auxiliary addresses.
    package static func isReserved(_ address: IPAddress, in subnet: Subnet) -> Bool {
        let prefix = subnet.prefix
        if prefix.family.width - prefix.length > 1 {
            if address == prefix.first || (prefix.family == .v4 && address == prefix.last) { return true }
        }
        return address == subnet.gateway || subnet.auxiliary.values.contains(address)
    }

    /// A free address of the blocks, the first after `last` in a circle, so that an address just freed comes again as late as possible.
    package static func address(
        in blocks: [IPPrefix], of subnet: Subnet, after last: IPAddress?, isTaken: (IPAddress) -> Bool
    ) -> IPAddress? {
        let usable = blocks.sorted().compactMap { block -> IPPrefix? in
            guard let range = subnet.range else { return block }
            if range.contains(block) { return block }
            return block.contains(range) ? range : nil
        }
        func search(_ prefix: IPPrefix, from first: IPAddress) -> IPAddress? {
            var candidate: IPAddress? = first
            // A block holds at most 65,536 addresses of ours at a time; the bound keeps a huge one from being walked whole.
            for _ in 0..<65_536 {
                guard let address = candidate, prefix.contains(address) else { return nil }
                if !isReserved(address, in: subnet), !isTaken(address) { return address }
                candidate = address.advanced(by: 1)
            }
            return nil
        }
        if let last, let index = usable.firstIndex(where: { $0.contains(last) }), let next = last.advanced(by: 1) {
            if let found = search(usable[index], from: next) { return found }
            for prefix in usable[(index + 1)...] + usable[..<index] {
                if let found = search(prefix, from: prefix.first) { return found }
            }
            return search(usable[index], from: usable[index].first)
        }
        for prefix in usable {
            if let found = search(prefix, from: prefix.first) { return found }
        }
        return nil
    }

    /// The block that an address belongs to.
    package static func block(of address: IPAddress, in subnet: Subnet) -> IPPrefix {
        IPPrefix(containing: address, length: subnet.blockLength)
    }

    /// A block that nobody owns and that has room, or nil. Each node starts looking elsewhere, so that many at once seldom meet.
    package static func freeBlock(in subnet: Subnet, owned: Set<IPPrefix>, seed: UInt64) -> IPPrefix? {
        let space = subnet.range ?? subnet.prefix
        if space.length > subnet.blockLength {
            let block = IPPrefix(containing: space.address, length: subnet.blockLength)
            return owned.contains(block) ? nil : block
        }
        let count = space.blockCount(length: subnet.blockLength)
        guard count > 0 else { return nil }
        let tries = min(count, UInt128(owned.count) + 66)
        let start = UInt128(seed) % count
        for offset in 0..<tries {
            guard let block = space.block((start + offset) % count, length: subnet.blockLength) else { continue }
            if !owned.contains(block), hasRoom(block, in: subnet) { return block }
        }
        return nil
    }

    /// Some address of it is not reserved.
    private static func hasRoom(_ block: IPPrefix, in subnet: Subnet) -> Bool {
        if block.count > UInt128(subnet.auxiliary.count + 3) { return true }
        var address: IPAddress? = block.first
        while let candidate = address, block.contains(candidate) {
            if !isReserved(candidate, in: subnet) { return true }
            address = candidate.advanced(by: 1)
        }
        return false
    }

    /// A subnet that overlaps nothing of `used`, from 10.32.0.0/11 in /18s (128 networks of 256 blocks each), or fd74:756c::/32 in /64s.
    package static func freeSubnet(_ family: AddressFamily, used: [IPPrefix], seed: UInt64) -> IPPrefix? {
        let space = family == .v4
            ? IPPrefix(containing: IPAddress(v4: 0x0a20_0000), length: 11)
            : IPPrefix(containing: IPAddress(.v6, bits: 0xfd74_756c << 96), length: 32)
        let length = family == .v4 ? 18 : 64
        let count = space.blockCount(length: length)
        let start = UInt128(seed) % count
        for offset in 0..<min(count, UInt128(used.count) + 64) {
            guard let prefix = space.block((start + offset) % count, length: length) else { continue }
            if !used.contains(where: prefix.overlaps) { return prefix }
        }
        return nil
    }
}
