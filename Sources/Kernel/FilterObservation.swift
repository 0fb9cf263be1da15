/// Reading the table back. What we would not have made so is not passed over: it is shown as a difference, so that the
/// planner replaces the table.
import CLinux
package import Fabric
import Glibc
import Netlink

extension NetfilterTable {
    /// What the kernel holds, all of one moment.
    /// - Returns: `filter` is nil when there is no table. A rule that is not ours, or not as we made it, has the text "?", and
    ///   so has what follows a chain's last rule when the chain does not let pass what its rules let pass. The generation is
    ///   the number of the last transaction in this namespace, of whomever: while it stays, so does the filter.
    package static func observe(
        _ socket: NetlinkSocket, _ family: PacketFilter.Family = .inet
    ) throws(KernelError) -> (filter: PacketFilter?, generation: UInt32) {
        for _ in 0..<attempts {
            let before = try generation(socket)
            try awaitCommit(socket)
            let filter: PacketFilter?
            do throws(KernelError) {
                filter = try table(socket, family)
            } catch where error.errno == ENOENT {
                // Removed while it was read.
                continue
            }
            if try generation(socket) == before { return (filter, before) }
        }
        throw KernelError(
            .interrupted, "read the nftables rules of \(socket.name)",
            cause: "somebody changed them during each of \(attempts) attempts")
    }

    /// Waits until the transaction that made the present generation is done with. The kernel counts the generation up first and
    /// then makes the changes visible; lists are read without its lock, so that a list of that moment would show something of
    /// both, and the same number before and after. A transaction of nothing takes that lock and changes no generation.
    private static func awaitCommit(_ socket: NetlinkSocket) throws(KernelError) {
        var batch = socket.batch(capacity: 64)
        batch.add(transaction: [])
        _ = try socket.submit(batch)
    }

    private static func table(_ socket: NetlinkSocket, _ family: PacketFilter.Family) throws(KernelError) -> PacketFilter? {
        let table: NFTablesTable
        do throws(KernelError) {
            let rows = try list(.table(name), socket, family) { (message) throws(NetlinkError) in try NFTablesTable(message) }
            guard let row = rows.first else { return nil }
            table = row
        } catch where error.errno == ENOENT {
            return nil
        }
        // A dormant table filters nothing, whatever is in it.
        guard table.flags == 0 else { return PacketFilter(family) }
        var filter = PacketFilter(family, chains: try chains(socket, family), counters: Set(try counterRows(socket, family).keys))
        let sets = try list(.sets(table: name), socket, family) { (message) throws(NetlinkError) in try NFTablesSet(message) }
        for set in sets {
            // Others cannot be ours: a rule that uses one is seen as such.
            guard let type = FilterSet.ElementType(keyType: set.keyType), type.keyLength == Int(set.keyLength), set.flags == 0
            else { continue }
            // A key that we would not have written is never met by a packet: there is no name, MAC or address for it.
            let elements = try elementRows(set.name, socket, family).compactMap { FilterElement(key: $0, type) }
            filter.sets[set.name] = FilterSet(type, Set(elements))
        }
        return filter
    }

    private static func chains(_ socket: NetlinkSocket, _ family: PacketFilter.Family) throws(KernelError) -> [String: FilterChain] {
        let rows = try list(.chains, socket, family) { (message) throws(NetlinkError) in try NFTablesChain(message) }
        let rules = try list(.rules(table: name), socket, family) { (message) throws(NetlinkError) in
            let rule = try NFTablesRule(message)
            return (chain: rule.chain, text: rule.text ?? unknown)
        }
        let texts = Dictionary(grouping: rules, by: \.chain).mapValues { $0.map(\.text) }
        var chains: [String: FilterChain] = [:]
        for row in rows where row.table == name {
            let texts = texts[row.name] ?? []
            if let base = row.base, let kind = FilterChain.Kind(rawValue: base.type), let hook = FilterChain.Hook(number: base.hook) {
                let end = base.policy == UInt32(NF_ACCEPT) ? [] : [unknown]
                chains[row.name] = FilterChain(kind, hook, priority: base.priority, texts: texts + end)
            } else {
                chains[row.name] = FilterChain(.filter, .prerouting, priority: 0, texts: texts + [unknown])
            }
        }
        return chains
    }
    private static let unknown = "?"

    // MARK: Lists

    private static func generation(_ socket: NetlinkSocket) throws(KernelError) -> UInt32 {
        let rows: [NFTablesGeneration]
        do throws(KernelError) {
            rows = try list(.generation, socket, .inet) { (message) throws(NetlinkError) in try NFTablesGeneration(message) }
        } catch where error.errno == EINVAL {
            // nfnetlink's answer for a part of it that this kernel has not.
            throw KernelError(netfilter: NetlinkAcknowledgement(errno: EOPNOTSUPP), nil, socket.name)
        }
        guard let row = rows.first else {
            throw KernelError(.garbled, "read the nftables rules of \(socket.name)", cause: "the kernel told no generation")
        }
        return row.number
    }

    static func counterRows(_ socket: NetlinkSocket, _ family: PacketFilter.Family) throws(KernelError) -> [String: NFTablesCounter] {
        let rows: [NFTablesCounter]
        do throws(KernelError) {
            rows = try list(.counters(table: name), socket, family) { (message) throws(NetlinkError) in
                let counter = try NFTablesCounter(message)
                // Kernels that do not know this filter show those of all tables.
                return counter.table == name ? counter : nil
            }
        } catch where error.errno == ENOENT {
            return [:]
        }
        return Dictionary(rows.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// All elements. A set is a hash table that the kernel enlarges and shrinks some time after a change, in a new order; a list
    /// goes on after so many elements as it has shown already. So a list during that time misses some and shows as many others
    /// twice, without a sign of it from the kernel: a list without doubles is whole.
    static func elementRows(_ set: String, _ socket: NetlinkSocket, _ family: PacketFilter.Family) throws(KernelError) -> Set<[UInt8]> {
        for _ in 0..<attempts {
            let rows = try list(.elements(table: name, set: set), socket, family) { (message) throws(NetlinkError) in
                try NFTablesElements(message).keys
            }
            let elements = rows.reduce(into: Set<[UInt8]>()) { $0.formUnion($1) }
            if elements.count == rows.reduce(0, { $0 + $1.count }) { return elements }
        }
        throw KernelError(
            .interrupted, "read set \(set) of \(socket.name)", cause: "the kernel rearranged it during each of \(attempts) attempts")
    }

    private static func list<Row>(
        _ query: NFTablesQuery, _ socket: NetlinkSocket, _ family: PacketFilter.Family, row: (NetlinkMessage) throws(NetlinkError) -> Row?
    ) throws(KernelError) -> [Row] {
        try socket.collect(
            "read the nftables rules of \(socket.name)", type: query.type, flags: query.isDump ? Int32(NLM_F_DUMP) : 0,
            { query.write(to: &$0, family.number) }, row: row)
    }
}

extension PacketFilter.Family {
    var number: NFTablesFamily { self == .bridge ? .bridge : .inet }
}
