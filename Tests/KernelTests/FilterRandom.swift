/// Filters for the tests: one with every match, and random ones.
import Addressing
import Fabric
import Testing

/// A filter with each match and verdict, and the same as a script for nft.
func everyMatch() throws -> (PacketFilter, script: String) {
    let mac = try mac("02:00:00:00:00:2a")
    // Their rule's text is longer than a comment of nft's.
    let long = ["fd00:1111:2222:3333:4444:5555:6666:7777", "fd00:8888:9999:aaaa:bbbb:cccc:dddd:eeee"]
    let guarded: [(FilterRule, nft: String)] = [
        (FilterRule([.inputLink("veth0")], .accept), "iifname \"veth0\" accept"),
        (FilterRule([.inputLink("fifteen-letters")], .accept), "iifname \"fifteen-letters\" accept"),
        (FilterRule([.notInputLink("veth0")], .drop), "iifname != \"veth0\" drop"),
        (FilterRule([.inputLinkPrefix("tulle")], .drop), "iifname \"tulle*\" drop"),
        (FilterRule([.inputLinkPrefix("t")], .drop), "iifname \"t*\" drop"),
        (FilterRule([.family(.v4)], .accept), "meta nfproto ipv4 accept"),
        (FilterRule([.family(.v6)], .accept), "meta nfproto ipv6 accept"),
        (FilterRule([.source(try prefix("10.32.0.0/16"))], .drop), "ip saddr 10.32.0.0/16 drop"),
        (FilterRule([.source(try prefix("10.32.7.9/32"))], .drop), "ip saddr 10.32.7.9 drop"),
        (FilterRule([.destination(try prefix("10.32.128.0/17"))], .drop), "ip daddr 10.32.128.0/17 drop"),
        (FilterRule([.notDestination(try prefix("10.1.2.0/23"))], .drop), "ip daddr != 10.1.2.0/23 drop"),
        (FilterRule([.source(try prefix("fd00::/37"))], .drop), "ip6 saddr fd00::/37 drop"),
        (FilterRule([.source(try prefix("fd00:1:2:3::/64"))], .drop), "ip6 saddr fd00:1:2:3::/64 drop"),
        (FilterRule([.destination(try prefix("fd00::9/128"))], .drop), "ip6 daddr fd00::9 drop"),
        (FilterRule([.notDestination(try prefix("fe80::/10"))], .drop), "ip6 daddr != fe80::/10 drop"),
        (FilterRule([.sourceIn(set: "v4", .v4)], counter: "one", .accept), "ip saddr @v4 counter name one accept"),
        (FilterRule([.sourceNotIn(set: "v6", .v6)], counter: "two", .drop), "ip6 saddr != @v6 counter name two drop"),
        (FilterRule([.destinationIn(set: "v6", .v6)], .untracked), "ip6 daddr @v6 notrack"),
        (
            FilterRule([.guardNotIn(set: "g4", .v4)], .drop),
            "meta iiftype ether meta nfproto ipv4 iifname . ether saddr . ip saddr != @g4 drop"
        ),
        (
            FilterRule([.inputLinkPrefix("veth"), .guardNotIn(set: "g6", .v6)], counter: "two", .drop),
            "iifname \"veth*\" meta iiftype ether meta nfproto ipv6 iifname . ether saddr . ip6 saddr != @g6 counter name two drop"
        ),
        (FilterRule([.udpPort(7941)], .untracked), "udp dport 7941 notrack"),
        (FilterRule([.established], .accept), "ct state established,related accept"),
        (FilterRule([.udpPort(7941), .noRouteBack], .drop), "udp dport 7941 fib saddr . iif oif 0 drop"),
        (FilterRule([.neighborDiscovery], .accept), "icmpv6 type 133-137 accept"),
        (
            FilterRule(
                [.source(try prefix("10.0.0.0/8")), .destination(try prefix("10.0.0.0/8")), .udpPort(53)], counter: "one", .drop),
            "ip saddr 10.0.0.0/8 ip daddr 10.0.0.0/8 udp dport 53 counter name one drop"
        ),
        (
            FilterRule(
                [.source(try prefix("\(long[0])/128")), .destination(try prefix("\(long[1])/128")), .udpPort(53)],
                counter: "one", .drop),
            "ip6 saddr \(long[0]) ip6 daddr \(long[1]) udp dport 53 counter name one drop"
        ),
        (FilterRule([], .drop), "drop"),
    ]
    let leaving: [(FilterRule, nft: String)] = [
        (
            FilterRule([.outputLink("eth0"), .source(try prefix("10.32.0.0/16"))], .masquerade),
            "oifname \"eth0\" ip saddr 10.32.0.0/16 masquerade"
        ),
        (
            FilterRule([.notOutputLink("eth0"), .family(.v6)], counter: "one", .masquerade),
            "oifname != \"eth0\" meta nfproto ipv6 counter name one masquerade"
        ),
        (
            FilterRule([.source(try prefix("10.32.0.7/32"))], .sourceNAT(try address("192.0.2.9"))), "ip saddr 10.32.0.7 snat ip to 192.0.2.9"
        ),
        (
            FilterRule([.source(try prefix("\(long[0])/128"))], .sourceNAT(try address(long[1]))), "ip6 saddr \(long[0]) snat ip6 to \(long[1])"
        ),
    ]
    let filter = PacketFilter(
        chains: [
            "guard": FilterChain(.filter, .prerouting, priority: -300, rules: guarded.map(\.0)),
            "leave": FilterChain(.nat, .postrouting, priority: 100, rules: leaving.map(\.0)),
            "in": FilterChain(.filter, .input, priority: 0, rules: []),
            "forward": FilterChain(.filter, .forward, priority: -1, rules: []),
            "out": FilterChain(.filter, .output, priority: 7, rules: []),
        ],
        sets: [
            "v4": FilterSet(.addressV4, [.address(try address("10.0.0.1")), .address(try address("192.168.255.7"))]),
            "v6": FilterSet(.addressV6, [.address(try address("fd00::1")), .address(try address("fd00:1:2:3:4:5:6:7"))]),
            "g4": FilterSet(.guardV4, [.guarded(link: "veth0", mac: mac, address: try address("10.0.0.1"))]),
            "g6": FilterSet(.guardV6, [.guarded(link: "fifteen-letters", mac: mac, address: try address("fd00::1"))]),
            "empty": FilterSet(.guardV6),
        ], counters: ["one", "two"])
    let script = """
        table inet tulle {
          counter one {}
          counter two {}
          set v4 { type ipv4_addr; elements = { 10.0.0.1, 192.168.255.7 } }
          set v6 { type ipv6_addr; elements = { fd00::1, fd00:1:2:3:4:5:6:7 } }
          set g4 { type ifname . ether_addr . ipv4_addr; elements = { "veth0" . 02:00:00:00:00:2a . 10.0.0.1 } }
          set g6 { type ifname . ether_addr . ipv6_addr; elements = { "fifteen-letters" . 02:00:00:00:00:2a . fd00::1 } }
          set empty { type ifname . ether_addr . ipv6_addr; }
          chain guard { type filter hook prerouting priority -300; policy accept;
            \(guarded.map(\.nft).joined(separator: "\n    "))
          }
          chain leave { type nat hook postrouting priority 100; policy accept;
            \(leaving.map(\.nft).joined(separator: "\n    "))
          }
          chain in { type filter hook input priority 0; policy accept; }
          chain forward { type filter hook forward priority -1; policy accept; }
          chain out { type filter hook output priority 7; policy accept; }
        }
        """
    return (filter, script)
}

