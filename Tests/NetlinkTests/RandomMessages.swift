import Addressing
import Netlink

/// SplitMix64: the same sequence for the same seed.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    mutating func number<Number: FixedWidthInteger>(_ type: Number.Type = Number.self) -> Number {
        Number.random(in: .min ... .max, using: &self)
    }
    /// Now and then nil.
    mutating func maybe<Value>(_ value: (inout SeededRandom) -> Value) -> Value? {
        Bool.random(using: &self) ? value(&self) : nil
    }
    mutating func address(_ family: AddressFamily) -> IPAddress {
        IPAddress(family, bits: UInt128(number(UInt64.self)) << 64 | UInt128(number(UInt64.self)))
    }
    mutating func family() -> AddressFamily { Bool.random(using: &self) ? .v4 : .v6 }
    mutating func mac() -> MACAddress { MACAddress(bits: number()) }
}

extension LinkMessage {
    static func random(_ random: inout SeededRandom, depth: Int) -> LinkMessage {
        var link = LinkMessage(index: random.number(), isLoopback: Bool.random(using: &random))
        link.name = random.maybe { "l\($0.number(UInt32.self))" }
        link.isUp = random.maybe { Bool.random(using: &$0) }
        link.mac = random.maybe { $0.mac() }
        link.mtu = random.maybe { $0.number() }
        link.lower = random.maybe { $0.number() }
        link.namespace = random.maybe { $0.number() }
        link.kind = random.maybe { random in
            switch Int.random(in: 0..<5, using: &random) {
            case 0: .other("dummy")
            case 4: .bridge(BridgeData.random(&random))
            case 1: .vxlan(VXLANData.random(&random))
            case 2 where depth == 0: .veth(peer: LinkMessage.random(&random, depth: 1))
            default: .veth(peer: nil)
            }
        }
        // A port's settings come with its bridge.
        if Bool.random(using: &random) { (link.master, link.port) = (random.number(), BridgePortData.random(&random)) }
        return link
    }
}

extension BridgeData {
    static func random(_ random: inout SeededRandom) -> BridgeData {
        BridgeData(
            hasSpanningTree: Bool.random(using: &random), filtersVLANs: Bool.random(using: &random), snoops: Bool.random(using: &random),
            queries: Bool.random(using: &random), asksFromOwnAddress: Bool.random(using: &random),
            answerTime: random.maybe { $0.number() })
    }
}

extension BridgePortData {
    static func random(_ random: inout SeededRandom) -> BridgePortData {
        BridgePortData(
            learns: Bool.random(using: &random), floodsUnicast: Bool.random(using: &random), floodsMulticast: Bool.random(using: &random),
            floodsBroadcast: Bool.random(using: &random), suppressesNeighbors: Bool.random(using: &random),
            proxiesARP: Bool.random(using: &random), isIsolated: Bool.random(using: &random), multicastRouter: random.number())
    }
}

extension VXLANData {
    static func random(_ random: inout SeededRandom) -> VXLANData {
        VXLANData(
            vni: random.number(), port: random.number(), local: random.maybe { $0.address($0.family()) },
            group: random.maybe { $0.address($0.family()) }, lower: random.maybe { $0.number() },
            isLearning: Bool.random(using: &random), collectsMetadata: Bool.random(using: &random))
    }
}

extension AddressMessage {
    static func random(_ random: inout SeededRandom) -> AddressMessage {
        let family = random.family()
        let address = InterfaceAddress(random.address(family), length: Int.random(in: 0...family.width, using: &random))
        return AddressMessage(
            index: random.number(), address: address, peer: random.maybe { $0.address(family) }, flags: random.number(),
            scope: random.number(), origin: random.number())
    }
}

extension NeighborMessage {
    static func random(_ random: inout SeededRandom) -> NeighborMessage {
        NeighborMessage(
            Bool.random(using: &random) ? .forwarding : .neighbors(random.family()), index: random.number(),
            state: random.number(), flags: random.number(), destination: random.maybe { $0.address($0.family()) },
            mac: random.maybe { $0.mac() }, origin: random.number(), port: random.maybe { $0.number() },
            vni: random.maybe { $0.number() }, lower: random.maybe { $0.number() }, vlan: random.maybe { $0.number() },
            master: random.maybe { $0.number() })
    }
}

extension RouteMessage {
    static func random(_ random: inout SeededRandom) -> RouteMessage {
        let family = random.family()
        let length = Int.random(in: 0...family.width, using: &random)
        let count = [0, 1, 1, 1, 2, 5].randomElement(using: &random) ?? 1
        let hops = (0..<count).map { _ in
            var hop = Hop(index: UInt32.random(in: 1 ... .max, using: &random))
            hop.gateway = random.maybe { $0.address($0.family()) }
            hop.isOnLink = Bool.random(using: &random)
            return hop
        }
        return RouteMessage(
            destination: IPPrefix(containing: random.address(family), length: length), table: random.number(),
            origin: random.number(), scope: random.number(), type: random.number(), tos: random.number(),
            metric: random.number(), hops: hops, isCached: Bool.random(using: &random), preferredSource: random.maybe { $0.address(family) })
    }
}
