@testable import Store
import TestKit
import Testing

/// Leases whose clock is etcd's.
@Suite(.serialized, .timeLimit(.minutes(2)), .enabled(if: EtcdProcess.isAvailable, needsEtcd))
struct EtcdLeaseTests {
    @Test("the keys of a lease vanish at one revision when nobody renews it, and those put again without it stay")
    func expiry() async throws {
        try await withEtcd { _, store in
            let lease = try await store.grantLease(seconds: 3)
            let kept = try await store.grantLease(seconds: 60)
            try await store.write(.put("b", lease: lease))
            try await store.write(.put("a", lease: lease))
            try await store.write(.put("kept", lease: lease))
            try await store.write(.put("other", lease: lease))
            try await store.write(.put("kept"))
            let last = try await store.write(.put("other", lease: kept))
            #expect(try await store.list(prefix: "a").entries.first?.lease == lease)
            var reader = await WatchReader(store, after: last)
            let gone = Revision(last.number + 1)
            #expect(try await reader.changes(upTo: gone) == [.delete(key: "a", at: gone), .delete(key: "b", at: gone)])
            #expect(try await store.list(prefix: "").entries.map(\.key) == ["kept", "other"])
            await expectError(.leaseNotFound) { try await store.renewLease(lease) }
            await expectError(.leaseNotFound) { try await store.revokeLease(lease) }
            await expectError(.leaseNotFound) { try await store.write(.put("a", lease: lease)) }
            try await store.renewLease(kept)
        }
    }

    @Test("a lease that is renewed lives on")
    func renewal() async throws {
        try await withEtcd { _, store in
            let short = try await store.grantLease(seconds: 2)
            let renewed = try await store.grantLease(seconds: 2)
            try await store.write(.put("short", lease: short))
            let last = try await store.write(.put("renewed", lease: renewed))
            let keeper = Task {
                while !Task.isCancelled { try await store.renewLease(renewed) }
            }
            var reader = await WatchReader(store, after: last)
            #expect(try await reader.next().map { "\($0)".contains("short") } == true)
            #expect(try await store.list(prefix: "").entries.map(\.key) == ["renewed"])
            keeper.cancel()
            _ = await keeper.result
            #expect(try await reader.next().map { "\($0)".contains("renewed") } == true)
        }
    }

    @Test("what never was a lease is none")
    func none() async throws {
        try await withEtcd { _, store in
            for lease in [LeaseID(99), LeaseID(.max)] {
                await expectError(.leaseNotFound) { try await store.renewLease(lease) }
                await expectError(.leaseNotFound) { try await store.revokeLease(lease) }
                await expectError(.leaseNotFound) { try await store.write(.put("a", lease: lease)) }
            }
            let entries = try await store.list(prefix: "").entries
            #expect(entries.isEmpty)
        }
    }
}
