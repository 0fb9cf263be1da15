import Dispatch
import Store
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(2)))
struct EmbeddedStoreTests {
    @Test("what was acknowledged is there after the store was opened again, with the same identity and revision")
    func reopen() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            let first = try await EmbeddedStore.open(path: path, create: true)
            let identity = await first.identity()
            for number in 0..<20 { try await first.write(.put("k\(number)", "\"\(number)\"")) }
            try await first.write(.put("k3", "again"))
            try await first.write(.delete("k4"))
            let before = try await first.list(prefix: "")
            await first.close()

            let second = try await EmbeddedStore.open(path: path, create: false)
            let after = try await second.list(prefix: "")
            #expect(await second.identity() == identity)
            #expect(identity.cluster.count == 36 && identity.epoch == 1)
            #expect(after.revision == before.revision)
            #expect(after.entries == before.entries)
            #expect(try await second.write(.put("k5")) == Revision(before.revision.number + 1))
            await second.close()
        }
    }

    @Test("after a restart a watch goes on if nothing happened since, and is missed otherwise")
    func watchAfterRestart() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            let first = try await EmbeddedStore.open(path: path, create: true)
            let before = try await first.write(.put("a"))
            let last = try await first.write(.put("b"))
            await first.close()

            let second = try await EmbeddedStore.open(path: path, create: false)
            var late = await WatchReader(second, after: before)
            guard case .missed? = try await late.next() else {
                Issue.record("a watch was continued over a history that was lost")
                return
            }
            var current = await WatchReader(second, after: last)
            let next = try await second.write(.put("c"))
            #expect(try await current.changes(upTo: next).map { change in change == .delete(key: "c", at: next) } == [false])
            await second.close()
        }
    }

    @Test("a closed store ends its watches and refuses requests")
    func close() async throws {
        let store = EmbeddedStore.inMemory()
        try await store.write(.put("a"))
        let watcher = Task {
            for try await _ in store.watch(prefix: "", after: Revision(1)) {}
        }
        await store.close()
        await expectError(.closed) { try await watcher.value }
        await expectError(.closed) { try await store.write(.put("a")) }
        await expectError(.closed) { _ = try await store.list(prefix: "") }
        await expectError(.closed) { _ = try await store.grantLease(seconds: 1) }
    }

    @Test("concurrent commits share the journal's transactions, and each is acknowledged after its own is durable")
    func groupCommit() async throws {
        try await withDirectory { directory in
            let commits = Mutex(0)
            let store = try await EmbeddedStore.open(path: directory + "/store.db", create: true, hook: { step in
                if step == .committed { commits.withLock { $0 += 1 } }
            })
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<200 { group.addTask { try await store.write(.put("k\(number)")) } }
                try await group.waitForAll()
            }
            let made = commits.withLock { $0 }
            #expect(made >= 1 && made < 100, "\(made) transactions for 200 commits")
            #expect(try await store.list(prefix: "").entries.count == 200)
            await store.close()
        }
    }

    @Test("reads do not wait for the disk and see only what is durable")
    func readsAreDurable() async throws {
        try await withDirectory { directory in
            let gate = Gate()
            let path = directory + "/store.db"
            let store = try await EmbeddedStore.open(path: path, create: true, hook: { step in
                if step == .commit { gate.pass() }
            })
            gate.close()
            let commit = Task { try await store.write(.put("a")) }
            await gate.arrival()
            #expect(try await store.list(prefix: "").entries.isEmpty)
            gate.open()
            let revision = try await commit.value
            #expect(try await store.list(prefix: "").revision == revision)
            await store.close()
        }
    }

    @Test("a journal that fails at any step acknowledges nothing, and the next commit works", arguments: [
        SQLiteJournal.Step.begin, .put, .delete, .lease, .meta, .commit,
    ])
    func failure(_ failing: SQLiteJournal.Step) async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            let isFailing = Mutex(false)
            let store = try await EmbeddedStore.open(path: path, create: true, hook: { step in
                if step == failing, isFailing.withLock({ $0 }) {
                    throw StoreError(.full, "write to the store", cause: "a test says so")
                }
            })
            let lease = try await store.grantLease(seconds: 100)
            let revision = try await store.write(.put("old", lease: lease))
            let before = try await store.list(prefix: "")
            var reader = await WatchReader(store, after: revision)

            isFailing.withLock { $0 = true }
            // Ends a lease, deletes its key and puts another: every step is met.
            await expectError(.full) {
                switch failing {
                case .lease, .delete: try await store.revokeLease(lease)
                default: try await store.write(.put("new"))
                }
            }
            let after = try await store.list(prefix: "")
            #expect(after.revision == before.revision && after.entries == before.entries)
            try await store.renewLease(lease)

            isFailing.withLock { $0 = false }
            let next = try await store.write(.put("new", "2"))
            #expect(next == Revision(revision.number + 1))
            #expect(try await reader.changes(upTo: next).count == 1)
            let last = try await store.list(prefix: "")
            await store.close()
            let again = try await EmbeddedStore.open(path: path, create: false)
            #expect(try await again.list(prefix: "").entries == last.entries)
            await again.close()
        }
    }

    @Test("a full file acknowledges nothing more, and works again when there is room")
    func full() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            let gate = Gate()
            let store = try await EmbeddedStore.open(
                path: path, create: true, maximumBytes: 128 << 10, hook: { step in if step == .begin { gate.pass() } })
            let value = String(repeating: "x", count: 4_000)
            var kept: [String] = []
            while kept.count < 1_000 {
                do {
                    try await store.write(.put("k\(kept.count + 100)", value))
                    kept.append("k\(kept.count + 100)")
                } catch {
                    #expect((error as? StoreError)?.code == .full)
                    break
                }
            }
            let first = kept[0]
            #expect(kept.count > 5 && kept.count < 100)
            #expect(try await store.list(prefix: "").entries.map(\.key) == kept)

            // One that does not fit does not take those with it that wait for the same fsync.
            gate.close()
            let blocking = Task { try await store.write(.put(first, value)) }
            await gate.arrival()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<30 {
                    if number == 15 {
                        group.addTask { await expectError(.full) { try await store.write(.put("large", value + value)) } }
                    }
                    group.addTask { try await store.write(.put(first, value)) }
                }
                for _ in 0..<1_000 { await Task.yield() }
                gate.open()
                try await group.waitForAll()
            }
            _ = try await blocking.value

            try await store.write(.delete(first))
            try await store.write(.delete(kept[1]))
            try await store.write(.put("small", value))
            let before = try await store.list(prefix: "")
            await store.close()
            let again = try await EmbeddedStore.open(path: path, create: false)
            #expect(try await again.list(prefix: "").entries == before.entries)
            await again.close()
        }
    }
}

/// Holds up the journal's thread once, after it was closed and until it is opened.
private final class Gate: Sendable {
    private let isClosed = Mutex(false)
    private let opened = DispatchSemaphore(value: 0)
    private let arrivals = AsyncStream<Void>.makeStream()

    func close() { isClosed.withLock { $0 = true } }
    func open() { opened.signal() }
    func arrival() async { for await _ in arrivals.stream { return } }

    /// Called on the journal's own thread, which may be held.
    func pass() {
        let mustWait = isClosed.withLock { isClosed in
            defer { isClosed = false }
            return isClosed
        }
        guard mustWait else { return }
        arrivals.continuation.yield()
        #expect(opened.wait(timeout: .now() + 20) == .success)
    }
}
