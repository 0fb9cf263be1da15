/// The nftables tables `inet tulle` and `bridge tulle` of one network namespace: read as a `PacketFilter`, replaced in one transaction, changed
/// element by element. Nobody else's table is looked at or touched.
///
/// A filter goes through it like this: `replace` checks it, turns its rules into instructions (FilterRule+Expressions.swift) and its
/// elements into keys (FilterElement+Key.swift), and sends one transaction that deletes the old table and makes the new one:
/// a packet meets either the old rules or the new ones, and never none. `observe` (FilterObservation.swift) reads the
/// table back. Each rule carries its text; it is believed only while the rule's instructions are those it was made with.
import CLinux
package import Fabric
import Glibc
import Netlink

/// The functions take a NETLINK_NETFILTER socket, whose namespace is the one they work in.
package enum NetfilterTable {
    package static let name = "tulle"

    /// Makes the table what `filter` says, or removes it if that is nil. Named counters that stay keep what they have counted,
    /// except for packets that come during the call.
    package static func replace(
        _ filter: PacketFilter?, _ socket: NetlinkSocket, _ family: PacketFilter.Family = .inet
    ) throws(KernelError) {
        // Deleting what is not there would refuse the transaction; creating what is there does nothing.
        var changes = [NFTablesChange.createTable(name), .deleteTable(name)]
        if let filter {
            let counted = try counterRows(socket, family)
            changes += try creation(of: filter, counted: counted)
        }
        try commit(changes, socket, family)
    }

    /// Adds elements to a set and removes others, in one transaction. What is there already or gone already is no error;
    /// an element in both `add` and `remove` is added.
    package static func change(
        set: String, type: FilterSet.ElementType, add: Set<FilterElement>, remove: Set<FilterElement>, _ socket: NetlinkSocket,
        _ family: PacketFilter.Family = .inet
    ) throws(KernelError) {
        let added = try keys(add, type, set)
        var removed = try keys(remove.subtracting(add), type, set)
        for _ in 0..<attempts {
            let additions = elements(set, added).map(NFTablesChange.addElements)
            let changes = additions + elements(set, removed).map(NFTablesChange.deleteElements)
            guard !changes.isEmpty else { return }
            do throws(KernelError) {
                return try commit(changes, socket, family)
            } catch where error.errno == ENOENT && !removed.isEmpty {
                // Something to be removed is not there, which the kernel takes for a fault of the whole: look what is.
                let present = try elementRows(set, socket, family)
                removed = removed.filter(present.contains)
            }
        }
        throw KernelError(
            .interrupted, "change set \(set) of \(socket.name)",
            cause: "somebody else removed elements during each of \(attempts) attempts")
    }

    /// Packets by counter; empty when there is no table.
    package static func counters(_ socket: NetlinkSocket, _ family: PacketFilter.Family = .inet) throws(KernelError) -> [String: UInt64] {
        try counterRows(socket, family).mapValues(\.packets)
    }

    /// Somebody else may change the ruleset meanwhile; so often in a row he does not.
    static let attempts = 20
}

// MARK: Creation

extension NetfilterTable {
    /// Everything of the table, in the order in which one refers to the other.
    private static func creation(
        of filter: PacketFilter, counted: [String: NFTablesCounter]
    ) throws(KernelError) -> [NFTablesChange] {
        var changes = [NFTablesChange.createTable(name)]
        for counter in filter.counters.sorted() {
            changes.append(.createCounter(counted[counter] ?? NFTablesCounter(table: name, name: counter)))
        }
        for (set, content) in filter.sets.sorted(by: { $0.key < $1.key }) {
            changes.append(
                .createSet(
                    NFTablesSet(table: name, name: set, keyType: content.type.keyType, keyLength: UInt32(content.type.keyLength))))
            changes += elements(set, try keys(content.elements, content.type, set)).map(NFTablesChange.addElements)
        }
        for (chain, content) in filter.chains.sorted(by: { $0.key < $1.key }) {
            guard content.rules == content.program.map(\.description) else {
                throw KernelError(.invalid, "create chain \(chain)", cause: "it was observed: its rules are only known as texts")
            }
            let base = NFTablesChain.Base(type: content.kind.rawValue, hook: content.hook.number, priority: content.priority)
            changes.append(.createChain(NFTablesChain(table: name, name: chain, base: base)))
            for rule in content.program { changes.append(.appendRule(try row(rule, chain: chain, of: filter))) }
        }
        return changes
    }

    private static func row(_ rule: FilterRule, chain: String, of filter: PacketFilter) throws(KernelError) -> NFTablesRule {
        let expressions = try rule.expressions(in: filter)
        guard let row = NFTablesRule(table: name, chain: chain, expressions: expressions, text: rule.description) else {
            throw KernelError(
                .invalid, "make the rule '\(rule)'", cause: "its text is longer than \(NFTablesRule.longestText) bytes")
        }
        return row
    }

    private static func keys(
        _ elements: Set<FilterElement>, _ type: FilterSet.ElementType, _ set: String
    ) throws(KernelError) -> [[UInt8]] {
        var keys: [[UInt8]] = []
        keys.reserveCapacity(elements.count)
        for element in elements {
            guard let key = element.key(type) else {
                throw KernelError(.invalid, "write set \(set)", cause: "\(element) is no element of type \(type)")
            }
            keys.append(key)
        }
        return keys
    }

    private static func elements(_ set: String, _ keys: [[UInt8]]) -> [NFTablesElements] {
        stride(from: 0, to: keys.count, by: NFTablesElements.most).map { start in
            let end = min(start + NFTablesElements.most, keys.count)
            return NFTablesElements(table: name, set: set, keys: Array(keys[start..<end]))
        }
    }

    /// All changes or none.
    private static func commit(
        _ changes: [NFTablesChange], _ socket: NetlinkSocket, _ family: PacketFilter.Family
    ) throws(KernelError) {
        var batch = socket.batch(capacity: 16 << 10)
        batch.add(transaction: changes, family.number)
        let answers = try socket.submit(batch)
        // A refusal of one change comes with the acknowledgements of the others; a refusal of the whole with none.
        let refusals = answers.enumerated().filter { $0.element.errno != 0 && $0.element.errno != ECANCELED }
        if let (index, answer) = refusals.first {
            let change = changes.indices.contains(index - 1) ? changes[index - 1] : nil
            throw KernelError(netfilter: answer, change, socket.name, family)
        }
    }
}

extension FilterChain.Hook {
    /// enum nf_inet_hooks.
    var number: UInt32 {
        switch self {
        case .prerouting: NF_INET_PRE_ROUTING.rawValue
        case .input: NF_INET_LOCAL_IN.rawValue
        case .forward: NF_INET_FORWARD.rawValue
        case .output: NF_INET_LOCAL_OUT.rawValue
        case .postrouting: NF_INET_POST_ROUTING.rawValue
        }
    }

    init?(number: UInt32) {
        guard let hook = [Self.prerouting, .input, .forward, .output, .postrouting].first(where: { $0.number == number }) else {
            return nil
        }
        self = hook
    }
}
