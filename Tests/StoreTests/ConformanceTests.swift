import Store
import Testing

/// What every store does, whatever is behind it.
@Suite(.timeLimit(.minutes(2)))
struct ConformanceTests {
    @Test("a new key is created at the revision of its commit, and changed at later ones", arguments: Implementation.allCases)
    func revisions(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let before = try await store.list(prefix: "")
            #expect(before.entries.isEmpty)
            let first = try await store.write(.put("a", "1"))
            #expect(first > before.revision)
            let second = try await store.write(.put("a", "2"))
            #expect(second > first)
            let after = try await store.list(prefix: "")
            #expect(after.revision == second)
            #expect(
                after.entries == [StoreEntry(key: "a", value: Array("2".utf8), created: first, modified: second, lease: nil)])
            let third = try await store.write(.delete("a"))
            #expect(third > second)
            let fourth = try await store.write(.put("a", "3"))
            #expect(try await store.list(prefix: "").entries.first?.created == fourth)
        }
    }

    @Test("a commit that changes nothing makes no revision", arguments: Implementation.allCases)
    func nothingChanged(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let first = try await fixture.store.write(.put("a"))
            #expect(try await fixture.store.write(.delete("b")) == first)
            #expect(try await fixture.store.write(StoreTransaction(conditions: [.exists(key: "a")], operations: [])) == first)
        }
    }

    @Test("each condition holds exactly when it should", arguments: Implementation.allCases)
    func conditions(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let first = try await store.write(.put("net/a"))
            let second = try await store.write(.put("net/b"))
            let third = try await store.write(.delete("net/b"))
            let cases: [(StoreCondition, Bool)] = [
                (.absent(key: "net/c"), true), (.absent(key: "net/a"), false), (.absent(key: "net/b"), true),
                (.absent(key: "net/"), true),
                (.exists(key: "net/a"), true), (.exists(key: "net/b"), false), (.exists(key: "net"), false),
                (.unchanged(key: "net/a", since: first), true), (.unchanged(key: "net/a", since: second), false),
                (.unchanged(key: "net/b", since: second), false), (.unchanged(key: "net/x", since: .zero), false),
                // A deletion is no change of what is there.
                (.quiet(prefix: "net/", since: first), true), (.quiet(prefix: "net/", since: .zero), false),
                (.quiet(prefix: "", since: third), true), (.quiet(prefix: "other/", since: .zero), true),
            ]
            for (condition, holds) in cases {
                let outcome = try await store.commit(StoreTransaction(conditions: [condition], operations: []))
                #expect(outcome == (holds ? .committed(third) : .conflict(condition)), "\(condition)")
            }
        }
    }

    @Test("a conflict names the first condition that failed and writes nothing", arguments: Implementation.allCases)
    func conflict(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            try await store.write(.put("a"))
            let outcome = try await store.commit(
                StoreTransaction(
                    conditions: [.exists(key: "a"), .exists(key: "b"), .absent(key: "a")],
                    operations: [.put(key: "c", value: [0x31], lease: nil), .delete(key: "a")]))
            #expect(outcome == .conflict(.exists(key: "b")))
            #expect(try await store.list(prefix: "").entries.map(\.key) == ["a"])
        }
    }

    @Test("all operations of a transaction happen at one revision", arguments: Implementation.allCases)
    func atomicity(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let before = try await store.write(.put("old"))
            var reader = await WatchReader(store, after: before)
            let revision = try await store.write(
                StoreTransaction(operations: [
                    .put(key: "x", value: [0x31], lease: nil), .delete(key: "old"), .put(key: "b", value: [0x32], lease: nil),
                ]))
            let snapshot = try await store.list(prefix: "")
            #expect(snapshot.entries.map(\.key) == ["b", "x"])
            #expect(snapshot.entries.allSatisfy { $0.modified == revision && $0.created == revision })
            let event = try await reader.next()
            guard case .changes(let changes, revision)? = event else {
                Issue.record("unexpected event \(String(describing: event))")
                return
            }
            let put = { (key: String, value: UInt8) in
                StoreChange.put(StoreEntry(key: key, value: [value], created: revision, modified: revision, lease: nil))
            }
            #expect(changes == [put("x", 0x31), .delete(key: "old", at: revision), put("b", 0x32)])
        }
    }

    @Test("a list has exactly what is below the prefix, sorted", arguments: Implementation.allCases)
    func list(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            for key in ["b/2", "b", "b/10", "a/1", "b0", "b/~", "c/1"] { try await store.write(.put(key)) }
            #expect(try await store.list(prefix: "b/").entries.map(\.key) == ["b/10", "b/2", "b/~"])
            #expect(try await store.list(prefix: "").entries.map(\.key) == ["a/1", "b", "b/10", "b/2", "b/~", "b0", "c/1"])
            #expect(try await store.list(prefix: "d").entries.isEmpty)
        }
    }

    @Test("values come back as they were written", arguments: Implementation.allCases)
    func values(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let values = [
                "", "\"quoted\\\"", "line\nbreak\ttab\u{1}\u{0}", "Grüße 网络 🕸", "{\"a\":\"http://x/y\"}", "\u{2028}",
            ]
            for (index, value) in values.enumerated() { try await fixture.store.write(.put("k\(index)", value)) }
            let entries = try await fixture.store.list(prefix: "k").entries
            #expect(entries.map { String(decoding: $0.value, as: UTF8.self) } == values)
        }
    }

    @Test("what breaks the store's rules is refused and changes nothing", arguments: Implementation.allCases)
    func invalid(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let before = try await store.list(prefix: "").revision
            let put = { (key: String, value: [UInt8]) in
                StoreTransaction(operations: [.put(key: key, value: value, lease: nil)])
            }
            let megabyte = [UInt8](repeating: 0x61, count: 512 * 1024)
            let transactions = [
                put("", []), put(String(repeating: "k", count: 1025), []), put("kéy", []), put("a\nb", []), put("a\u{7F}", []),
                put("a", [0xFF]), put("a", megabyte + [0x61]),
                StoreTransaction(operations: [.delete(key: "a"), .put(key: "a", value: [], lease: nil)]),
                StoreTransaction(operations: (0...512).map { .delete(key: "k\($0)") }),
                StoreTransaction(operations: (0...8).map { .put(key: "k\($0)", value: megabyte, lease: nil) }),
                StoreTransaction(conditions: [.absent(key: "")], operations: []),
            ]
            for transaction in transactions { await expectError(.invalid) { _ = try await store.commit(transaction) } }
            await expectError(.invalid) { _ = try await store.list(prefix: "\u{0}") }
            await expectError(.invalid) { _ = try await store.grantLease(seconds: 0) }
            await expectError(.invalid) {
                for try await _ in await store.watch(prefix: "é", after: .zero) {}
            }
            #expect(try await store.list(prefix: "").revision == before)
            try await store.write(put(String(repeating: "k", count: 1024), megabyte))
        }
    }

    @Test("many writers that compare and swap lose no update", arguments: Implementation.allCases)
    func compareAndSwap(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            // Every round has one winner: with etcd that is a disk and a network of others' for each of the losers.
            let writers = implementation == .etcd ? 12 : 50
            try await store.write(.put("n", "0"))
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<writers {
                    group.addTask { for _ in 0..<4 { try await increment("n", in: store) } }
                }
                try await group.waitForAll()
            }
            let entry = try #require(try await store.list(prefix: "n").entries.first)
            #expect(String(decoding: entry.value, as: UTF8.self) == "\(writers * 4)")
            #expect(entry.modified == Revision(entry.created.number + UInt64(writers) * 4))
        }
    }

    @Test("a snapshot of 8,000 entries is whole", arguments: Implementation.allCases)
    func bigSnapshot(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let value = Array(#"{"network":"6b1f3f7e-1111-2222-3333-444455556666","addresses":["10.32.4.7/32"]}"#.utf8)
            for start in stride(from: 0, to: 8_000, by: 500) {
                try await fixture.store.write(
                    StoreTransaction(
                        operations: (start..<start + 500).map { .put(key: "endpoints/\($0)", value: value, lease: nil) }))
            }
            let snapshot = try await fixture.store.list(prefix: "endpoints/")
            #expect(snapshot.entries.count == 8_000)
            #expect(snapshot.entries.map(\.key) == (0..<8_000).map { "endpoints/\($0)" }.sorted())
            #expect(snapshot.entries.allSatisfy { $0.value == value })
        }
    }
}

/// Adds one to a number with compare and swap.
private func increment(_ key: String, in store: any Store) async throws {
    while true {
        let entry = try #require(try await store.list(prefix: key).entries.first)
        let number = try #require(Int(String(decoding: entry.value, as: UTF8.self)))
        let swap = StoreTransaction.put(key, "\(number + 1)", if: .unchanged(key: key, since: entry.modified))
        if case .committed = try await store.commit(swap) { return }
    }
}
