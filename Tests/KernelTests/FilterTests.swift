import Addressing
import CLinux
import Fabric
import Glibc
import Netlink
import Synchronization
import Testing

@testable import Kernel

@Suite("the nftables table of a namespace", filterLab, .timeLimit(.minutes(2)))
struct FilterTests {
    @Test("each rule is to nft what it was meant to be")
    func judgedByNFT() throws {
        let (filter, script) = try everyMatch()
        let ours = try FilterNamespace()
        let judge = try FilterNamespace()
        try NetfilterTable.replace(filter, ours.netfilter())
        try judge("nft", script)
        for chain in filter.chains.keys {
            let made = try ours.expressions("tulle", chain)
            let meant = try judge.expressions("tulle", chain)
            #expect(made.count == filter.chains[chain]?.rules.count)
            for (index, pair) in zip(made, meant).enumerated() {
                #expect(pair.0 == pair.1, "\(filter.chains[chain]?.rules[index] ?? "")")
            }
        }
        func others(_ rows: [FilterJSON]) -> Set<FilterJSON> {
            Set(rows.filter { $0["chain"] != nil || $0["set"] != nil || $0["counter"] != nil }.map(\.withoutHandle))
        }
        #expect(try others(ours.ruleset()) == others(judge.ruleset()))
        #expect(try NetfilterTable.observe(ours.netfilter()).filter == filter)
    }

