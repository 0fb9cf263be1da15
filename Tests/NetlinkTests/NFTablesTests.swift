import Addressing
import CLinux
import Netlink
import Testing

@Suite("nftables messages")
struct NFTablesTests {
    @Test("chains, sets, elements and counters that are printed read back the same", arguments: 0..<40 as Range<UInt64>)
    func objects(seed: UInt64) throws {
        var random = NFTablesRandom(seed: seed)
        for _ in 0..<50 {
            let chain = random.chain()
            #expect(try reread(.createChain(chain)) { try NFTablesChain($0) } == chain)
            let set = random.set()
            #expect(try reread(.createSet(set)) { try NFTablesSet($0) } == set)
            let counter = random.counter()
            #expect(try reread(.createCounter(counter)) { try NFTablesCounter($0) } == counter)
            let elements = random.elements()
            #expect(try reread(.addElements(elements)) { try NFTablesElements($0) } == elements)
        }
    }

    @Test("rules that are printed read back the same, with every instruction", arguments: 0..<40 as Range<UInt64>)
    func rules(seed: UInt64) throws {
        var random = NFTablesRandom(seed: seed)
        for _ in 0..<50 {
            let rule = random.rule()
            #expect(try reread(.appendRule(rule)) { try NFTablesRule($0) } == rule)
        }
    }

    @Test("a table with no attributes but its name is one that works")
    func table() throws {
        let table = try reread(.createTable("tulle")) { try NFTablesTable($0) }
        #expect(table.name == "tulle")
        #expect(table.flags == 0)
    }

    @Test("a transaction is framed for the nftables subsystem, and only its changes are acknowledged")
    func transaction() {
        var batch = NetlinkBatch(firstSequence: 7)
        batch.add(transaction: [.createTable("a"), .deleteTable("a")])
        #expect(batch.acknowledged == [false, true, true, false])
        batch.withBytes { bytes in
            var messages = NetlinkMessages(bytes)
            let all = Array(IteratorSequence(messages))
            while messages.next() != nil {}
            #expect(!messages.isGarbled)
            #expect(all.map(\.type) == [16, 10 << 8 | 0, 10 << 8 | 2, 17])
            #expect(all.map(\.sequence) == [7, 8, 9, 10])
            for end in [all[0], all[3]] { #expect(Array(end.payload) == [0, 0, 0, 10]) }
        }
    }

    @Test("the largest message of elements fits the length field of its attribute")
    func mostElements() {
        let keys = [[UInt8]](repeating: Array(repeating: 1, count: 40), count: NFTablesElements.most)
        var batch = NetlinkBatch(firstSequence: 1)
        batch.add(transaction: [.addElements(NFTablesElements(table: "tulle", set: "guards", keys: keys))])
        let isOversized = batch.isOversized
        #expect(!isOversized)
    }

    @Test("a message of another kind is refused")
    func wrongKind() {
        #expect(throws: NetlinkError.self) { try reread(.createTable("tulle")) { try NFTablesChain($0) } }
        #expect(throws: NetlinkError.self) { try reread(.createTable("tulle")) { try NFTablesGeneration($0) } }
    }
}

@Suite("the text of a rule")
struct NFTablesRuleTextTests {
    private let expressions: [NFTablesExpression] = [.meta(.networkProtocol, into: NFTablesRegister(0)), .verdict(.drop)]

    private func made(_ text: String) -> NFTablesRule? {
        NFTablesRule(table: "tulle", chain: "guard", expressions: expressions, text: text)
    }

    @Test("texts of every length up to the longest are kept, within the kernel's limit", arguments: ["a", "é", "€", "🧵"])
    func lengths(character: String) throws {
        for offset in 0..<4 {
            for count in 0...NFTablesRule.longestText {
                let text = String(repeating: "x", count: offset) + String(repeating: character, count: count)
                guard text.utf8.count <= NFTablesRule.longestText else { break }
                let rule = try #require(made(text))
                #expect(rule.text == text)
                #expect(rule.userData.count <= Int(NFT_USERDATA_MAXLEN))
                // nft refuses longer comments when it reads what it has written.
                #expect(rule.userData[1] <= 128)
            }
        }
    }

    @Test("a longer text is refused")
    func tooLong() {
        #expect(made(String(repeating: "x", count: NFTablesRule.longestText + 1)) == nil)
    }

