/// What a rule of ours is in the kernel's instructions: for each match it loads something about the packet into registers and
/// compares it. In a table of family `inet` both IPv4 and IPv6 packets pass, so every look into the IP header comes after a
/// comparison of the family; a rule asks once.
import Addressing
import CLinux
package import Fabric
import Glibc
package import Netlink

extension FilterRule {
    /// - Parameter filter: in whose table the rule is; what it refers to must be there, and the error names it if it is not.
    package func expressions(in filter: PacketFilter) throws(KernelError) -> [NFTablesExpression] {
        if let counter, !filter.counters.contains(counter) { throw refused("counter \(counter) is not declared") }
        for case (let set, let type)? in matches.map(\.set) where filter.sets[set]?.type != type {
            throw refused("set \(set) of type \(type) is not declared")
        }
        var compiler = FilterRuleCompiler(filter.family)
        for match in matches {
            guard compiler.add(match) else { throw refused("no link has the name in '\(match)'") }
        }
        if let counter { compiler.expressions.append(.count(counter)) }
        compiler.expressions += verdict.expressions
        return compiler.expressions
    }

    private func refused(_ cause: String) -> KernelError { KernelError(.invalid, "make the rule '\(self)'", cause: cause) }
}

extension FilterRule.Match {
    /// The set that it looks into.
    fileprivate var set: (String, FilterSet.ElementType)? {
        switch self {
        case .sourceIn(let set, let family), .sourceNotIn(let set, let family), .destinationIn(let set, let family):
            (set, family == .v4 ? .addressV4 : .addressV6)
        case .destinationNotIn(let set, let family): (set, family == .v4 ? .addressV4 : .addressV6)
        case .arpFrameNotIn(let set), .arpBodyNotIn(let set): (set, .guardV4)
        case .advertisementNotIn(let set): (set, .guardV6)
        case .guardNotIn(let set, let family): (set, family == .v4 ? .guardV4 : .guardV6)
        default: nil
        }
    }
}

extension FilterRule.Verdict {
    fileprivate var expressions: [NFTablesExpression] {
        switch self {
        case .accept: [.verdict(.accept)]
        case .drop: [.verdict(.drop)]
        case .untracked: [.untrack]
        case .masquerade: [.masquerade]
        case .sourceNAT(let address):
            [.load(address.bytes, into: NFTablesRegister(0)), .sourceNAT(address.family, NFTablesRegister(0))]
        }
    }
}

/// Collects the instructions of one rule.
private struct FilterRuleCompiler {
    var expressions: [NFTablesExpression] = []
    /// What the packet is known to be by now.
    private var family: AddressFamily?
    private let table: PacketFilter.Family

    private static let first = NFTablesRegister(0)
    /// ARPHRD_ETHER, linux/if_arp.h.
    private static let ethernet: UInt16 = 1

    init(_ table: PacketFilter.Family) { self.table = table }

    /// False when a link's name is none.
    mutating func add(_ match: FilterRule.Match) -> Bool {
        switch match {
        case .inputLink(let name): return link(.inputName, .equal, name)
        case .notInputLink(let name): return link(.inputName, .notEqual, name)
        case .outputLink(let name): return link(.outputName, .equal, name)
        case .notOutputLink(let name): return link(.outputName, .notEqual, name)
        case .inputLinkPrefix(let prefix):
            guard LinkName.padded(prefix) != nil else { return false }
            meta(.inputName, .equal, Array(prefix.utf8))
        case .family(let family): require(family)
        case .source(let prefix): address(.source, prefix, .equal)
        case .destination(let prefix): address(.destination, prefix, .equal)
        case .notDestination(let prefix): address(.destination, prefix, .notEqual)
        case .sourceIn(let set, let family): lookup(.source, family, set, isInverted: false)
        case .sourceNotIn(let set, let family): lookup(.source, family, set, isInverted: true)
        case .destinationIn(let set, let family): lookup(.destination, family, set, isInverted: false)
        case .guardNotIn(let set, let family): lookupGuard(family, set)
        case .udpPort(let port):
            meta(.transportProtocol, .equal, [UInt8(IPPROTO_UDP)])
            expressions.append(.payload(.transport, offset: 2, count: 2, into: Self.first))
            expressions.append(.compare(Self.first, .equal, [UInt8(port >> 8), UInt8(port & 0xff)]))
        case .udpSourcePort(let port):
            meta(.transportProtocol, .equal, [UInt8(IPPROTO_UDP)])
            expressions.append(.payload(.transport, offset: 0, count: 2, into: Self.first))
            expressions.append(.compare(Self.first, .equal, [UInt8(port >> 8), UInt8(port & 0xff)]))
        case .etherType(let type): frame(type)
        case .toOne:
            // The group bit of the first byte on the wire.
            expressions.append(.payload(.link, offset: 0, count: 1, into: Self.first))
            expressions.append(.mask(Self.first, [1]))
            expressions.append(.compare(Self.first, .equal, [0]))
        case .destinationNotIn(let set, let family): lookup(.destination, family, set, isInverted: true)
        case .arpFrameNotIn(let set):
            frame(Self.arp)
            lookupSender(mac: (.link, 6), address: (.network, 14, 4), set)
        case .arpBodyNotIn(let set):
            // RFC 826: sender's hardware address and protocol address, of Ethernet and IPv4.
            frame(Self.arp)
            lookupSender(mac: (.network, 8), address: (.network, 14, 4), set)
        case .advertisementNotIn(let set):
            // RFC 4861 section 4.4: the target is behind type, code, checksum and flags.
            icmpv6(136, 136)
            lookupSender(mac: (.link, 6), address: (.transport, 8, 16), set)
        case .icmpv6(let first, let last): icmpv6(first, last)
        case .igmp: meta(.transportProtocol, .equal, [UInt8(IPPROTO_IGMP)])
        case .igmpType(let type):
            meta(.transportProtocol, .equal, [UInt8(IPPROTO_IGMP)])
            expressions.append(.payload(.transport, offset: 0, count: 1, into: Self.first))
            expressions.append(.compare(Self.first, .equal, [type]))
        case .established:
            // NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED), linux/netfilter/nf_conntrack_common.h.
            expressions.append(.connectionState(into: Self.first))
            expressions.append(.mask(Self.first, Self.hostOrder(1 << 1 | 1 << 2 as UInt32)))
            expressions.append(.compare(Self.first, .notEqual, [0, 0, 0, 0]))
        case .noRouteBack:
            expressions.append(.routeBack(into: Self.first))
            expressions.append(.compare(Self.first, .equal, [0, 0, 0, 0]))
        case .neighborDiscovery: icmpv6(133, 137)
        }
        return true
    }

