/// One instruction of a rule. The kernel runs a rule's instructions in order on sixteen registers of 32 bits; the first
/// comparison or lookup that fails ends the rule, and what comes last says what becomes of the packet.
///
///     expression { name, data { attributes of that kind of expression } }
///
/// Source: linux/netfilter/nf_tables.h (enum nft_expr_attributes and following), net/netfilter/nft_*.c.
package import Addressing
import CLinux

package enum NFTablesExpression: Hashable, Sendable {
    /// Register := a fact about the packet. Names take 16 bytes padded with zeros, device types 2 in host order, protocols 1.
    case meta(Meta, into: NFTablesRegister)
    /// Registers := bytes of a header. Ends the rule when the packet has no such bytes.
    case payload(Header, offset: UInt32, count: UInt32, into: NFTablesRegister)
    /// Register := conntrack's state of the packet, as a bit set in host order (NF_CT_STATE_BIT).
    case connectionState(into: NFTablesRegister)
    /// Register := the input link's index if the way to the packet's source is by it, else 0; in host order.
    case routeBack(into: NFTablesRegister)
    /// Registers &= the mask.
    case mask(NFTablesRegister, [UInt8])
    /// Go on only if so. As many bytes are compared as are given, in the order of a dictionary.
    case compare(NFTablesRegister, Comparison, [UInt8])
    /// Go on only if the registers are a key in the set (or, inverted, are none).
    case lookup(NFTablesRegister, set: String, isInverted: Bool)
    /// Adds the packet to the named counter.
    case count(String)
    case verdict(Verdict)
    /// No connection tracking for this packet.
    case untrack
    /// Source address := that of the output device.
    case masquerade
    /// Register := these bytes.
    case load([UInt8], into: NFTablesRegister)
    /// Destination of an IPv4 packet := the address and the port (2 bytes, in network order) in these registers.
    case redirect(address: NFTablesRegister, port: NFTablesRegister)
    /// Puts the key in the registers into a set for so many milliseconds from now, or takes it out; then goes on.
    case update(SetChange, set: String, key: NFTablesRegister, milliseconds: UInt64)
    /// Source address := the registers' (NFT_NAT_SNAT), of packets of that family.
    case sourceNAT(AddressFamily, NFTablesRegister)
    /// One that we never make, by the kernel's name. Only read: sent, it lacks its data.
    case other(String)

    /// enum nft_meta_keys.
    package enum Meta: UInt32, Hashable, Sendable, CaseIterable {
        case inputName = 6
        case outputName = 7
        /// ARPHRD_….
        case inputType = 8
        /// NFPROTO_…; in a table of family bridge always that of bridges.
        case networkProtocol = 15
        /// IPPROTO_…, behind IPv6's extension headers.
        case transportProtocol = 16
    }
    /// enum nft_payload_bases.
    package enum Header: UInt32, Hashable, Sendable, CaseIterable {
        case link, network, transport
    }
    /// enum nft_cmp_ops.
    package enum Comparison: UInt32, Hashable, Sendable, CaseIterable {
        case equal, notEqual, less, lessOrEqual, greater, greaterOrEqual
    }
    /// enum nft_dynset_ops.
    package enum SetChange: UInt32, Hashable, Sendable, CaseIterable {
        case renew = 1
        case remove = 2
    }
    /// linux/netfilter.h.
    package enum Verdict: UInt32, Hashable, Sendable, CaseIterable {
        case drop = 0
        case accept = 1
    }
}

/// The first of the 32-bit registers that an instruction uses: 0 to 15. The kernel has two numberings for them, one of
/// which counts in steps of four; it reads both and shows the latter where it can.
package struct NFTablesRegister: Hashable, Sendable {
    package var word: UInt32
    package init(_ word: UInt32) { self.word = word }

    init?(number: UInt32) {
        switch number {
        case NFT_REG_1.rawValue...NFT_REG_4.rawValue: word = (number - NFT_REG_1.rawValue) * 4
        case NFT_REG32_00.rawValue...NFT_REG32_15.rawValue: word = number - NFT_REG32_00.rawValue
        default: return nil
        }
    }
    var number: UInt32 { NFT_REG32_00.rawValue + word }
}

// MARK: Printing

extension NFTablesExpression {
    /// The kernel's name for this kind.
    var name: String {
        switch self {
        case .meta: "meta"
        case .payload: "payload"
        case .connectionState: "ct"
        case .routeBack: "fib"
        case .mask: "bitwise"
        case .compare: "cmp"
        case .lookup: "lookup"
        case .count: "objref"
        case .verdict: "immediate"
        case .untrack: "notrack"
        case .masquerade: "masq"
        case .load: "immediate"
        case .redirect, .sourceNAT: "nat"
        case .update: "dynset"
        case .other(let name): name
        }
    }

    func write(to writer: inout NetlinkWriter) {
        writer.nest(NFTA_LIST_ELEM.rawValue) {
            $0.attribute(NFTA_EXPR_NAME.rawValue, string: name)
            $0.nest(NFTA_EXPR_DATA.rawValue, writeData)
        }
    }

    /// enum nft_fib_flags.
    static var sourceAndInput: UInt32 { NFTA_FIB_F_SADDR.rawValue | NFTA_FIB_F_IIF.rawValue }