/// Values by SplitMix64, the same ones for the same seed; from a small space, so that they meet again.
struct FilterRandom: RandomNumberGenerator {
    static let types: [FilterSet.ElementType] = [.addressV4, .addressV6, .guardV4, .guardV6]

    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    private mutating func pick<Value>(_ values: [Value]) -> Value { values[Int.random(in: values.indices, using: &self)] }
    private mutating func family() -> AddressFamily { pick([.v4, .v6]) }
    private mutating func link() -> String { pick(["veth0", "veth1", "tulle0", "fifteen-letters"]) }
    private mutating func address(_ family: AddressFamily, below count: UInt128) -> IPAddress {
        IPAddress(family, bits: (family == .v4 ? 10 << 24 : 0xfd << 120) + .random(in: 0..<count, using: &self))
    }
    private mutating func prefix() -> IPPrefix {
        let family = family()
        let address = IPAddress(family, bits: UInt128(next()) << 64 | UInt128(next()))
        return IPPrefix(containing: address, length: .random(in: 0...family.width, using: &self))
    }

    mutating func element(_ type: FilterSet.ElementType, below count: UInt128 = 20) -> FilterElement {
        let address = address(type == .addressV4 || type == .guardV4 ? .v4 : .v6, below: count)
        guard type == .guardV4 || type == .guardV6 else { return .address(address) }
        return .guarded(link: link(), mac: .local(.random(in: 0...2, using: &self)), address: address)
    }
    mutating func elements(_ type: FilterSet.ElementType) -> Set<FilterElement> {
        Set((0..<Int.random(in: 0...20, using: &self)).map { _ in element(type) })
    }
    mutating func manyElements(_ type: FilterSet.ElementType, _ count: Int) -> Set<FilterElement> {
        var elements: Set<FilterElement> = []
        while elements.count < count { elements.insert(element(type, below: 1 << 24)) }
        return elements
    }

