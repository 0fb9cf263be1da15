/// A rule: its instructions, and bytes of its maker's choice that the kernel keeps with it (the user data).
///
///     NFT_MSG_NEWRULE  table, chain, expressions { expression … }, user data
///
/// We keep in the user data what the rule is meant to do, as text, and a digest of the instructions that do it. Records are
/// those that `nft` uses there; it shows the first as the rule's comment and passes over the second.
///
///     +--------+--------+----------------------------------------+
///     | 0      | length | the text's beginning, then a zero byte |   at most 128 bytes, as nft limits comments
///     +--------+--------+----------------------------------------+
///     | 0x54   | length | revision (1) | digest (8) | the rest   |   a rule that nft has rewritten has no such record
///     +--------+--------+----------------------------------------+
///
/// Source: linux/netfilter/nf_tables.h (enum nft_rule_attributes, NFT_USERDATA_MAXLEN); libnftnl's udata.h (comments).
import CLinux

package struct NFTablesRule: Hashable, Sendable {
    package var table: String
    package var chain: String
    package var expressions: [NFTablesExpression]
    package var userData: [UInt8]

    package init(table: String, chain: String, expressions: [NFTablesExpression], userData: [UInt8] = []) {
        self.table = table
        self.chain = chain
        self.expressions = expressions
        self.userData = userData
    }

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        let attributes = try message.attributes(of: NFT_MSG_NEWRULE)
        table = try attributes.required(NFTA_RULE_TABLE.rawValue).string
        chain = try attributes.required(NFTA_RULE_CHAIN.rawValue).string
        expressions = []
        if let list = attributes[NFTA_RULE_EXPRESSIONS.rawValue]?.attributes {
            for expression in list { expressions.append(try NFTablesExpression(expression.attributes)) }
        }
        userData = attributes[NFTA_RULE_USERDATA.rawValue].map { Array($0.payload) } ?? []
    }

    func write(to writer: inout NetlinkWriter) {
        writer.attribute(NFTA_RULE_TABLE.rawValue, string: table)
        writer.attribute(NFTA_RULE_CHAIN.rawValue, string: chain)
        writer.nest(NFTA_RULE_EXPRESSIONS.rawValue, writeExpressions)
        if !userData.isEmpty { writer.attribute(NFTA_RULE_USERDATA.rawValue, bytes: userData) }
    }

    private func writeExpressions(to writer: inout NetlinkWriter) {
        for expression in expressions { expression.write(to: &writer) }
    }
}

// MARK: The text

extension NFTablesRule {
    /// The longest text, in bytes of UTF-8, that fits the user data in any case.
    package static let longestText = 240

    private static let comment: UInt8 = 0
    private static let ours: UInt8 = 0x54
    private static let commentLimit = 127
    /// Of what a text is taken to mean in instructions. Another one marks all rules of older agents as not ours, so that they
    /// are made again: raise it when the same text begins to be made of other instructions.
    private static let revision: UInt8 = 1

    /// With its text in the user data; nil when the text is too long.
    package init?(table: String, chain: String, expressions: [NFTablesExpression], text: String) {
        guard text.utf8.count <= Self.longestText else { return nil }
        self.init(table: table, chain: chain, expressions: expressions)
        var head = Self.commentLimit
        let bytes = Array(text.utf8)
        if bytes.count > head {
            // Not in the middle of a character.
            while head > 0, bytes[head] & 0xc0 == 0x80 { head -= 1 }
        }
        userData = Self.record(Self.comment, bytes.prefix(head) + [0])
        userData += Self.record(Self.ours, [Self.revision] + digest + bytes.dropFirst(head))
    }

    /// What the rule was made to do; nil when it is no rule of ours or its instructions are not those it was made with.
    package var text: String? {
        var head: [UInt8] = []
        var tail: [UInt8]?
        var rest = userData[...]
        while let type = rest.popFirst() {
            guard let length = rest.popFirst(), rest.count >= length else { return nil }
            switch type {
            case Self.comment: head = Array(rest.prefix(Int(length)).prefix { $0 != 0 })
            case Self.ours: tail = Array(rest.prefix(Int(length)))
            default: break
            }
            rest = rest.dropFirst(Int(length))
        }
        let mark = [Self.revision] + digest
        guard let tail, tail.starts(with: mark) else { return nil }
        return String(validating: head + tail.dropFirst(mark.count), as: UTF8.self)
    }

    private static func record(_ type: UInt8, _ value: [UInt8]) -> [UInt8] { [type, UInt8(value.count)] + value }

    /// FNV-1a, 64 bits, of the instructions as we send them. Against accidents and hands, not against forgery.
    private var digest: [UInt8] {
        var writer = NetlinkWriter(capacity: 1024)
        writeExpressions(to: &writer)
        let hash = writer.withBytes { bytes in
            bytes.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        }
        return (0..<8).map { UInt8(truncatingIfNeeded: hash >> ($0 * 8)) }
    }
}
