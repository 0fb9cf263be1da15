/// One change of the ruleset, and the transaction that makes several of them one.
import CLinux
import Glibc

package enum NFTablesChange: Hashable, Sendable {
    /// Does nothing when there is such a table.
    case createTable(String)
    /// With everything in it.
    case deleteTable(String)
    case createChain(NFTablesChain)
    case createCounter(NFTablesCounter)
    case createSet(NFTablesSet)
    /// Elements that are there already are left alone.
    case addElements(NFTablesElements)
    /// ENOENT, and nothing of the transaction, when one of them is not there.
    case deleteElements(NFTablesElements)
    /// After the rules that its chain has.
    case appendRule(NFTablesRule)

    package var type: UInt16 {
        switch self {
        case .createTable: NFTables.type(NFT_MSG_NEWTABLE)
        case .deleteTable: NFTables.type(NFT_MSG_DELTABLE)
        case .createChain: NFTables.type(NFT_MSG_NEWCHAIN)
        case .createCounter: NFTables.type(NFT_MSG_NEWOBJ)
        case .createSet: NFTables.type(NFT_MSG_NEWSET)
        case .addElements: NFTables.type(NFT_MSG_NEWSETELEM)
        case .deleteElements: NFTables.type(NFT_MSG_DELSETELEM)
        case .appendRule: NFTables.type(NFT_MSG_NEWRULE)
        }
    }

    package var flags: UInt16 {
        switch self {
        case .createTable, .addElements: UInt16(NLM_F_CREATE)
        case .createChain, .createCounter, .createSet: UInt16(NLM_F_CREATE) | UInt16(NLM_F_EXCL)
        case .deleteTable, .deleteElements: 0
        case .appendRule: UInt16(NLM_F_CREATE) | UInt16(NLM_F_APPEND)
        }
    }

    package func write(to writer: inout NetlinkWriter, _ family: NFTablesFamily = .inet) {
        writer.append(NFTables.header(family))
        switch self {
        case .createTable(let name), .deleteTable(let name): writer.attribute(NFTA_TABLE_NAME.rawValue, string: name)
        case .createChain(let chain): chain.write(to: &writer)
        case .createCounter(let counter): counter.write(to: &writer)
        case .createSet(let set): set.write(to: &writer)
        case .addElements(let elements), .deleteElements(let elements): elements.write(to: &writer)
        case .appendRule(let rule): rule.write(to: &writer)
        }
    }
}

extension NetlinkBatch {
    /// Adds the changes as one transaction: the change with index i is request i + 1 of the transaction. All changes are
    /// acknowledged; its two ends are not, because kernels before 6.10 do not acknowledge these. When the transaction as a
    /// whole cannot be committed, the kernel says so by an error for its first message.
    package mutating func add(transaction changes: [NFTablesChange], _ family: NFTablesFamily = .inet) {
        var end = NFTables.header(family)
        end.nfgen_family = UInt8(AF_UNSPEC)
        end.res_id = NFTables.subsystem.bigEndian
        add(type: NFNL_MSG_BATCH_BEGIN, acknowledged: false) { $0.append(end) }
        for change in changes {
            add(type: change.type, flags: change.flags) { change.write(to: &$0, family) }
        }
        add(type: NFNL_MSG_BATCH_END, acknowledged: false) { $0.append(end) }
    }
}