    @Test("nft shows each rule's text as its comment, and reads back what it shows")
    func readable() throws {
        let (filter, _) = try everyMatch()
        let ours = try FilterNamespace()
        try NetfilterTable.replace(filter, ours.netfilter())
        let listing = try ours("nft", "list", "ruleset")
        for text in filter.chains.values.flatMap(\.rules) { #expect(listing.contains("comment \"\(text.prefix(127))\"")) }
        let copy = try FilterNamespace()
        try copy("nft", listing)
        #expect(try copy("nft", "list", "ruleset") == listing)
        // A copy by nft has lost our marks, so it is not believed to be ours.
        #expect(try NetfilterTable.observe(copy.netfilter()).filter?.hasSameRules(as: filter) == false)
    }

    @Test("any filter that replaces another is observed as it was wanted", arguments: 0..<8 as Range<UInt64>)
    func replacements(seed: UInt64) throws {
        var random = FilterRandom(seed: seed)
        let namespace = try FilterNamespace()
        let socket = try namespace.netfilter()
        #expect(try NetfilterTable.observe(socket).filter == nil)
        for _ in 0..<12 {
            let filter = random.filter()
            for _ in 0..<2 {
                try NetfilterTable.replace(filter, socket)
                let (observed, generation) = try NetfilterTable.observe(socket)
                #expect(observed == filter)
                #expect(try NetfilterTable.observe(socket).generation == generation)
            }
        }
        for _ in 0..<2 {
            try NetfilterTable.replace(nil, socket)
            #expect(try NetfilterTable.observe(socket).filter == nil)
        }
        #expect(try namespace.ruleset().allSatisfy { $0["metainfo"] != nil })
    }

    @Test("sets follow changes whether or not the elements are there already", arguments: 0..<4 as Range<UInt64>)
    func setChanges(seed: UInt64) throws {
        var random = FilterRandom(seed: seed)
        let namespace = try FilterNamespace()
        let socket = try namespace.netfilter()
        for type in FilterRandom.types {
            var wanted = PacketFilter(sets: ["s": FilterSet(type), "untouched": FilterSet(type, [random.element(type)])])
            try NetfilterTable.replace(wanted, socket)
            for _ in 0..<15 {
                let (add, remove) = (random.elements(type), random.elements(type))
                wanted.sets["s"]?.elements.subtract(remove)
                wanted.sets["s"]?.elements.formUnion(add)
                for _ in 0..<2 {
                    try NetfilterTable.change(set: "s", type: type, add: add, remove: remove, socket)
                    #expect(try NetfilterTable.observe(socket).filter == wanted)
                }
            }
        }
    }

    @Test("a set of 5,000 guards is made, changed and removed in one transaction each", arguments: FilterRandom.types)
    func largeSet(type: FilterSet.ElementType) throws {
        var random = FilterRandom(seed: 5)
        let namespace = try FilterNamespace()
        let socket = try namespace.netfilter()
        let elements = random.manyElements(type, 5_000)
        let filter = PacketFilter(sets: ["s": FilterSet(type, elements)])
        try NetfilterTable.replace(filter, socket)
        let (observed, generation) = try NetfilterTable.observe(socket)
        #expect(observed == filter)
        let others = random.manyElements(type, 5_000)
        try NetfilterTable.change(set: "s", type: type, add: others, remove: elements, socket)
        let (changed, next) = try NetfilterTable.observe(socket)
        #expect(changed?.sets["s"]?.elements == others)
        #expect(next == generation + 1)
        // Half of them are gone already.
        try NetfilterTable.change(set: "s", type: type, add: [], remove: elements.union(others), socket)
        #expect(try NetfilterTable.observe(socket).filter?.sets["s"]?.elements == [])
    }

    @Test("who lists during replacements sees one filter or the other, whole")
    func atomicListing() throws {
        let namespace = try FilterNamespace()
        let writer = try namespace.netfilter()
        var random = FilterRandom(seed: 11)
        let filters = [random.filter(), random.filter()]
        try NetfilterTable.replace(filters[0], writer)
        let reader = try namespace.netfilter()
        let lister = try FilterBackground {
            do {
                let seen = try NetfilterTable.observe(reader).filter
                guard let seen, filters.contains(seen) else { throw FilterSurprise(what: "\(String(describing: seen))") }
            } catch let error as KernelError where error.code == .interrupted {
                // Twenty times in a row something was replaced meanwhile: honest.
            }
        }
        for round in 1...400 {
            try NetfilterTable.replace(filters[round % 2], writer)
            if round % 8 == 0 { try lister.awaitRun() }
        }
        #expect(try lister.stop() >= 50)
    }

    @Test("no packet passes while the rule that drops it is replaced")
    func atomicFiltering() throws {
        let namespace = try FilterNamespace()
        let socket = try namespace.netfilter()
        let receiver = try namespace.udp("127.0.0.1", port: 7000)
        let sender = try namespace.udp("127.0.0.1")
        func filter(_ padding: Int) -> PacketFilter {
            let rules = [FilterRule](repeating: FilterRule([.inputLink("none")], .drop), count: padding)
            let chain = FilterChain(.filter, .input, priority: 0, rules: rules + [FilterRule([.udpPort(7000)], .drop)])
            return PacketFilter(chains: ["input": chain])
        }
        try NetfilterTable.replace(filter(0), socket)
        let traffic = try FilterBackground { sender.send("leak", to: "127.0.0.1", port: 7000) }
        for round in 1...300 { try NetfilterTable.replace(filter(round % 20), socket) }
        #expect(try traffic.stop() > 300)
        // What had leaked would be received before this one.
        try NetfilterTable.replace(nil, socket)
        sender.send("end", to: "127.0.0.1", port: 7000)
        #expect(receiver.receive()?.text == "end")
    }

    @Test("tables of others stay as they are, even one of our name in another family")
    func foreignTables() throws {
        let namespace = try FilterNamespace()
        let socket = try namespace.netfilter()
        try namespace("nft", """
            table ip tulle {
              set s { type ipv4_addr; elements = { 10.0.0.1 } }
              counter c { packets 7 bytes 700; }
              chain input { type filter hook input priority 0; ip saddr @s counter name c drop; }
            }
            table inet other {
              chain input { type filter hook input priority 5; udp dport 9 drop; }
            }
            """)
        let before = try namespace.ruleset()
        var random = FilterRandom(seed: 3)
        #expect(try NetfilterTable.observe(socket).filter == nil)
        #expect(try NetfilterTable.counters(socket).isEmpty)
        for _ in 0..<5 {
            let filter = random.filter()
            try NetfilterTable.replace(filter, socket)
            #expect(try NetfilterTable.observe(socket).filter == filter)
            let theirs = try namespace.ruleset().filter { item in
                guard case .object(let members) = item, let row = members.values.first else { return true }
                let table = row["table"] ?? row["name"]
                return row["family"] != .text("inet") || table != .text("tulle")
            }
            #expect(theirs == before)
        }
        try NetfilterTable.replace(nil, socket)
        #expect(try namespace.ruleset() == before)
    }

    @Test("whatever somebody does to our table with nft is seen", arguments: FilterTampering.allCases)
    func tampering(with tampering: FilterTampering) throws {
        let namespace = try FilterNamespace()
        let socket = try namespace.netfilter()
        let set = FilterSet(.addressV4, [.address(IPAddress(v4: 0x0a00_0001))])
        let rule = FilterRule([.sourceIn(set: "s", .v4)], counter: "c", .drop)
        let filter = PacketFilter(
            chains: ["input": FilterChain(.filter, .input, priority: 0, rules: [rule, FilterRule([.udpPort(7)], .accept)])],
            sets: ["s": set, "free": set], counters: ["c"])
        try NetfilterTable.replace(filter, socket)
        let generation = try NetfilterTable.observe(socket).generation
        let listing = try namespace("nft", "-a", "list", "table", "inet", "tulle")
        let line = try #require(listing.split(separator: "\n").first { $0.contains("# handle") && $0.contains("udp dport 7") })
        let handle = try #require(line.split(separator: " ").last)
        try namespace("nft", tampering.script.replacing("HANDLE", with: handle))
        let (seen, next) = try NetfilterTable.observe(socket)
        #expect(seen != filter)
        #expect(next > generation)
        #expect((seen?.hasSameRules(as: filter) == true) == tampering.isOnlyAboutElements)
        try NetfilterTable.replace(filter, socket)
        #expect(try NetfilterTable.observe(socket).filter == filter)
    }

    @Test("a rule with another's text but not its instructions is not believed")
    func forgedText() throws {
        let namespace = try FilterNamespace()
        let socket = try namespace.netfilter()
        let drop = FilterRule([.udpPort(7)], .drop)
        let filter = PacketFilter(chains: ["input": FilterChain(.filter, .input, priority: 0, rules: [drop])])
        try NetfilterTable.replace(PacketFilter(chains: ["input": FilterChain(.filter, .input, priority: 0, rules: [])]), socket)
        var forged = try #require(
            NFTablesRule(table: "tulle", chain: "input", expressions: try drop.expressions(in: filter), text: drop.description))
        forged.expressions[forged.expressions.count - 1] = .verdict(.accept)
        var batch = socket.batch()
        batch.add(transaction: [.appendRule(forged)])
        #expect(try socket.submit(batch).allSatisfy { $0.errno == 0 })
        #expect(try NetfilterTable.observe(socket).filter?.chains["input"]?.rules == ["?"])
    }

