/// An nftables table of ours, as values: chains of rules, named sets and named counters. It says what the rule does;
/// the data plane turns it into nftables expressions. Each rule's text is kept by the kernel with the rule (its user data), so
/// that an observer can tell by reading whether the rules are those wanted.
package import Addressing

package struct PacketFilter: Hashable, Sendable {
    /// What the table sees: packets that this namespace routes, sends or receives, or frames from port to port of its bridge.
    package enum Family: String, Hashable, Sendable { case inet, bridge }
    package var family: Family
    /// In table `tulle` of the family, by name.
    package var chains: [String: FilterChain]
    package var sets: [String: FilterSet]
    /// Named counters that rules refer to.
    package var counters: Set<String>

    package init(
        _ family: Family = .inet, chains: [String: FilterChain] = [:], sets: [String: FilterSet] = [:], counters: Set<String> = []
    ) {
        self.family = family
        self.chains = chains
        self.sets = sets
        self.counters = counters
    }

    /// Chains and counters and the sets' types: what only a replacement of the whole table can change.
    package func hasSameRules(as other: PacketFilter) -> Bool {
        family == other.family && chains == other.chains && counters == other.counters && sets.mapValues(\.type) == other.sets.mapValues(\.type)
    }
}

package struct FilterChain: Hashable, Sendable {
    package enum Hook: String, Hashable, Sendable {
        case prerouting, input, forward, output, postrouting
    }
    package enum Kind: String, Hashable, Sendable { case filter, nat }

    package var kind: Kind
    package var hook: Hook
    package var priority: Int32
    /// The rules' texts (`FilterRule.description`), in order. Observed chains have only these.
    package var rules: [String]
    /// Only in desired states, not compared.
    package var program: [FilterRule]

    package init(_ kind: Kind, _ hook: Hook, priority: Int32, rules: [FilterRule]) {
        self.kind = kind
        self.hook = hook
        self.priority = priority
        self.rules = rules.map(\.description)
        program = rules
    }
    /// As observed.
    package init(_ kind: Kind, _ hook: Hook, priority: Int32, texts: [String]) {
        self.kind = kind
        self.hook = hook
        self.priority = priority
        rules = texts
        program = []
    }

    package static func == (left: Self, right: Self) -> Bool {
        left.kind == right.kind && left.hook == right.hook && left.priority == right.priority && left.rules == right.rules
    }
    package func hash(into hasher: inout Hasher) {
        hasher.combine(kind)
        hasher.combine(hook)
        hasher.combine(priority)
        hasher.combine(rules)
    }
}

package struct FilterSet: Hashable, Sendable {
    package enum ElementType: String, Hashable, Sendable {
        case addressV4, addressV6
        /// interface name . Ethernet address . IP address
        case guardV4, guardV6
    }
    package var type: ElementType
    package var elements: Set<FilterElement>
    package init(_ type: ElementType, _ elements: Set<FilterElement> = []) {
        self.type = type
        self.elements = elements
    }
}

package enum FilterElement: Hashable, Sendable {
    case address(IPAddress)
    /// What may come in by that link.
    case guarded(link: String, mac: MACAddress, address: IPAddress)
}