    private func writeData(to writer: inout NetlinkWriter) {
        switch self {
        case .meta(let key, let register):
            writer.attribute(NFTA_META_KEY.rawValue, bigEndian: key.rawValue)
            writer.attribute(NFTA_META_DREG.rawValue, bigEndian: register.number)
        case .payload(let header, let offset, let count, let register):
            writer.attribute(NFTA_PAYLOAD_DREG.rawValue, bigEndian: register.number)
            writer.attribute(NFTA_PAYLOAD_BASE.rawValue, bigEndian: header.rawValue)
            writer.attribute(NFTA_PAYLOAD_OFFSET.rawValue, bigEndian: offset)
            writer.attribute(NFTA_PAYLOAD_LEN.rawValue, bigEndian: count)
        case .connectionState(let register):
            writer.attribute(NFTA_CT_KEY.rawValue, bigEndian: NFT_CT_STATE.rawValue)
            writer.attribute(NFTA_CT_DREG.rawValue, bigEndian: register.number)
        case .routeBack(let register):
            writer.attribute(NFTA_FIB_DREG.rawValue, bigEndian: register.number)
            writer.attribute(NFTA_FIB_RESULT.rawValue, bigEndian: NFT_FIB_RESULT_OIF.rawValue)
            writer.attribute(NFTA_FIB_FLAGS.rawValue, bigEndian: Self.sourceAndInput)
        case .mask(let register, let mask):
            writer.attribute(NFTA_BITWISE_SREG.rawValue, bigEndian: register.number)
            writer.attribute(NFTA_BITWISE_DREG.rawValue, bigEndian: register.number)
            writer.attribute(NFTA_BITWISE_LEN.rawValue, bigEndian: UInt32(mask.count))
            writer.data(NFTA_BITWISE_MASK.rawValue, mask)
            writer.data(NFTA_BITWISE_XOR.rawValue, mask.map { _ in 0 })
        case .compare(let register, let comparison, let bytes):
            writer.attribute(NFTA_CMP_SREG.rawValue, bigEndian: register.number)
            writer.attribute(NFTA_CMP_OP.rawValue, bigEndian: comparison.rawValue)
            writer.data(NFTA_CMP_DATA.rawValue, bytes)
        case .lookup(let register, let set, let isInverted):
            writer.attribute(NFTA_LOOKUP_SET.rawValue, string: set)
            writer.attribute(NFTA_LOOKUP_SREG.rawValue, bigEndian: register.number)
            writer.attribute(NFTA_LOOKUP_FLAGS.rawValue, bigEndian: isInverted ? NFT_LOOKUP_F_INV.rawValue : 0)
        case .count(let counter):
            writer.attribute(NFTA_OBJREF_IMM_TYPE.rawValue, bigEndian: UInt32(NFT_OBJECT_COUNTER))
            writer.attribute(NFTA_OBJREF_IMM_NAME.rawValue, string: counter)
        case .verdict(let verdict):
            writer.attribute(NFTA_IMMEDIATE_DREG.rawValue, bigEndian: NFT_REG_VERDICT.rawValue)
            writer.nest(NFTA_IMMEDIATE_DATA.rawValue) { data in
                data.nest(NFTA_DATA_VERDICT.rawValue) {
                    $0.attribute(NFTA_VERDICT_CODE.rawValue, bigEndian: verdict.rawValue)
                }
            }
        case .load(let bytes, let register):
            writer.attribute(NFTA_IMMEDIATE_DREG.rawValue, bigEndian: register.number)
            writer.data(NFTA_IMMEDIATE_DATA.rawValue, bytes)
        case .redirect(let address, let port):
            writer.attribute(NFTA_NAT_TYPE.rawValue, bigEndian: NFT_NAT_DNAT.rawValue)
            writer.attribute(NFTA_NAT_FAMILY.rawValue, bigEndian: UInt32(NFPROTO_IPV4))
            writer.attribute(NFTA_NAT_REG_ADDR_MIN.rawValue, bigEndian: address.number)
            writer.attribute(NFTA_NAT_REG_PROTO_MIN.rawValue, bigEndian: port.number)
        case .update(let change, let set, let key, let milliseconds):
            writer.attribute(NFTA_DYNSET_SET_NAME.rawValue, string: set)
            writer.attribute(NFTA_DYNSET_OP.rawValue, bigEndian: change.rawValue)
            writer.attribute(NFTA_DYNSET_SREG_KEY.rawValue, bigEndian: key.number)
            if milliseconds > 0 { writer.attribute(NFTA_DYNSET_TIMEOUT.rawValue, bigEndian: milliseconds) }
        case .sourceNAT(let family, let register):
            writer.attribute(NFTA_NAT_TYPE.rawValue, bigEndian: NFT_NAT_SNAT.rawValue)
            writer.attribute(NFTA_NAT_FAMILY.rawValue, bigEndian: family.netfilterNumber)
            writer.attribute(NFTA_NAT_REG_ADDR_MIN.rawValue, bigEndian: register.number)
        case .untrack, .masquerade, .other: break
        }
    }
}

extension AddressFamily {
    /// NFPROTO_….
    var netfilterNumber: UInt32 { UInt32(self == .v4 ? NFPROTO_IPV4 : NFPROTO_IPV6) }
}

extension NetlinkWriter {
    /// Bytes that a register is combined or compared with.
    fileprivate mutating func data(_ type: UInt32, _ bytes: [UInt8]) {
        nest(type) { $0.attribute(NFTA_DATA_VALUE.rawValue, bytes: bytes) }
    }
}
