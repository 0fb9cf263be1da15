import Glibc
import HTTP
@testable import Store
import TestKit
import Testing

/// Several members, and what may happen to them.
@Suite(.serialized, .timeLimit(.minutes(3)), .enabled(if: EtcdProcess.isAvailable, needsEtcd))
struct EtcdClusterTests {
    private var patience: EtcdPatience {
        var patience = EtcdPatience()
        (patience.attempt, patience.call, patience.silence) = (.seconds(1), .seconds(4), .milliseconds(500))
        return patience
    }

    @Test("three members by static list, or by etcd's discovery, are one store, and one address is enough", arguments: EtcdProcess.Bootstrap.allCases)
    func three(_ bootstrap: EtcdProcess.Bootstrap) async throws {
        try await withCluster(bootstrap, patience: patience) { members, store in
            let single = try members[0].store(patience: patience)
            let start = try await single.write(.put("a"))
            try await eventually("the other members are learnt") { single.client.addresses.count == 3 }
            var reader = await WatchReader(store, after: start)
            let end = try await single.write(.put("b"))
            #expect(try await reader.changes(upTo: end).count == 1)
            members[0].stop()
            try await eventually("the store goes on without its first member") { (try? await single.write(.put("c"))) != nil }
            #expect(try await store.list(prefix: "").entries.map(\.key) == ["a", "b", "c"])
        }
    }

    /// Every member in turn fails as `harm` has it, and the store goes on.
    private func rolling(_ harm: (EtcdProcess) -> Void, _ heal: (EtcdProcess) async throws -> Void) async throws {
        try await withCluster(patience: patience) { members, store in
            var position = try await store.write(.put("n", "0"))
            for (round, member) in members.enumerated() {
                var watch = await WatchReader(store, after: position)
                let before = try await store.write(.put("n", "\(round) before"))
                #expect(try await watch.changes(upTo: before).count == 1)
                harm(member)
                let start = ContinuousClock.now
                _ = try await obtain("a list", within: .seconds(20)) { try await store.list(prefix: "") }
                let number = try await obtain("a commit", within: .seconds(20)) { try await store.write(.put("n", "\(round) after")) }
                #expect(ContinuousClock.now - start < .seconds(15))
                // Wherever the watch was: it goes on, or says that it ended, and a new one has what is missing.
                var seen = before
                do {
                    while seen < number, case .changes(_, let revision)? = try await watch.next() { seen = revision }
                } catch {
                    #expect([.unreachable, .timedOut].contains((error as? StoreError)?.code), "\(error)")
                }
                if seen < number {
                    var again = await WatchReader(store, after: seen)
                    let changes = try await again.changes(upTo: number)
                    #expect(!changes.isEmpty)
                }
                position = number
                try await heal(member)
                _ = try await obtain("a commit with all members", within: .seconds(20)) { try await store.write(.put("healed")) }
                position = try await store.list(prefix: "").revision
            }
        }
    }

    @Test("each member is killed in turn, and the store goes on")
    func kill() async throws {
        try await rolling({ $0.stop() }, { try await $0.restart() })
    }

    @Test("each member is stopped in turn without dying: calls go elsewhere, a watch there ends in bounded time")
    func freeze() async throws {
        try await rolling({ $0.signal(SIGSTOP) }, { $0.signal(SIGCONT) })
    }

    @Test("a member without a majority takes nothing, and ends its watches")
    func minority() async throws {
        try await withCluster(patience: patience) { members, _ in
            let store = try members[0].store(patience: patience)
            let start = try await store.write(.put("a"))
            var watch = await WatchReader(store, after: start)
            members[1].stop()
            members[2].stop()
            do {
                _ = try await store.write(.put("b"))
                Issue.record("a minority took a commit")
            } catch let error as StoreError {
                #expect([.unreachable, .timedOut].contains(error.code), "\(error)")
            }
            do {
                _ = try await store.list(prefix: "")
                Issue.record("a minority answered a read that must be the cluster's")
            } catch let error as StoreError {
                #expect([.unreachable, .timedOut].contains(error.code), "\(error)")
            }
            do {
                while try await watch.next() != nil {}
                Issue.record("the watch ended without an error")
            } catch let error as StoreError {
                #expect([.unreachable, .timedOut].contains(error.code), "\(error)")
            }
            try await members[1].restart()
            _ = try await obtain("a commit with a majority", within: .seconds(20)) { try await store.write(.put("c")) }
        }
    }

    @Test("a commit to a member that hangs is not sent to another: its outcome is unknown")
    func unknown() async throws {
        try await withCluster(patience: patience) { members, _ in
            let hosts = members.map(\.address.description).joined(separator: ",")
            let store = try EtcdStore(EtcdLocation(parsing: "etcd://\(hosts)"), patience: patience)
            try await store.write(.put("a"))
            try await members[0].freeze()
            await expectError(.timedOut) { try await store.write(.put("b")) }
            members[0].signal(SIGCONT)
            _ = try await obtain("a commit", within: .seconds(20)) { try await store.write(.put("c", if: .absent(key: "c"))) }
        }
    }

    @Test("another cluster at one of the addresses is not mixed with ours")
    func foreign() async throws {
        try await withEtcd(patience: patience) { ours, first in
            let theirs = try await EtcdProcess.single()
            let store = try EtcdStore(EtcdLocation(parsing: "etcd://\(ours.address),\(theirs.address)"), patience: patience)
            // Even if it looks the same from outside.
            _ = try await theirs.store().found(try await first.identity())
            let revision = try await store.write(.put("a"))
            ours.stop()
            // The first may meet the connection as it breaks: then its outcome is unknown.
            try await eventually("a commit is offered to the other") {
                do {
                    try await store.write(.put("b"))
                    return false
                } catch { return (error as? StoreError)?.code == .foreign }
            }
            let entries = try await theirs.store().list(prefix: "").entries
            #expect(entries.isEmpty, "it was asked who it is before it was told to write")
            let error = await expectError(.foreign) { _ = try await store.list(prefix: "") }
            #expect(error?.cause.contains("\(theirs.address)") == true)
            await expectError(.foreign) { for try await _ in store.watch(prefix: "", after: revision) {} }
            try await ours.restart()
            _ = try await obtain("our own again", within: .seconds(20)) { try await store.write(.put("b")) }
        }
    }
}