package struct FilterRule: Hashable, Sendable, CustomStringConvertible {
    package enum Match: Hashable, Sendable, CustomStringConvertible {
        case inputLink(String)
        case notInputLink(String)
        /// The name begins so.
        case inputLinkPrefix(String)
        case outputLink(String)
        case notOutputLink(String)
        case family(AddressFamily)
        case source(IPPrefix)
        case destination(IPPrefix)
        case notDestination(IPPrefix)
        case sourceIn(set: String, AddressFamily)
        case sourceNotIn(set: String, AddressFamily)
        case destinationIn(set: String, AddressFamily)
        /// iifname . ether saddr . saddr is not in a set of guards.
        case guardNotIn(set: String, AddressFamily)
        case udpPort(UInt16)
        case udpSourcePort(UInt16)
        /// The frame's type field (EtherType).
        case etherType(UInt16)
        /// To one receiver: the group bit of the destination MAC is not set.
        case toOne
        case destinationNotIn(set: String, AddressFamily)
        /// iifname . ether saddr . arp spa is not in a set of guards.
        case arpFrameNotIn(set: String)
        /// iifname . arp sha . arp spa is not in a set of guards: what the frame says of itself inside.
        case arpBodyNotIn(set: String)
        /// A neighbour advertisement whose target, as iifname . ether saddr . target, is not in a set of guards.
        case advertisementNotIn(set: String)
        /// ICMPv6 types from the first to the last.
        case icmpv6(UInt8, UInt8)
        case igmp
        /// IGMP of that type (0x11: a router's question who listens).
        case igmpType(UInt8)
        /// Conntrack state established or related.
        case established
        /// The host would not send to the packet's source by the link that it came in by (a strict reverse path check, as RFC 3704 section 2.2).
        case noRouteBack
        /// ICMPv6 neighbour discovery (types 133 to 137), which comes from link-local addresses.
        case neighborDiscovery

        package var description: String {
            switch self {
            case .inputLink(let name): "iifname \(name)"
            case .notInputLink(let name): "iifname != \(name)"
            case .inputLinkPrefix(let prefix): "iifname \(prefix)*"
            case .outputLink(let name): "oifname \(name)"
            case .notOutputLink(let name): "oifname != \(name)"
            case .family(let family): "meta nfproto ipv\(family.rawValue)"
            case .source(let prefix): "\(prefix.family.keyword) saddr \(prefix)"
            case .destination(let prefix): "\(prefix.family.keyword) daddr \(prefix)"
            case .notDestination(let prefix): "\(prefix.family.keyword) daddr != \(prefix)"
            case .sourceIn(let set, let family): "\(family.keyword) saddr @\(set)"
            case .sourceNotIn(let set, let family): "\(family.keyword) saddr != @\(set)"
            case .destinationIn(let set, let family): "\(family.keyword) daddr @\(set)"
            case .guardNotIn(let set, let family): "iifname . ether saddr . \(family.keyword) saddr != @\(set)"
            case .udpPort(let port): "udp dport \(port)"
            case .udpSourcePort(let port): "udp sport \(port)"
            case .etherType(let type): "ether type 0x\(String(type, radix: 16))"
            case .toOne: "ether daddr & 01:00:00:00:00:00 == 0"
            case .destinationNotIn(let set, let family): "\(family.keyword) daddr != @\(set)"
            case .arpFrameNotIn(let set): "iifname . ether saddr . arp saddr ip != @\(set)"
            case .arpBodyNotIn(let set): "iifname . arp saddr ether . arp saddr ip != @\(set)"
            case .advertisementNotIn(let set): "icmpv6 type 136 iifname . ether saddr . icmpv6 taddr != @\(set)"
            case .icmpv6(let first, let last): "icmpv6 type \(first)-\(last)"
            case .igmp: "meta l4proto igmp"
            case .igmpType(let type): "igmp type \(type)"
            case .noRouteBack: "fib saddr . iif oif 0"
            case .established: "ct state established,related"
            case .neighborDiscovery: "icmpv6 type 133-137"
            }
        }
    }

    package enum Verdict: Hashable, Sendable, CustomStringConvertible {
        case accept, drop
        /// No connection tracking for this packet (`notrack`), and go on.
        case untracked
        case masquerade
        /// The source address becomes that one.
        case sourceNAT(IPAddress)

        package var description: String {
            switch self {
            case .accept: "accept"
            case .drop: "drop"
            case .untracked: "notrack"
            case .masquerade: "masquerade"
            case .sourceNAT(let address): "snat \(address.family.keyword) to \(address)"
            }
        }
    }

    package var matches: [Match]
    /// Counts what matched, by name.
    package var counter: String?
    package var verdict: Verdict

    package init(_ matches: [Match], counter: String? = nil, _ verdict: Verdict) {
        self.matches = matches
        self.counter = counter
        self.verdict = verdict
    }

    /// As nft would write it, nearly.
    package var description: String {
        (matches.map(\.description) + (counter.map { ["counter name \($0)"] } ?? []) + [verdict.description])
            .joined(separator: " ")
    }
}

extension AddressFamily {
    fileprivate var keyword: String { self == .v4 ? "ip" : "ip6" }
}