    @Test("what cannot be made is refused with its name, and the old filter stays")
    func refusals() throws {
        let namespace = try FilterNamespace()
        let socket = try namespace.netfilter()
        let address = FilterElement.address(IPAddress(v4: 1))
        let old = PacketFilter(sets: ["old": FilterSet(.addressV4, [address])])
        try NetfilterTable.replace(old, socket)
        func refused(_ cause: String, _ body: () throws -> Void) {
            let error = #expect(throws: KernelError.self) { try body() }
            #expect(error?.description.contains(cause) == true, "\(String(describing: error))")
        }
        func refused(_ cause: String, _ rule: FilterRule, _ sets: [String: FilterSet] = [:]) {
            let chain = FilterChain(.filter, .input, priority: 0, rules: [rule])
            refused(cause) { try NetfilterTable.replace(PacketFilter(chains: ["c": chain], sets: sets), socket) }
        }
        refused("set s of type addressV6", FilterRule([.sourceIn(set: "s", .v6)], .drop), ["s": FilterSet(.addressV4)])
        refused("set s of type guardV4", FilterRule([.guardNotIn(set: "s", .v4)], .drop), ["s": FilterSet(.addressV4)])
        refused("counter c", FilterRule([], counter: "c", .drop))
        refused("iifname sixteen-letters!", FilterRule([.inputLink("sixteen-letters!")], .drop))
        refused("longer than", FilterRule([FilterRule.Match](repeating: .udpPort(1), count: 30), .drop))
        refused("only known as texts") {
            let chain = FilterChain(.filter, .input, priority: 0, texts: ["drop"])
            try NetfilterTable.replace(PacketFilter(chains: ["c": chain]), socket)
        }
        // Masquerading outside of a nat chain: the kernel says no, and the error names the rule.
        refused("oifname eth0 masquerade", FilterRule([.outputLink("eth0")], .masquerade))
        refused("guardV4") { try NetfilterTable.replace(PacketFilter(sets: ["s": FilterSet(.guardV4, [address])]), socket) }
        refused("addressV6") { try NetfilterTable.change(set: "old", type: .addressV6, add: [address], remove: [], socket) }
        refused("set none") { try NetfilterTable.change(set: "none", type: .addressV4, add: [address], remove: [], socket) }
        refused("ENOENT") { try NetfilterTable.change(set: "none", type: .addressV4, add: [], remove: [address], socket) }
        #expect(try NetfilterTable.observe(socket).filter == old)
    }
}

