import Store
import Testing

@Suite(.timeLimit(.minutes(2)))
struct WatchTests {
    @Test("a watch has every change below its prefix in order, and nothing else", arguments: Implementation.allCases)
    func order(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            var reader = await WatchReader(store, prefix: "a/", after: .zero)
            var last = Revision.zero
            for number in 0..<100 {
                last = try await store.write(.put("a/\(number % 7)", "\(number)"))
                try await store.write(.put("b/\(number)"))
            }
            let changes = try await reader.changes(upTo: last)
            let values = changes.compactMap { change -> String? in
                guard case .put(let entry) = change, entry.key.hasPrefix("a/") else { return nil }
                return String(decoding: entry.value, as: UTF8.self)
            }
            #expect(values == (0..<100).map(String.init))
        }
    }

    @Test("an event has whole revisions only", arguments: Implementation.allCases)
    func wholeRevisions(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let start = try await store.list(prefix: "").revision
            // More than one event's worth.
            for round in 0..<10 {
                try await store.write(
                    StoreTransaction(
                        operations: (0..<500).map { .put(key: "k\($0)", value: Array("\(round)".utf8), lease: nil) }))
            }
            let end = try await store.list(prefix: "").revision
            var reader = await WatchReader(store, after: start)
            var events = 0
            var position = start
            while position < end {
                guard case .changes(let changes, let revision)? = try await reader.next() else {
                    Issue.record("the watch ended early")
                    return
                }
                #expect(changes.count == 500 * Int(revision.number - position.number))
                position = revision
                events += 1
            }
            #expect(events > 1)
        }
    }

    @Test("a watch resumes from the revision that was read", arguments: Implementation.allCases)
    func resume(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            var revisions: [Revision] = []
            for number in 0..<10 { revisions.append(try await store.write(.put("k\(number)"))) }
            for start in 0..<9 {
                var reader = await WatchReader(store, after: revisions[start])
                let changes = try await reader.changes(upTo: revisions[9])
                #expect(changes.count == 9 - start)
            }
        }
    }

    @Test("what a watch tells, applied to a list, gives the later list", arguments: Implementation.allCases)
    func replica(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            try await store.write(.put("k0"))
            let start = try await store.list(prefix: "")
            var reader = await WatchReader(store, after: start.revision)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in 0..<8 {
                    group.addTask {
                        for round in 0..<20 {
                            let key = "k\((writer * 7 + round * 3) % 16)"
                            try await store.write(round % 3 == 2 ? .delete(key) : .put(key, "\(writer) \(round)"))
                        }
                    }
                }
                try await group.waitForAll()
            }
            let end = try await store.list(prefix: "")
            var replica = Dictionary(uniqueKeysWithValues: start.entries.map { ($0.key, $0) })
            for change in try await reader.changes(upTo: end.revision) {
                switch change {
                case .put(let entry): replica[entry.key] = entry
                case .delete(let key, _): replica[key] = nil
                }
            }
            #expect(replica.values.sorted { $0.key < $1.key } == end.entries)
        }
    }

    @Test("a watch from a revision that the store has not reached is missed, and over", arguments: Implementation.allCases)
    func future(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let revision = try await fixture.store.write(.put("a"))
            var reader = await WatchReader(fixture.store, after: Revision(revision.number + 1))
            guard case .missed? = try await reader.next() else {
                Issue.record("a watch from the future was accepted")
                return
            }
            #expect(try await reader.next() == nil)
        }
    }

    @Test("a watch from before the history is missed", arguments: Implementation.withClock)
    func missed(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let first = try await store.write(.put("a"))
            for _ in 0..<33 {
                try await store.write(
                    StoreTransaction(operations: (0..<512).map { .put(key: "k\($0)", value: [0x31], lease: nil) }))
            }
            let end = try await store.list(prefix: "").revision
            var late = await WatchReader(store, prefix: "a", after: first)
            guard case .missed? = try await late.next() else {
                Issue.record("a watch was continued from what is no longer known")
                return
            }
            var current = await WatchReader(store, after: Revision(end.number - 1))
            #expect(try await current.changes(upTo: end).count == 512)
        }
    }

    @Test("a watch that sees nothing is told of progress and does not fall behind", arguments: [Implementation.memory, .embedded])
    func progress(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let quiet = Task {
                var seen: [Revision] = []
                for try await event in await store.watch(prefix: "quiet/", after: .zero) {
                    guard case .changes(let changes, let revision) = event else { break }
                    seen.append(revision)
                    if !changes.isEmpty { return seen }
                }
                Issue.record("the watch ended")
                return seen
            }
            for number in 0..<2_500 { try await store.write(.put("loud", "\(number)")) }
            let last = try await store.write(.put("quiet/a"))
            let seen = try await quiet.value
            #expect(seen.count >= 2)
            #expect(seen.last == last)
            #expect(seen == seen.sorted())
        }
    }

    @Test("a watch ends when its consumer is cancelled", arguments: Implementation.allCases)
    func cancellation(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let (started, starting) = AsyncStream<Void>.makeStream()
            let consumer = Task {
                for try await _ in await store.watch(prefix: "", after: .zero) { starting.yield() }
            }
            try await store.write(.put("a"))
            for await _ in started { break }
            consumer.cancel()
            _ = await consumer.result
        }
    }

    @Test("many watches of one store all see the same", arguments: Implementation.allCases)
    func many(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let start = try await store.list(prefix: "").revision
            let end = Revision(start.number + 50)
            let counts = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<20 {
                    group.addTask {
                        var reader = await WatchReader(store, after: .zero)
                        return try await reader.changes(upTo: end).count
                    }
                }
                for number in 0..<50 { try await store.write(.put("k\(number)")) }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(counts == Array(repeating: 50, count: 20))
        }
    }
}
