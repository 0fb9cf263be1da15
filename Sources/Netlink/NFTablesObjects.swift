/// Tables, chains, sets and counters as the kernel keeps them.
///
///     NFT_MSG_NEWTABLE    name, flags
///     NFT_MSG_NEWCHAIN    table, name, hook { number, priority }, type, policy      (a chain without hook is only jumped to)
///     NFT_MSG_NEWSET      table, name, flags, key type, key length, id
///     NFT_MSG_NEWSETELEM  table, set, elements { element { key { value } } … }
///     NFT_MSG_NEWOBJ      table, name, type, data { bytes, packets }
///
/// Source: linux/netfilter/nf_tables.h (enum nft_table_attributes and following).
import CLinux

/// Observed only: a change needs no more than its name.
package struct NFTablesTable: Hashable, Sendable {
    package var name: String
    /// NFT_TABLE_F_DORMANT and others; 0 is a table that works.
    package var flags: UInt32

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        let attributes = try message.attributes(of: NFT_MSG_NEWTABLE)
        name = try attributes.required(NFTA_TABLE_NAME.rawValue).string
        flags = try attributes[NFTA_TABLE_FLAGS.rawValue]?.bigEndian(UInt32.self) ?? 0
    }
}

package struct NFTablesChain: Hashable, Sendable {
    /// Where a chain is called from; the program's other chains have none.
    package struct Base: Hashable, Sendable {
        /// "filter", "nat" or "route".
        package var type: String
        /// enum nf_inet_hooks.
        package var hook: UInt32
        package var priority: Int32
        /// NF_ACCEPT or NF_DROP: what becomes of a packet that reaches the end.
        package var policy: UInt32

        package init(type: String, hook: UInt32, priority: Int32, policy: UInt32 = UInt32(NF_ACCEPT)) {
            self.type = type
            self.hook = hook
            self.priority = priority
            self.policy = policy
        }
    }
    package var table: String
    package var name: String
    package var base: Base?

    package init(table: String, name: String, base: Base?) {
        self.table = table
        self.name = name
        self.base = base
    }

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        let attributes = try message.attributes(of: NFT_MSG_NEWCHAIN)
        table = try attributes.required(NFTA_CHAIN_TABLE.rawValue).string
        name = try attributes.required(NFTA_CHAIN_NAME.rawValue).string
        guard let hook = attributes[NFTA_CHAIN_HOOK.rawValue]?.attributes else { return }
        base = Base(
            type: try attributes.required(NFTA_CHAIN_TYPE.rawValue).string,
            hook: try hook.required(NFTA_HOOK_HOOKNUM.rawValue).bigEndian(UInt32.self),
            priority: try hook.required(NFTA_HOOK_PRIORITY.rawValue).bigEndian(Int32.self),
            policy: try attributes.required(NFTA_CHAIN_POLICY.rawValue).bigEndian(UInt32.self))
    }

    func write(to writer: inout NetlinkWriter) {
        writer.attribute(NFTA_CHAIN_TABLE.rawValue, string: table)
        writer.attribute(NFTA_CHAIN_NAME.rawValue, string: name)
        guard let base else { return }
        writer.nest(NFTA_CHAIN_HOOK.rawValue) {
            $0.attribute(NFTA_HOOK_HOOKNUM.rawValue, bigEndian: base.hook)
            $0.attribute(NFTA_HOOK_PRIORITY.rawValue, bigEndian: base.priority)
        }
        writer.attribute(NFTA_CHAIN_TYPE.rawValue, string: base.type)
        writer.attribute(NFTA_CHAIN_POLICY.rawValue, bigEndian: base.policy)
    }
}

package struct NFTablesSet: Hashable, Sendable {
    package var table: String
    package var name: String
    /// Opaque to the kernel. `nft` reads it as up to five of its data type numbers of 6 bits each and prints the elements so.
    package var keyType: UInt32
    /// Bytes, with the padding of each part of a concatenation to 4.
    package var keyLength: UInt32
    /// NFT_SET_MAP and others; 0 is a plain set.
    package var flags: UInt32
    /// The most elements; 0 is no limit, which a set that rules add to does not take.
    package var size: UInt32

    package init(table: String, name: String, keyType: UInt32, keyLength: UInt32, flags: UInt32 = 0, size: UInt32 = 0) {
        self.table = table
        self.name = name
        self.keyType = keyType
        self.keyLength = keyLength
        self.flags = flags
        self.size = size
    }

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        let attributes = try message.attributes(of: NFT_MSG_NEWSET)
        table = try attributes.required(NFTA_SET_TABLE.rawValue).string
        name = try attributes.required(NFTA_SET_NAME.rawValue).string
        keyType = try attributes[NFTA_SET_KEY_TYPE.rawValue]?.bigEndian(UInt32.self) ?? 0
        keyLength = try attributes.required(NFTA_SET_KEY_LEN.rawValue).bigEndian(UInt32.self)
        flags = try attributes[NFTA_SET_FLAGS.rawValue]?.bigEndian(UInt32.self) ?? 0
        size = try attributes[NFTA_SET_DESC.rawValue]?.attributes[NFTA_SET_DESC_SIZE.rawValue]?.bigEndian(UInt32.self) ?? 0
    }

    func write(to writer: inout NetlinkWriter) {
        writer.attribute(NFTA_SET_TABLE.rawValue, string: table)
        writer.attribute(NFTA_SET_NAME.rawValue, string: name)
        writer.attribute(NFTA_SET_FLAGS.rawValue, bigEndian: flags)
        writer.attribute(NFTA_SET_KEY_TYPE.rawValue, bigEndian: keyType)
        writer.attribute(NFTA_SET_KEY_LEN.rawValue, bigEndian: keyLength)
        // A name by which messages of the same transaction could call the set. The kernel insists on one; we use the real name.
        writer.attribute(NFTA_SET_ID.rawValue, bigEndian: UInt32(0))
        if size > 0 { writer.nest(NFTA_SET_DESC.rawValue) { $0.attribute(NFTA_SET_DESC_SIZE.rawValue, bigEndian: size) } }
    }
}

