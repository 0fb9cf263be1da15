/// nftables over nfnetlink: the messages that change and list tables of families `inet` and `bridge`, as values. These files are pure: they
/// turn values into bytes and bytes into values; sending is the caller's.
///
/// A change goes through it like this: the caller makes `NFTablesChange` values in the order in which the kernel shall execute
/// them; `NetlinkBatch.add(transaction:)` frames them with BATCH_BEGIN and BATCH_END, so that the kernel does all of them at
/// one moment or none. A listing is an `NFTablesQuery`; each message of the answer is read by the initializer of its kind
/// (`NFTablesChain`, `NFTablesRule`, …).
///
///     0          8          16                    32
///     +----------+----------+---------------------+
///     |  family  | version  | resource id (BE)    |   struct nfgenmsg, after the 16 bytes of struct nlmsghdr, whose type is
///     |  inet: 1 |    0     | 0, or in a batch's  |   subsystem << 8 | message. Numbers in attributes are big-endian, but
///     |          |          | ends the subsystem  |   what a packet or a device is compared with has its order there.
///     +----------+----------+---------------------+
///     | attributes: NFTA_<KIND>_…                 |
///
/// Source: linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.
import CLinux

enum NFTables {
    static let subsystem = UInt16(NFNL_SUBSYS_NFTABLES)

    static func type(_ message: nf_tables_msg_types) -> UInt16 { subsystem << 8 | UInt16(message.rawValue) }

    /// The header of a message about tables of that family.
    static func header(_ family: NFTablesFamily) -> nfgenmsg {
        nfgenmsg(nfgen_family: family.rawValue, version: UInt8(NFNETLINK_V0), res_id: 0)
    }
}

/// NFPROTO_…: tables of different families may have one name.
package enum NFTablesFamily: UInt8, Hashable, Sendable, CaseIterable {
    case inet = 1
    case bridge = 7
}

extension NetlinkMessage {
    /// The attributes of an nf_tables message of that kind.
    func attributes(of kind: nf_tables_msg_types) throws(NetlinkError) -> NetlinkAttributes {
        guard type == Int(NFTables.type(kind)) else {
            throw NetlinkError(.wrongKind, "message \(type) is not nf_tables message \(kind.rawValue)")
        }
        _ = try header(nfgenmsg.self)
        return attributes(after: nfgenmsg.self)
    }
}

extension NetlinkAttributes {
    /// The attribute of that type, which must be there.
    func required(_ type: UInt32) throws(NetlinkError) -> NetlinkAttribute {
        guard let attribute = self[type] else { throw NetlinkError(.malformed, "nf_tables attribute \(type) is missing") }
        return attribute
    }
}

/// The number of the namespace's ruleset: every transaction, of whomever, makes a new one.
package struct NFTablesGeneration: Hashable, Sendable {
    package var number: UInt32

    package init(number: UInt32) { self.number = number }

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        number = try message.attributes(of: NFT_MSG_NEWGEN).required(NFTA_GEN_ID.rawValue).bigEndian(UInt32.self)
    }
}

/// What can be asked for. All but the first two are dumps.
package enum NFTablesQuery: Hashable, Sendable {
    case generation
    /// ENOENT when there is none.
    case table(String)
    /// Of all tables of the family: the kernel has no filter for them.
    case chains
    /// In the order of their chains.
    case rules(table: String)
    case sets(table: String)
    case elements(table: String, set: String)
    case counters(table: String)

    package var type: UInt16 {
        switch self {
        case .generation: NFTables.type(NFT_MSG_GETGEN)
        case .table: NFTables.type(NFT_MSG_GETTABLE)
        case .chains: NFTables.type(NFT_MSG_GETCHAIN)
        case .rules: NFTables.type(NFT_MSG_GETRULE)
        case .sets: NFTables.type(NFT_MSG_GETSET)
        case .elements: NFTables.type(NFT_MSG_GETSETELEM)
        case .counters: NFTables.type(NFT_MSG_GETOBJ)
        }
    }

    package var isDump: Bool {
        switch self {
        case .generation, .table: false
        case .chains, .rules, .sets, .elements, .counters: true
        }
    }

    package func write(to writer: inout NetlinkWriter, _ family: NFTablesFamily = .inet) {
        writer.append(NFTables.header(family))
        switch self {
        case .generation, .chains: break
        case .table(let name): writer.attribute(NFTA_TABLE_NAME.rawValue, string: name)
        case .rules(let table): writer.attribute(NFTA_RULE_TABLE.rawValue, string: table)
        case .sets(let table): writer.attribute(NFTA_SET_TABLE.rawValue, string: table)
        case .elements(let table, let set):
            writer.attribute(NFTA_SET_ELEM_LIST_TABLE.rawValue, string: table)
            writer.attribute(NFTA_SET_ELEM_LIST_SET.rawValue, string: set)
        case .counters(let table):
            writer.attribute(NFTA_OBJ_TABLE.rawValue, string: table)
            writer.attribute(NFTA_OBJ_TYPE.rawValue, bigEndian: UInt32(NFT_OBJECT_COUNTER))
        }
    }
}
