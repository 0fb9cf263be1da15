/// Reading expressions back, so that an observer can tell whether a rule still does what it was made to do. Each is either
/// exactly one of ours or `other`: an attribute that changes its meaning must not be overlooked.
import Addressing
import CLinux

extension NFTablesExpression {
    /// - Parameter attributes: NFTA_EXPR_….
    init(_ attributes: NetlinkAttributes) throws(NetlinkError) {
        let name = try attributes.required(NFTA_EXPR_NAME.rawValue).string
        let data = attributes[NFTA_EXPR_DATA.rawValue]?.attributes ?? NetlinkAttributes(UnsafeRawBufferPointer(start: nil, count: 0))
        self = try Self.known(name, Fields(attributes: data)) ?? .other(name)
    }

    private static func known(_ name: String, _ data: Fields) throws(NetlinkError) -> Self? {
        switch name {
        case "meta":
            guard let key = try data.number(NFTA_META_KEY.rawValue).flatMap(Meta.init),
                let register = try data.register(NFTA_META_DREG.rawValue)
            else { return nil }
            return .meta(key, into: register)
        case "payload":
            guard let header = try data.number(NFTA_PAYLOAD_BASE.rawValue).flatMap(Header.init),
                let offset = try data.number(NFTA_PAYLOAD_OFFSET.rawValue), let count = try data.number(NFTA_PAYLOAD_LEN.rawValue),
                let register = try data.register(NFTA_PAYLOAD_DREG.rawValue)
            else { return nil }
            return .payload(header, offset: offset, count: count, into: register)
        case "ct":
            guard try data.number(NFTA_CT_KEY.rawValue) == NFT_CT_STATE.rawValue,
                let register = try data.register(NFTA_CT_DREG.rawValue)
            else { return nil }
            return .connectionState(into: register)
        case "fib":
            guard try data.number(NFTA_FIB_RESULT.rawValue) == NFT_FIB_RESULT_OIF.rawValue,
                try data.number(NFTA_FIB_FLAGS.rawValue) == sourceAndInput, let register = try data.register(NFTA_FIB_DREG.rawValue)
            else { return nil }
            return .routeBack(into: register)
        case "bitwise":
            guard let source = try data.register(NFTA_BITWISE_SREG.rawValue),
                let target = try data.register(NFTA_BITWISE_DREG.rawValue), source == target,
                try data.number(NFTA_BITWISE_OP.rawValue) ?? 0 == NFT_BITWISE_MASK_XOR.rawValue,
                let mask = data.bytes(NFTA_BITWISE_MASK.rawValue), let flip = data.bytes(NFTA_BITWISE_XOR.rawValue),
                flip == mask.map({ _ in 0 })
            else { return nil }
            return .mask(target, mask)
        case "cmp":
            guard let register = try data.register(NFTA_CMP_SREG.rawValue),
                let comparison = try data.number(NFTA_CMP_OP.rawValue).flatMap(Comparison.init),
                let bytes = data.bytes(NFTA_CMP_DATA.rawValue)
            else { return nil }
            return .compare(register, comparison, bytes)
        case "lookup":
            let flags = try data.number(NFTA_LOOKUP_FLAGS.rawValue) ?? 0
            guard let register = try data.register(NFTA_LOOKUP_SREG.rawValue), data.attributes[NFTA_LOOKUP_DREG.rawValue] == nil,
                let set = data.attributes[NFTA_LOOKUP_SET.rawValue]?.string, flags & ~NFT_LOOKUP_F_INV.rawValue == 0
            else { return nil }
            return .lookup(register, set: set, isInverted: flags != 0)
        case "objref":
            guard try data.number(NFTA_OBJREF_IMM_TYPE.rawValue) == UInt32(NFT_OBJECT_COUNTER),
                let counter = data.attributes[NFTA_OBJREF_IMM_NAME.rawValue]?.string
            else { return nil }
            return .count(counter)
        case "immediate":
            if let register = try data.register(NFTA_IMMEDIATE_DREG.rawValue) {
                return data.bytes(NFTA_IMMEDIATE_DATA.rawValue).map { .load($0, into: register) }
            }
            guard try data.number(NFTA_IMMEDIATE_DREG.rawValue) == NFT_REG_VERDICT.rawValue,
                let value = data.attributes[NFTA_IMMEDIATE_DATA.rawValue]?.attributes[NFTA_DATA_VERDICT.rawValue]?.attributes,
                let verdict = try Fields(attributes: value).number(NFTA_VERDICT_CODE.rawValue).flatMap(Verdict.init)
            else { return nil }
            return .verdict(verdict)
        case "nat":
            if let found = try redirect(data) { return found }
            return try sourceNAT(data)
        case "dynset":
            guard let change = try data.number(NFTA_DYNSET_OP.rawValue).flatMap(SetChange.init),
                let set = data.attributes[NFTA_DYNSET_SET_NAME.rawValue]?.string, let key = try data.register(NFTA_DYNSET_SREG_KEY.rawValue),
                data.attributes[NFTA_DYNSET_SREG_DATA.rawValue] == nil, data.attributes[NFTA_DYNSET_EXPR.rawValue] == nil,
                try data.number(NFTA_DYNSET_FLAGS.rawValue) ?? 0 == 0
            else { return nil }
            let milliseconds = try data.attributes[NFTA_DYNSET_TIMEOUT.rawValue]?.bigEndian(UInt64.self) ?? 0
            return .update(change, set: set, key: key, milliseconds: milliseconds)
        case "notrack": return .untrack
        case "masq": return data.attributes.isEmpty ? .masquerade : nil
        default: return nil
        }
    }