    @Test("a rule without our record, or with other instructions, or cut anywhere, has no text")
    func foreign() throws {
        var rule = try #require(made("accept what nobody asked for"))
        let userData = rule.userData
        rule.expressions[1] = .verdict(.accept)
        #expect(rule.text == nil)
        rule.expressions = expressions
        #expect(rule.text == "accept what nobody asked for")
        for count in 0..<userData.count {
            rule.userData = Array(userData.prefix(count))
            #expect(rule.text == nil)
        }
        // As nft leaves it after `replace rule … comment "accept"`.
        rule.userData = [0, 7] + Array("accept".utf8) + [0]
        #expect(rule.text == nil)
    }
}

@Suite("nftables messages of bad bytes")
struct NFTablesFuzzTests {
    @Test("bytes of any kind are read or refused, and never trap", arguments: 0..<20 as Range<UInt64>)
    func noise(seed: UInt64) {
        var random = NFTablesRandom(seed: seed)
        for _ in 0..<1_000 {
            readAll((0..<Int.random(in: 0...200, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
    }

    @Test("messages with a few changed bytes are read or refused, and never trap", arguments: 0..<20 as Range<UInt64>)
    func mutants(seed: UInt64) {
        var random = NFTablesRandom(seed: seed)
        for _ in 0..<250 {
            let changes: [NFTablesChange] = [
                .createChain(random.chain()), .createSet(random.set()), .createCounter(random.counter()),
                .addElements(random.elements()), .appendRule(random.rule()),
            ]
            for change in changes {
                var writer = NetlinkWriter()
                change.write(to: &writer)
                var bytes = writer.withBytes { Array($0) }
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
                }
                readAll(bytes.dropLast(Int.random(in: 0...8, using: &random)))
            }
        }
    }

    /// Reads them as each kind of message.
    private func readAll(_ bytes: some Collection<UInt8>) {
        Array(bytes).withUnsafeBytes { bytes in
            func message(_ type: nf_tables_msg_types) -> NetlinkMessage {
                NetlinkMessage(type: Int(NFNL_SUBSYS_NFTABLES) << 8 | Int(type.rawValue), flags: 0, sequence: 0, port: 0, payload: bytes)
            }
            _ = try? NFTablesGeneration(message(NFT_MSG_NEWGEN))
            _ = try? NFTablesTable(message(NFT_MSG_NEWTABLE))
            _ = try? NFTablesChain(message(NFT_MSG_NEWCHAIN))
            _ = try? NFTablesSet(message(NFT_MSG_NEWSET))
            _ = try? NFTablesElements(message(NFT_MSG_NEWSETELEM))
            _ = try? NFTablesCounter(message(NFT_MSG_NEWOBJ))
            _ = (try? NFTablesRule(message(NFT_MSG_NEWRULE)))?.text
        }
    }
}

/// What is read from the message that makes this change; a listing answers with messages of the same form.
private func reread<Value>(_ change: NFTablesChange, _ read: (NetlinkMessage) throws -> Value) throws -> Value {
    var writer = NetlinkWriter()
    writer.message(type: change.type, flags: change.flags, sequence: 1) { change.write(to: &$0) }
    return try writer.withBytes { bytes in
        var messages = NetlinkMessages(bytes)
        let message = messages.next()
        return try read(try #require(message))
    }
}

/// Values by SplitMix64, the same ones for the same seed.
struct NFTablesRandom: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    mutating func name() -> String {
        let letters = Array("abcdefghijklmnopqrstuvwxyz-0123456789")
        return String((0..<Int.random(in: 1...30, using: &self)).map { _ in pick(letters) })
    }
    mutating func bytes(_ counts: ClosedRange<Int>) -> [UInt8] {
        (0..<Int.random(in: counts, using: &self)).map { _ in .random(in: 0...255, using: &self) }
    }
    mutating func number<Number: FixedWidthInteger>(_: Number.Type = Number.self) -> Number { .random(in: .min ... .max, using: &self) }
    mutating func register() -> NFTablesRegister { NFTablesRegister(.random(in: 0...15, using: &self)) }
    mutating func pick<Value>(_ values: [Value]) -> Value { values[Int.random(in: values.indices, using: &self)] }

    mutating func chain() -> NFTablesChain {
        let base = NFTablesChain.Base(type: name(), hook: number(), priority: number(), policy: number())
        return NFTablesChain(table: name(), name: name(), base: Bool.random(using: &self) ? base : nil)
    }
    mutating func set() -> NFTablesSet {
        NFTablesSet(table: name(), name: name(), keyType: number(), keyLength: number(), flags: number(), size: number())
    }
    mutating func counter() -> NFTablesCounter {
        NFTablesCounter(table: name(), name: name(), packets: number(), bytes: number())
    }
    mutating func elements() -> NFTablesElements {
        NFTablesElements(table: name(), set: name(), keys: (0..<Int.random(in: 0...9, using: &self)).map { _ in bytes(0...41) })
    }
    mutating func rule() -> NFTablesRule {
        NFTablesRule(
            table: name(), chain: name(), expressions: (0..<Int.random(in: 0...9, using: &self)).map { _ in expression() },
            userData: bytes(0...256))
    }
    mutating func expression() -> NFTablesExpression {
        switch Int.random(in: 0...14, using: &self) {
        case 0: .meta(pick(NFTablesExpression.Meta.allCases), into: register())
        case 1: .payload(pick(NFTablesExpression.Header.allCases), offset: number(), count: number(), into: register())
        case 2: .connectionState(into: register())
        case 3: .mask(register(), bytes(0...16))
        case 4: .compare(register(), pick(NFTablesExpression.Comparison.allCases), bytes(0...16))
        case 5: .lookup(register(), set: name(), isInverted: .random(using: &self))
        case 6: .count(name())
        case 7: .verdict(pick(NFTablesExpression.Verdict.allCases))
        case 8: .untrack
        case 9: .masquerade
        case 10: .load(bytes(0...16), into: register())
        case 11: .redirect(address: register(), port: register())
        case 12: .update(pick(NFTablesExpression.SetChange.allCases), set: name(), key: register(), milliseconds: UInt64(number() as UInt32))
        case 13: .sourceNAT(pick(AddressFamily.allCases), register())
        default: .other("x" + name())
        }
    }
}
