import Store
import Testing

@Suite(.timeLimit(.minutes(2)))
struct LeaseTests {
    @Test("the keys of a lease vanish at one revision when its time is over", arguments: Implementation.withClock)
    func expiry(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let lease = try await store.grantLease(seconds: 10)
            try await store.write(.put("b", lease: lease))
            try await store.write(.put("a", lease: lease))
            let last = try await store.write(.put("kept"))
            var reader = await WatchReader(store, after: last)

            try fixture.clock.advance(seconds: 9.9)
            try await fixture.engine.expireLeases()
            #expect(try await store.list(prefix: "").entries.map(\.key) == ["a", "b", "kept"])
            #expect(try await store.list(prefix: "a").entries.first?.lease == lease)

            try fixture.clock.advance(seconds: 0.1)
            try await fixture.engine.expireLeases()
            let after = try await store.list(prefix: "")
            #expect(after.entries.map(\.key) == ["kept"])
            #expect(after.revision == Revision(last.number + 1))
            let changes = try await reader.changes(upTo: after.revision)
            #expect(changes == [.delete(key: "a", at: after.revision), .delete(key: "b", at: after.revision)])
        }
    }

    @Test("a lease that is renewed in time lives on; renewing an ended one says so", arguments: Implementation.withClock)
    func renewal(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let lease = try await store.grantLease(seconds: 10)
            try await store.write(.put("a", lease: lease))
            for _ in 0..<5 {
                try fixture.clock.advance(seconds: 9)
                try await store.renewLease(lease)
                try await fixture.engine.expireLeases()
            }
            #expect(try await store.list(prefix: "").entries.count == 1)
            try fixture.clock.advance(seconds: 10)
            // Even before anybody noticed that it ended.
            await expectError(.leaseNotFound) { try await store.renewLease(lease) }
            try await fixture.engine.expireLeases()
            await expectError(.leaseNotFound) { try await store.renewLease(lease) }
            #expect(try await store.list(prefix: "").entries.isEmpty)
        }
    }

    @Test("nothing can be put under a lease that has ended or never was", arguments: Implementation.withClock)
    func ended(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let lease = try await store.grantLease(seconds: 1)
            try fixture.clock.advance(seconds: 1)
            await expectError(.leaseNotFound) { try await store.write(.put("a", lease: lease)) }
            await expectError(.leaseNotFound) { try await store.write(.put("a", lease: LeaseID(99))) }
            await expectError(.leaseNotFound) { try await store.revokeLease(lease) }
            #expect(try await store.list(prefix: "").entries.isEmpty)
        }
    }

    @Test("a revoked lease takes its keys with it, but not those put again without it", arguments: Implementation.allCases)
    func revocation(_ implementation: Implementation) async throws {
        try await withStore(implementation) { fixture in
            let store = fixture.store
            let first = try await store.grantLease(seconds: 10)
            let second = try await store.grantLease(seconds: 10)
            #expect(first != second)
            try await store.write(.put("a", lease: first))
            try await store.write(.put("b", lease: first))
            try await store.write(.put("c", lease: second))
            try await store.write(.put("b"))
            try await store.write(.put("d", lease: second))
            try await store.write(.put("d", lease: first))
            try await store.revokeLease(first)
            #expect(try await store.list(prefix: "").entries.map(\.key) == ["b", "c"])
            await expectError(.leaseNotFound) { try await store.renewLease(first) }
            try await store.renewLease(second)
        }
    }

    @Test("the store ends a lease by itself")
    func byItself() async throws {
        let store = EmbeddedStore.inMemory()
        let lease = try await store.grantLease(seconds: 1)
        let revision = try await store.write(.put("a", lease: lease))
        var reader = await WatchReader(store, after: revision)
        #expect(try await reader.changes(upTo: Revision(revision.number + 1)).map(isDeletion) == [true])
    }

    @Test("leases survive a restart of the store with a whole new term")
    func restart() async throws {
        try await withDirectory { directory in
            let clock = ManualClock()
            let path = directory + "/store.db"
            let first = try await EmbeddedStore.open(path: path, create: true, now: clock.time)
            let lease = try await first.grantLease(seconds: 10)
            let revoked = try await first.grantLease(seconds: 10)
            try await first.write(.put("a", lease: lease))
            try await first.revokeLease(revoked)
            await first.close()

            clock.advance(seconds: 1_000)
            let second = try await EmbeddedStore.open(path: path, create: false, now: clock.time)
            clock.advance(seconds: 9.9)
            try await second.expireLeases()
            #expect(try await second.list(prefix: "").entries.map(\.lease) == [lease])
            await expectError(.leaseNotFound) { try await second.renewLease(revoked) }
            let next = try await second.grantLease(seconds: 10)
            #expect(next != lease && next != revoked)
            clock.advance(seconds: 0.1)
            try await second.expireLeases()
            #expect(try await second.list(prefix: "").entries.isEmpty)
            await second.close()
        }
    }
}

private func isDeletion(_ change: StoreChange) -> Bool {
    if case .delete = change { return true }
    return false
}
