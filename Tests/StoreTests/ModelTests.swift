@testable import Store
import Testing

/// The engine against an obvious model: one dictionary, one request at a time.
@Suite(.timeLimit(.minutes(2)))
struct ModelTests {
    @Test("random requests in random batches do what a plain dictionary does", arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func random(_ seed: UInt64) throws {
        var random = SeededRandom(seed)
        var state = KeyValueState()
        var model = Model()
        var replica: [String: StoreEntry] = [:]
        var position = Revision.zero
        var conflicts = 0
        var ended = 0
        for _ in 0..<600 {
            model.now += UInt64.random(in: 0...2_000_000_000, using: &random)
            if Bool.random(using: &random), let lease = state.leases.keys.min(by: { $0.number < $1.number }) {
                let renewed = (try? state.renew(lease, now: model.now)) != nil
                #expect(renewed == model.renew(lease))
            }
            let requests = (0..<Int.random(in: 1...5, using: &random)).map { _ in model.anyRequest(using: &random) }
            let (delta, replies) = state.evaluate(requests, now: model.now)
            let before = model.leases.count
            model.endLapsed()
            ended += before - model.leases.count
            for (request, reply) in zip(requests, replies) {
                let expected = model.apply(request)
                #expect(describe(reply) == expected, "\(request)")
                if expected.hasPrefix("conflict") { conflicts += 1 }
            }
            state.adopt(delta)
            #expect(state.snapshot(prefix: "").entries == model.entries.values.sorted { $0.key < $1.key })
            #expect(state.revision == model.revision)
            #expect(Set(state.leases.keys) == Set(model.leases.keys))
            if Bool.random(using: &random) {
                guard case .changes(let changes, let revision) = state.history.event(prefix: "", after: position) else {
                    Issue.record("a watch that kept up was told that it missed something")
                    return
                }
                for change in changes {
                    switch change {
                    case .put(let entry): replica[entry.key] = entry
                    case .delete(let key, _): replica[key] = nil
                    }
                }
                position = revision
                #expect(replica == model.entries)
            }
        }
        #expect(conflicts > 50 && ended > 20, "the random requests did not meet what they should")
    }
}

private func describe(_ reply: Result<StateReply, StoreError>) -> String {
    switch reply {
    case .success(.outcome(.committed(let revision))): return "committed \(revision.number)"
    case .success(.outcome(.conflict(let condition))): return "conflict \(condition)"
    case .success(.lease(let lease)): return "lease \(lease.number)"
    case .success(.done): return "done"
    case .failure(let error): return error.code.rawValue
    }
}

private struct Model {
    var now: UInt64 = 1
    var revision = Revision.zero
    var lastLease: UInt64 = 0
    var entries: [String: StoreEntry] = [:]
    var leases: [LeaseID: (seconds: Int, deadline: UInt64)] = [:]

    mutating func anyRequest(using random: inout SeededRandom) -> StateRequest {
        let key = { (random: inout SeededRandom) in
            "k\(Int.random(in: 0..<4, using: &random))/\(Int.random(in: 0..<4, using: &random))"
        }
        let lease = LeaseID(UInt64.random(in: lastLease > 4 ? lastLease - 4...lastLease : 0...4, using: &random))
        switch Int.random(in: 0..<20, using: &random) {
        case 0: return .grant(seconds: Int.random(in: 1...20, using: &random))
        case 1: return .revoke(lease)
        case 2: return .expire
        default: break
        }
        let since = Revision(UInt64.random(in: (revision.number > 5 ? revision.number - 5 : 0)...revision.number, using: &random))
        var conditions: [StoreCondition] = []
        for _ in 0..<Int.random(in: 0...2, using: &random) {
            let key = key(&random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0: conditions.append(.absent(key: key))
            case 1: conditions.append(.exists(key: key))
            case 2: conditions.append(.unchanged(key: key, since: entries[key]?.modified ?? since))
            default: conditions.append(.quiet(prefix: String(key.prefix(3)), since: since))
            }
        }
        var operations: [String: StoreOperation] = [:]
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let key = key(&random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0: operations[key] = .delete(key: key)
            case 1: operations[key] = .put(key: key, value: [UInt8.random(in: 0..<128, using: &random)], lease: lease)
            default: operations[key] = .put(key: key, value: [UInt8.random(in: 0..<128, using: &random)], lease: nil)
            }
        }
        return .commit(
            StoreTransaction(conditions: conditions, operations: operations.sorted { $0.key < $1.key }.map(\.value)))
    }

    mutating func renew(_ lease: LeaseID) -> Bool {
        guard let known = leases[lease], now < known.deadline else { return false }
        leases[lease] = (known.seconds, now + UInt64(known.seconds) * 1_000_000_000)
        return true
    }

    mutating func endLapsed() {
        for (lease, term) in leases.sorted(by: { $0.key.number < $1.key.number }) where term.deadline <= now { end(lease) }
    }

    private mutating func end(_ lease: LeaseID) {
        leases[lease] = nil
        let left = entries.filter { $0.value.lease != lease }
        if left.count != entries.count { revision.number += 1 }
        entries = left
    }

    mutating func apply(_ request: StateRequest) -> String {
        switch request {
        case .expire: return "done"
        case .grant(let seconds):
            lastLease += 1
            leases[LeaseID(lastLease)] = (seconds, now + UInt64(seconds) * 1_000_000_000)
            return "lease \(lastLease)"
        case .revoke(let lease):
            guard leases[lease] != nil else { return "lease-not-found" }
            end(lease)
            return "done"
        case .commit(let transaction):
            for condition in transaction.conditions {
                let holds: Bool
                switch condition {
                case .absent(let key): holds = !entries.keys.contains(key)
                case .exists(let key): holds = entries.keys.contains(key)
                case .unchanged(let key, let since): holds = entries[key].map { $0.modified == since } ?? false
                case .quiet(let prefix, let since):
                    holds = entries.values.allSatisfy { !$0.key.hasPrefix(prefix) || $0.modified <= since }
                }
                if !holds { return "conflict \(condition)" }
            }
            var next = entries
            for operation in transaction.operations {
                switch operation {
                case .delete(let key): next[key] = nil
                case .put(let key, let value, let lease):
                    if let lease, leases[lease] == nil { return "lease-not-found" }
                    let number = Revision(revision.number + 1)
                    next[key] = StoreEntry(
                        key: key, value: value, created: entries[key]?.created ?? number, modified: number, lease: lease)
                }
            }
            if next != entries { revision.number += 1 }
            entries = next
            return "committed \(revision.number)"
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