    /// Sets are named for their types, so that rules can look into them.
    mutating func filter() -> PacketFilter {
        var filter = PacketFilter(counters: ["a", "b"])
        for type in Self.types { filter.sets[type.rawValue] = FilterSet(type, elements(type)) }
        for index in 0..<Int.random(in: 0...4, using: &self) {
            let isNAT = index == 0
            let hook: FilterChain.Hook = isNAT ? .postrouting : pick([.prerouting, .input, .forward, .output, .postrouting])
            let rules = (0..<Int.random(in: 0...8, using: &self)).map { _ in rule(isNAT) }
            filter.chains["chain\(index)"] = FilterChain(
                isNAT ? .nat : .filter, hook, priority: .random(in: -150...500, using: &self), rules: rules)
        }
        return filter
    }

    private mutating func rule(_ isNAT: Bool) -> FilterRule {
        let verdicts: [FilterRule.Verdict] = isNAT ? [.accept, .masquerade] : [.accept, .drop]
        return FilterRule(
            (0..<Int.random(in: 0...3, using: &self)).map { _ in match() }, counter: pick([nil, "a", "b"]), pick(verdicts))
    }

    private mutating func match() -> FilterRule.Match {
        let family = family()
        let (addresses, guards) = family == .v4 ? ("addressV4", "guardV4") : ("addressV6", "guardV6")
        return switch Int.random(in: 0..<15, using: &self) {
        case 0: .inputLink(link())
        case 1: .notInputLink(link())
        case 2: .inputLinkPrefix(String(link().prefix(.random(in: 1...5, using: &self))))
        case 3: .outputLink(link())
        case 4: .notOutputLink(link())
        case 5: .family(family)
        case 6: .source(prefix())
        case 7: .destination(prefix())
        case 8: .notDestination(prefix())
        case 9: .sourceIn(set: addresses, family)
        case 10: .sourceNotIn(set: addresses, family)
        case 11: .destinationIn(set: addresses, family)
        case 12: .guardNotIn(set: guards, family)
        case 13: .udpPort(.random(in: 0 ... .max, using: &self))
        default: pick([.established, .neighborDiscovery])
        }
    }
}