/// Elements of one set. A dump's messages carry some of them each.
package struct NFTablesElements: Hashable, Sendable {
    package var table: String
    package var set: String
    package var keys: [[UInt8]]

    /// Keys in one message: with keys of 40 bytes (the longest of ours) and 12 of headers for each, the attribute stays
    /// below the 65,535 bytes that its length field can say.
    package static let most = 1000

    package init(table: String, set: String, keys: [[UInt8]]) {
        self.table = table
        self.set = set
        self.keys = keys
    }

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        let attributes = try message.attributes(of: NFT_MSG_NEWSETELEM)
        table = try attributes.required(NFTA_SET_ELEM_LIST_TABLE.rawValue).string
        set = try attributes.required(NFTA_SET_ELEM_LIST_SET.rawValue).string
        keys = []
        guard let elements = attributes[NFTA_SET_ELEM_LIST_ELEMENTS.rawValue]?.attributes else { return }
        for element in elements {
            // A set's "everything else" element has no key; no set of ours has one.
            guard let key = element.attributes[NFTA_SET_ELEM_KEY.rawValue]?.attributes else { continue }
            keys.append(Array(try key.required(NFTA_DATA_VALUE.rawValue).payload))
        }
    }

    func write(to writer: inout NetlinkWriter) {
        writer.attribute(NFTA_SET_ELEM_LIST_TABLE.rawValue, string: table)
        writer.attribute(NFTA_SET_ELEM_LIST_SET.rawValue, string: set)
        writer.nest(NFTA_SET_ELEM_LIST_ELEMENTS.rawValue) { list in
            for key in keys {
                list.nest(NFTA_LIST_ELEM.rawValue) { element in
                    element.nest(NFTA_SET_ELEM_KEY.rawValue) { $0.attribute(NFTA_DATA_VALUE.rawValue, bytes: key) }
                }
            }
        }
    }
}

/// A named counter with what it has counted.
package struct NFTablesCounter: Hashable, Sendable {
    package var table: String
    package var name: String
    package var packets: UInt64
    package var bytes: UInt64

    package init(table: String, name: String, packets: UInt64 = 0, bytes: UInt64 = 0) {
        self.table = table
        self.name = name
        self.packets = packets
        self.bytes = bytes
    }

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        let attributes = try message.attributes(of: NFT_MSG_NEWOBJ)
        let type = try attributes.required(NFTA_OBJ_TYPE.rawValue).bigEndian(UInt32.self)
        guard type == UInt32(NFT_OBJECT_COUNTER) else { throw NetlinkError(.wrongKind, "object type \(type) is no counter") }
        table = try attributes.required(NFTA_OBJ_TABLE.rawValue).string
        name = try attributes.required(NFTA_OBJ_NAME.rawValue).string
        let data = try attributes.required(NFTA_OBJ_DATA.rawValue).attributes
        packets = try data.required(NFTA_COUNTER_PACKETS.rawValue).bigEndian(UInt64.self)
        bytes = try data.required(NFTA_COUNTER_BYTES.rawValue).bigEndian(UInt64.self)
    }

    func write(to writer: inout NetlinkWriter) {
        writer.attribute(NFTA_OBJ_TABLE.rawValue, string: table)
        writer.attribute(NFTA_OBJ_NAME.rawValue, string: name)
        writer.attribute(NFTA_OBJ_TYPE.rawValue, bigEndian: UInt32(NFT_OBJECT_COUNTER))
        writer.nest(NFTA_OBJ_DATA.rawValue) {
            $0.attribute(NFTA_COUNTER_BYTES.rawValue, bigEndian: bytes)
            $0.attribute(NFTA_COUNTER_PACKETS.rawValue, bigEndian: packets)
        }
    }
}