/// A body that runs again and again in a thread of its own.
private final class FilterBackground {
    private let state = State()
    private var thread = pthread_t()

    init(_ body: @escaping () throws -> Void) throws {
        state.body = body
        let status = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<State>.fromOpaque(argument).takeRetainedValue().loop() }
                return nil
            }, Unmanaged.passRetained(state).toOpaque())
        try #require(status == 0)
    }

    /// Waits until it has run once more.
    func awaitRun() throws {
        let before = state.runs
        let deadline = ContinuousClock.now + .seconds(20)
        while state.runs == before {
            try #require(ContinuousClock.now < deadline && state.error == nil)
            sched_yield()
        }
    }

    /// How often it ran; throws what it threw.
    func stop() throws -> Int {
        state.isStopped = true
        pthread_join(thread, nil)
        if let error = state.error { throw error }
        return state.runs
    }

    private final class State: Sendable {
        nonisolated(unsafe) var body: () throws -> Void = {}
        private let progress = Mutex<(isStopped: Bool, runs: Int, error: (any Error)?)>((false, 0, nil))

        var isStopped: Bool {
            get { progress.withLock { $0.isStopped } }
            set { progress.withLock { $0.isStopped = newValue } }
        }
        var runs: Int { progress.withLock { $0.runs } }
        var error: (any Error)? { progress.withLock { $0.error } }

        func loop() {
            while !isStopped {
                let result = Result(catching: body)
                let failed = progress.withLock { progress in
                    if case .failure(let error) = result { progress.error = error }
                    progress.runs += 1
                    return progress.error != nil
                }
                if failed { return }
            }
        }
    }
}

private struct FilterSurprise: Error {
    var what: String
}

enum FilterTampering: String, CaseIterable {
    case deletedRule, alteredRule, alteredRuleWithSameComment, insertedRule, appendedRule, policy, dormancy, flushedChain, anotherChain
    case anotherCounter, deletedTable, deletedSet, addedElement, deletedElement

    var isOnlyAboutElements: Bool { self == .addedElement || self == .deletedElement }

    var script: String {
        switch self {
        case .deletedRule: "delete rule inet tulle input handle HANDLE"
        case .alteredRule: "replace rule inet tulle input handle HANDLE udp dport 8 accept"
        case .alteredRuleWithSameComment: "replace rule inet tulle input handle HANDLE udp dport 8 accept comment \"udp dport 7 accept\""
        case .insertedRule: "insert rule inet tulle input accept"
        case .appendedRule: "add rule inet tulle input drop"
        case .policy: "chain inet tulle input { policy drop; }"
        case .dormancy: "table inet tulle { flags dormant; }"
        case .flushedChain: "flush chain inet tulle input"
        case .anotherChain: "add chain inet tulle mine"
        case .anotherCounter: "add counter inet tulle mine"
        case .deletedTable: "delete table inet tulle"
        case .deletedSet: "delete set inet tulle free"
        case .addedElement: "add element inet tulle s { 10.0.0.2 }"
        case .deletedElement: "delete element inet tulle s { 10.0.0.1 }"
        }
    }
}

extension FilterJSON {
    /// Without the numbers that the kernel gave, and in no order where there is none.
    var withoutHandle: FilterJSON {
        guard case .object(let members) = self else { return self }
        return .object(
            members.filter { $0.key != "handle" }.mapValues { value in
                if case .list(let items) = value { return .list(items.sorted { "\($0)" < "\($1)" }) }
                return value.withoutHandle
            })
    }
}
