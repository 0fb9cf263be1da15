import Addressing
import Fabric
import TestKit
import Testing

@Suite struct AllocationTests {
    func subnet(_ text: String, range: String? = nil, auxiliary: [String] = []) throws -> Subnet {
        let prefix = try #require(IPPrefix(text))
        let gateway = try #require(prefix.first.advanced(by: 1))
        var named: [String: IPAddress] = [:]
        for text in auxiliary { named[text] = IPAddress(text) }
        return Subnet(prefix: prefix, gateway: gateway, range: range.flatMap(IPPrefix.init), auxiliary: named)
    }

    @Test("a subnet has at least sixteen blocks where it holds them", arguments: [
        ("10.0.0.0/8", 26), ("10.32.0.0/16", 26), ("10.32.0.0/24", 28), ("10.32.0.0/28", 32), ("10.32.0.0/30", 32), ("fd32::/64", 112),
        ("fd32::/120", 124),
    ])
    func blockLengths(text: String, length: Int) throws {
        #expect(try subnet(text).blockLength == length)
    }

    @Test("ends, gateway and auxiliary addresses are never given", arguments: ["10.32.0.0/28", "fd32::/124"])
    func reserved(text: String) throws {
        let subnet = try subnet(text, auxiliary: [text.hasPrefix("fd") ? "fd32::9" : "10.32.0.9"])
        var taken: Set<IPAddress> = []
        while let address = Allocation.address(in: [subnet.prefix], of: subnet, after: nil, isTaken: { taken.contains($0) }) {
            #expect(!Allocation.isReserved(address, in: subnet))
            taken.insert(address)
        }
        // 16 less gateway, auxiliary and the ends that do not count.
        #expect(taken.count == (subnet.prefix.family == .v4 ? 12 : 13))
    }

    @Test("an address just freed comes again as late as possible")
    func rotation() throws {
        let subnet = try subnet("10.32.0.0/29")
        var taken: Set<IPAddress> = []
        var last: IPAddress?
        var order: [String] = []
        for _ in 0..<10 {
            let next = try #require(Allocation.address(in: [subnet.prefix], of: subnet, after: last, isTaken: { taken.contains($0) }))
            order.append(next.description)
            taken = [next]
            last = next
        }
        #expect(order.prefix(5) == ["10.32.0.2", "10.32.0.3", "10.32.0.4", "10.32.0.5", "10.32.0.6"])
        #expect(order[5] == "10.32.0.2")
    }

    @Test("a random allocator agrees with a slow, obvious one", arguments: 0..<100)
    func model(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let subnet = try subnet("10.32.0.0/24", range: Bool.random(using: &random) ? "10.32.0.64/27" : nil)
        let blocks = (0..<16).compactMap { subnet.prefix.block($0, length: 28) }.filter { _ in Bool.random(using: &random) }
        let all = (0..<256).compactMap { subnet.prefix.first.advanced(by: $0) }
        let free = Set(all.filter { address in
            blocks.contains { $0.contains(address) } && !Allocation.isReserved(address, in: subnet)
                && subnet.range?.contains(address) ?? true
        })
        var taken: Set<IPAddress> = []
        var last: IPAddress?
        for _ in 0..<400 {
            if Bool.random(using: &random), let victim = taken.sorted().randomElement(using: &random) { taken.remove(victim) }
            let next = Allocation.address(in: blocks, of: subnet, after: last, isTaken: { taken.contains($0) })
            #expect((next == nil) == free.subtracting(taken).isEmpty)
            guard let next else { continue }
            #expect(free.contains(next) && !taken.contains(next))
            taken.insert(next)
            last = next
        }
    }

    @Test("every block of a subnet is found, each once, and then none")
    func blocks() throws {
        let subnet = try subnet("10.32.0.0/24")
        var owned: Set<IPPrefix> = []
        for seed in 0..<16 {
            let block = try #require(Allocation.freeBlock(in: subnet, owned: owned, seed: UInt64(seed) &* 0x9e37_79b9))
            #expect(owned.insert(block).inserted)
        }
        #expect(Allocation.freeBlock(in: subnet, owned: owned, seed: 1) == nil)
    }

    @Test("a range smaller than a block lies in one block")
    func smallRange() throws {
        let subnet = try subnet("10.32.0.0/16", range: "10.32.5.8/30")
        let block = try #require(Allocation.freeBlock(in: subnet, owned: [], seed: 3))
        #expect(block.description == "10.32.5.0/26")
        #expect(Allocation.freeBlock(in: subnet, owned: [block], seed: 3) == nil)
        let address = Allocation.address(in: [block], of: subnet, after: nil, isTaken: { _ in false })
        #expect(address?.description == "10.32.5.8")
    }

    @Test("a chosen subnet overlaps nothing in use")
    func chosen() throws {
        let used = ["10.32.0.0/16", "10.33.128.0/20"].compactMap(IPPrefix.init)
        #expect(Allocation.freeSubnet(.v4, used: used, seed: 0)?.description == "10.33.0.0/18")
        #expect(Allocation.freeSubnet(.v4, used: used, seed: 9)?.description == "10.34.64.0/18")
        let v6 = try #require(Allocation.freeSubnet(.v6, used: used, seed: 9))
        #expect(v6.length == 64)
    }
}
