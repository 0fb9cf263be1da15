@testable import Store
import TestKit
import Testing

@Suite(.serialized, .timeLimit(.minutes(2)), .enabled(if: EtcdProcess.isAvailable, needsEtcd))
struct EtcdModelTests {
    @Test("random transactions do in etcd what they do in memory, and a watch tells the same", arguments: [1, 2] as [UInt64])
    func random(_ seed: UInt64) async throws {
        try await withEtcd { _, etcd in
            let memory = EmbeddedStore.inMemory()
            var random = SeededRandom(seed)
            // The same history begins later in etcd.
            let offset = try await etcd.list(prefix: "").revision.number
            func moved(_ revision: Revision) -> Revision { Revision(revision.number + offset) }
            func moved(_ entry: StoreEntry) -> StoreEntry {
                StoreEntry(
                    key: entry.key, value: entry.value, created: moved(entry.created), modified: moved(entry.modified), lease: nil)
            }
            func moved(_ condition: StoreCondition) -> StoreCondition {
                switch condition {
                case .absent, .exists: condition
                case .unchanged(let key, let since): .unchanged(key: key, since: moved(since))
                case .quiet(let prefix, let since): .quiet(prefix: prefix, since: moved(since))
                }
            }
            var reader = await WatchReader(etcd, after: Revision(offset))
            var model = await WatchReader(memory, after: .zero)
            var conflicts = 0
            for _ in 0..<400 {
                let present = try await memory.list(prefix: "")
                let transaction = anyTransaction(present, using: &random)
                let expected = try await memory.commit(transaction)
                let found = try await etcd.commit(
                    StoreTransaction(conditions: transaction.conditions.map(moved), operations: transaction.operations))
                switch expected {
                case .committed(let revision): #expect(found == .committed(moved(revision)), "\(transaction)")
                case .conflict(let condition):
                    conflicts += 1
                    #expect(found == .conflict(moved(condition)), "\(transaction)")
                }
            }
            let end = try await memory.list(prefix: "")
            let list = try await etcd.list(prefix: "")
            #expect(list.entries == end.entries.map(moved) && list.revision == moved(end.revision))
            #expect(try await etcd.list(prefix: "k1/").entries == memory.list(prefix: "k1/").entries.map(moved))
            let changes = try await model.changes(upTo: end.revision).map { change -> StoreChange in
                switch change {
                case .put(let entry): .put(moved(entry))
                case .delete(let key, let revision): .delete(key: key, at: moved(revision))
                }
            }
            #expect(try await reader.changes(upTo: list.revision) == changes)
            #expect(conflicts > 50, "the random transactions did not meet what they should")
        }
    }

    private func anyTransaction(_ present: StoreSnapshot, using random: inout SeededRandom) -> StoreTransaction {
        // Keys around the one that the store keeps to itself, too.
        let keys = ["k0/a", "k0/b", "k1/a", "k1/b", "k1/c", "stor", "store/", "stored", "s", "t"]
        func key() -> String { keys[Int.random(in: 0..<keys.count, using: &random)] }
        let number = present.revision.number
        func since() -> Revision { Revision(UInt64.random(in: (number > 6 ? number - 6 : 0)...number, using: &random)) }
        let conditions = (0..<Int.random(in: 0...3, using: &random)).map { _ -> StoreCondition in
            let key = key()
            switch Int.random(in: 0..<6, using: &random) {
            case 0: return .absent(key: key)
            case 1: return .exists(key: key)
            case 2: return .unchanged(key: key, since: since())
            case 3, 4: return .unchanged(key: key, since: present.entries.first { $0.key == key }?.modified ?? .zero)
            default: return .quiet(prefix: String(key.prefix(Int.random(in: 0...3, using: &random))), since: since())
            }
        }
        var operations: [StoreOperation] = []
        for key in Set((0..<Int.random(in: 0...3, using: &random)).map { _ in key() }).sorted() {
            operations.append(
                Bool.random(using: &random)
                    ? .put(key: key, value: [UInt8.random(in: 0x61...0x7A, using: &random)], lease: nil) : .delete(key: key))
        }
        return StoreTransaction(conditions: conditions, operations: operations)
    }
}
