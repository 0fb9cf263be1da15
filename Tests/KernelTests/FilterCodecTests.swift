import Addressing
import Fabric
import Glibc
import Netlink
import Testing

@testable import Kernel

@Suite("the filter's keys and errors")
struct FilterCodecTests {
    @Test("elements read back from their keys, which have the length that their set declares", arguments: FilterRandom.types)
    func keys(type: FilterSet.ElementType) throws {
        var random = FilterRandom(seed: 9)
        for _ in 0..<500 {
            let element = random.element(type, below: 1 << 24)
            let key = try #require(element.key(type))
            #expect(key.count == type.keyLength)
            #expect(FilterElement(key: key, type) == element)
            for other in FilterRandom.types where other != type {
                #expect(element.key(other) == nil)
                #expect(FilterElement(key: key, other) == nil)
            }
        }
    }

    @Test("a key that is read is the one that would be written, whatever its bytes", arguments: FilterRandom.types)
    func noise(type: FilterSet.ElementType) {
        var random = FilterRandom(seed: 10)
        for _ in 0..<2_000 {
            let count = Bool.random(using: &random) ? type.keyLength : Int.random(in: 0...64, using: &random)
            // Zeros are as frequent as all else, so that some names end.
            let key = (0..<count).map { _ in Bool.random(using: &random) ? UInt8.random(in: 0...127, using: &random) : 0 }
            if let element = FilterElement(key: key, type) { #expect(element.key(type) == key) }
        }
    }

    @Test("a name that no link can have makes no key", arguments: ["", "sixteen-letters!", "a\0b"])
    func names(name: String) throws {
        let element = FilterElement.guarded(link: name, mac: try mac("02:00:00:00:00:01"), address: try address("10.0.0.1"))
        #expect(element.key(.guardV4) == nil)
    }

    @Test("a kernel that lacks a part of nftables is told from other refusals, and the error names the part")
    func missingParts() {
        func error(_ errno: Int32, _ change: NFTablesChange?) -> KernelError {
            KernelError(netfilter: NetlinkAcknowledgement(errno: errno), change, "host")
        }
        func rule(_ expression: NFTablesExpression) -> NFTablesChange {
            .appendRule(NFTablesRule(table: "tulle", chain: "leave", expressions: [expression]))
        }
        let nat = NFTablesChain(table: "tulle", name: "leave", base: NFTablesChain.Base(type: "nat", hook: 4, priority: 100))
        for (part, refusal) in [
            ("nft_masq", error(ENOENT, rule(.masquerade))), ("nft_ct", error(ENOENT, rule(.untrack))),
            ("nft_chain_nat", error(ENOENT, .createChain(nat))), ("nf_tables", error(EOPNOTSUPP, nil)),
            ("inet", error(EAFNOSUPPORT, .createTable("tulle"))),
        ] {
            #expect(refusal.code == .unsupported)
            #expect(refusal.remedy.contains(part))
        }
        #expect(error(ENOENT, .addElements(NFTablesElements(table: "tulle", set: "s", keys: []))).code == .notFound)
        #expect(error(EPERM, nil).code == .permission)
    }
}