    private mutating func icmpv6(_ first: UInt8, _ last: UInt8) {
        require(.v6)
        meta(.transportProtocol, .equal, [UInt8(IPPROTO_ICMPV6)])
        expressions.append(.payload(.transport, offset: 0, count: 1, into: Self.first))
        expressions.append(.compare(Self.first, .greaterOrEqual, [first]))
        expressions.append(.compare(Self.first, .lessOrEqual, [last]))
    }

    private static let arp: UInt16 = 0x0806

    private mutating func frame(_ type: UInt16) {
        expressions.append(.payload(.link, offset: 12, count: 2, into: Self.first))
        expressions.append(.compare(Self.first, .equal, [UInt8(type >> 8), UInt8(type & 0xff)]))
    }

    /// iifname . a MAC . an address, wherever in the packet they are.
    private mutating func lookupSender(
        mac: (NFTablesExpression.Header, UInt32), address: (NFTablesExpression.Header, UInt32, UInt32), _ set: String
    ) {
        expressions.append(.meta(.inputName, into: Self.first))
        expressions.append(.payload(mac.0, offset: mac.1, count: 6, into: NFTablesRegister(4)))
        expressions.append(.payload(address.0, offset: address.1, count: address.2, into: NFTablesRegister(6)))
        expressions.append(.lookup(Self.first, set: set, isInverted: true))
    }

    private mutating func meta(
        _ key: NFTablesExpression.Meta, _ comparison: NFTablesExpression.Comparison, _ value: [UInt8]
    ) {
        expressions.append(.meta(key, into: Self.first))
        expressions.append(.compare(Self.first, comparison, value))
    }

    private mutating func link(
        _ key: NFTablesExpression.Meta, _ comparison: NFTablesExpression.Comparison, _ name: String
    ) -> Bool {
        guard let padded = LinkName.padded(name) else { return false }
        meta(key, comparison, padded)
        return true
    }

    private mutating func require(_ wanted: AddressFamily) {
        guard family != wanted else { return }
        family = wanted
        // A bridge's table sees frames: their type says what is in them.
        guard table == .inet else { return frame(wanted == .v4 ? 0x0800 : 0x86dd) }
        meta(.networkProtocol, .equal, [UInt8(wanted == .v4 ? NFPROTO_IPV4 : NFPROTO_IPV6)])
    }

    // MARK: Addresses

    private enum Field {
        case source, destination

        /// Where it is in the header: RFC 791 section 3.1, RFC 8200 section 3.
        func offset(_ family: AddressFamily) -> UInt32 {
            switch (self, family) {
            case (.source, .v4): 12
            case (.destination, .v4): 16
            case (.source, .v6): 8
            case (.destination, .v6): 24
            }
        }
    }

    private mutating func load(_ field: Field, _ family: AddressFamily, count: Int, into register: NFTablesRegister) {
        expressions.append(.payload(.network, offset: field.offset(family), count: UInt32(count), into: register))
    }

    /// A prefix of whole bytes needs no mask: only these bytes are loaded, and so `nft` prints it as a prefix too.
    private mutating func address(_ field: Field, _ prefix: IPPrefix, _ comparison: NFTablesExpression.Comparison) {
        require(prefix.family)
        let isWhole = prefix.length > 0 && prefix.length % 8 == 0
        let count = isWhole ? prefix.length / 8 : prefix.family.width / 8
        load(field, prefix.family, count: count, into: Self.first)
        if !isWhole {
            let ones = IPPrefix(containing: IPAddress(prefix.family, bits: .max), length: prefix.length)
            expressions.append(.mask(Self.first, ones.address.bytes))
        }
        expressions.append(.compare(Self.first, comparison, Array(prefix.address.bytes.prefix(count))))
    }

    private mutating func lookup(_ field: Field, _ family: AddressFamily, _ set: String, isInverted: Bool) {
        require(family)
        load(field, family, count: family.width / 8, into: Self.first)
        expressions.append(.lookup(Self.first, set: set, isInverted: isInverted))
    }

    /// The parts of the key one after another in the registers. Only links of type Ethernet have such a sender's address: packets
    /// of others do not match.
    private mutating func lookupGuard(_ family: AddressFamily, _ set: String) {
        meta(.inputType, .equal, Self.hostOrder(Self.ethernet))
        // The family by what the network stack takes the packet for, not by the frame's type field.
        require(family)
        expressions.append(.meta(.inputName, into: Self.first))
        expressions.append(.payload(.link, offset: 6, count: 6, into: NFTablesRegister(4)))
        load(.source, family, count: family.width / 8, into: NFTablesRegister(6))
        expressions.append(.lookup(Self.first, set: set, isInverted: true))
    }

    private static func hostOrder(_ value: some FixedWidthInteger & BitwiseCopyable) -> [UInt8] {
        withUnsafeBytes(of: value) { Array($0) }
    }
}