    private static func sourceNAT(_ data: Fields) throws(NetlinkError) -> Self? {
        guard try data.number(NFTA_NAT_TYPE.rawValue) == NFT_NAT_SNAT.rawValue,
            let family = try data.number(NFTA_NAT_FAMILY.rawValue).flatMap({ number in AddressFamily.allCases.first { $0.netfilterNumber == number } }),
            let register = try data.register(NFTA_NAT_REG_ADDR_MIN.rawValue), data.attributes[NFTA_NAT_REG_PROTO_MIN.rawValue] == nil,
            // As for `redirect`.
            try data.register(NFTA_NAT_REG_ADDR_MAX.rawValue) ?? register == register, (try data.number(NFTA_NAT_FLAGS.rawValue) ?? 0) & ~1 == 0
        else { return nil }
        return .sourceNAT(family, register)
    }

    private static func redirect(_ data: Fields) throws(NetlinkError) -> Self? {
        guard try data.number(NFTA_NAT_TYPE.rawValue) == NFT_NAT_DNAT.rawValue,
            try data.number(NFTA_NAT_FAMILY.rawValue) == UInt32(NFPROTO_IPV4),
            let address = try data.register(NFTA_NAT_REG_ADDR_MIN.rawValue), let port = try data.register(NFTA_NAT_REG_PROTO_MIN.rawValue),
            // A range of one, which the kernel tells as such, and no flag beyond those that say what is given (linux/netfilter/nf_nat.h).
            try data.register(NFTA_NAT_REG_ADDR_MAX.rawValue) ?? address == address,
            try data.register(NFTA_NAT_REG_PROTO_MAX.rawValue) ?? port == port,
            (try data.number(NFTA_NAT_FLAGS.rawValue) ?? 0) & ~3 == 0
        else { return nil }
        return .redirect(address: address, port: port)
    }
}

/// The attributes of one expression.
private struct Fields {
    var attributes: NetlinkAttributes

    func number(_ type: UInt32) throws(NetlinkError) -> UInt32? { try attributes[type]?.bigEndian(UInt32.self) }

    func register(_ type: UInt32) throws(NetlinkError) -> NFTablesRegister? {
        guard let number = try number(type) else { return nil }
        return NFTablesRegister(number: number)
    }

    func bytes(_ type: UInt32) -> [UInt8]? {
        attributes[type]?.attributes[NFTA_DATA_VALUE.rawValue].map { Array($0.payload) }
    }
}

extension NetlinkAttributes {
    fileprivate var isEmpty: Bool {
        var walk = self
        return walk.next() == nil
    }
}
