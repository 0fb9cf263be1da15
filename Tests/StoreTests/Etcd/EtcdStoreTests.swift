import HTTP
@testable import Store
import TestKit
import Testing

/// What is etcd's own, beside what every store does (`ConformanceTests`).
@Suite(.serialized, .timeLimit(.minutes(2)), .enabled(if: EtcdProcess.isAvailable, needsEtcd))
struct EtcdStoreTests {
    @Test("of two agents that found the cluster at once one wins, and the other has the winner's")
    func founding() async throws {
        let process = try await EtcdProcess.single()
        let stores = try (0..<2).map { _ in try process.store() }
        await expectError(.missing) { _ = try await stores[0].identity() }
        await expectError(.missing) { try await stores[0].write(.put("a")) }
        #expect(try await process.ask("/v3/kv/range", #"{"key":"AA==","range_end":"AA=="}"#).entries.isEmpty, "nothing was written")
        async let first = stores[0].found(.new())
        async let second = stores[1].found(.new())
        let (one, two) = try await (first, second)
        #expect(one == two)
        #expect(try await stores[1].identity() == one)
        try await stores[0].write(.put("a"))
        try await stores[1].write(.put("b"))
    }

    @Test("of two that begin the next epoch at once one does, and what was made for the former epoch is not taken any more")
    func succession() async throws {
        try await withEtcd { process, store in
            let other = try process.store()
            let former = try await store.identity()
            #expect(try await other.identity() == former)
            try await store.write(.put("cluster", "old"))
            try await store.write(.put("kept"))
            let next = [7, 8].map { StoreIdentity(cluster: former.cluster, epoch: $0) }
            async let first = store.succeed(former, by: next[0], without: "cluster")
            async let second = other.succeed(former, by: next[1], without: "cluster")
            let done = try await [first, second]
            #expect(done.count { $0 } == 1)
            let (winner, loser) = done[0] ? (store, other) : (other, store)
            #expect(try await winner.list(prefix: "").entries.map(\.key) == ["kept"])
            await expectError(.foreign) { try await loser.write(.put("late")) }
            try await winner.write(.put("cluster", "new"))
            #expect(try await loser.identity() == next[done[0] ? 0 : 1])
            try await loser.write(.put("after"))
        }
    }

    @Test("the identity is in no list and no watch, and nobody overwrites it")
    func hiddenIdentity() async throws {
        try await withEtcd { process, store in
            #expect(try await store.list(prefix: "").entries.isEmpty)
            var reader = await WatchReader(store, after: .zero)
            let revision = try await store.write(.put("stored"))
            #expect(try await reader.changes(upTo: revision).count == 1)
            #expect(try await store.list(prefix: "sto").entries.map(\.key) == ["stored"])
            await expectError(.invalid) { try await store.write(.put("store")) }
            await expectError(.invalid) { try await store.write(.put("a", if: .exists(key: "store"))) }
            // As somebody's `etcdctl get` would find them.
            let found = try await process.ask(
                "/v3/kv/range", String(decoding: EtcdRequest.range(EtcdKeyRange(below: "/tulle/")).finished, as: UTF8.self))
            #expect(found.entries.map { String(decoding: $0.key, as: UTF8.self) } == ["/tulle/store", "/tulle/stored"])
            #expect(found.entries.last?.value == Array("{}".utf8))
        }
    }

    @Test("two prefixes of one etcd are two stores")
    func prefixes() async throws {
        try await withEtcd { process, store in
            let other = try process.store("/other/place")
            await expectError(.missing) { _ = try await other.identity() }
            let identity = try await other.found(.new())
            #expect(try await store.identity() != identity)
            try await store.write(.put("a", "1"))
            try await other.write(.put("a", "2", if: .quiet(prefix: "", since: .zero)))
            #expect(try await store.list(prefix: "").entries.map(\.value) == [Array("1".utf8)])
        }
    }

    @Test("nothing is written into a store that lost its identity, or has another's")
    func lostIdentity() async throws {
        try await withEtcd { process, store in
            try await store.write(.put("a"))
            _ = try await process.deleteRange(below: "/tulle/store")
            await expectError(.missing) { try await store.write(.put("b")) }
            await expectError(.missing) { _ = try await store.identity() }
            try await process.put(Array("/tulle/store".utf8), EtcdIdentity(.new()).text)
            await expectError(.foreign) { try await store.write(.put("b")) }
            #expect(try await store.list(prefix: "").entries.map(\.key) == ["a"])
        }
    }

    @Test("a watch ends with an error when the store's identity is deleted")
    func identityDeleted() async throws {
        try await withEtcd { process, store in
            var reader = await WatchReader(store, after: try await store.list(prefix: "").revision)
            try await store.write(.put("a"))
            _ = try await reader.next()
            _ = try await process.deleteRange(below: "/tulle/")
            await expectError(.missing) { while try await reader.next() != nil {} }
        }
    }

    @Test("junk that somebody put below the prefix harms nothing else")
    func junk() async throws {
        try await withEtcd { process, store in
            let start = try await store.write(.put("b", "{}"))
            var reader = await WatchReader(store, after: start)
            try await process.put(Array("/tulle/a".utf8), [0xFF, 0x00, 0xC3])
            try await process.put(Array("/tulle/z".utf8) + [0x0A, 0xFF], Array("{}".utf8))
            try await process.put(Array("/tulle/".utf8), [])
            let end = Revision(try await process.put(Array("/tulle/\(String(repeating: "l", count: 2_000))".utf8), [0x31]))
            let entries = try await store.list(prefix: "").entries
            #expect(entries.map(\.key) == ["", "a", "b", String(repeating: "l", count: 2_000), "z%0A%FF"])
            #expect(entries[1].value == [0xFF, 0x00, 0xC3])
            #expect(try await reader.changes(upTo: end).map(\.key).sorted() == entries.map(\.key).filter { $0 != "b" })
        }
    }

    @Test("a transaction that is too large for etcd's settings says which to change")
    func tooLarge() async throws {
        try await withEtcd { _, store in
            let many = await expectError(.invalid) {
                try await store.write(StoreTransaction(operations: (0..<129).map { .put(key: "k\($0)", value: [0x31], lease: nil) }))
            }
            #expect(many?.remedy.contains("--max-txn-ops") == true && many?.cause.contains("129 operations") == true)
            for megabytes in [2, 4] {
                let value = [UInt8](repeating: 0x61, count: 500 * 1024)
                let large = await expectError(.invalid) {
                    try await store.write(
                        StoreTransaction(operations: (0..<2 * megabytes).map { .put(key: "k\($0)", value: value, lease: nil) }))
                }
                #expect(large?.remedy.contains("--max-request-bytes") == true)
            }
            #expect(try await store.list(prefix: "").entries.isEmpty)
            try await store.write(StoreTransaction(
                conditions: (0..<127).map { .absent(key: "k\($0)") }, operations: (0..<128).map { .put(key: "k\($0)", value: [], lease: nil) }))
        }
    }

    @Test("large values come back whole: in a list of several pages, and in a watch that etcd fragments")
    func large() async throws {
        // With its usual settings etcd cuts at 2 MiB: in the midst of a revision.
        try await withEtcd { _, store in
            let start = try await store.list(prefix: "").revision
            let value = [UInt8](repeating: 0x61, count: 400_000)
            var end = start
            for round in 0..<4 {
                end = try await store.write(
                    StoreTransaction(operations: (0..<3).map { .put(key: "k\(round)/\($0)", value: value, lease: nil) }))
            }
            let entries = try await store.list(prefix: "").entries
            #expect(entries.count == 12 && entries.allSatisfy { $0.value == value })
            var position = start
            for try await event in store.watch(prefix: "", after: start) {
                guard case .changes(let changes, let revision) = event else { break }
                #expect(changes.count == 3 * Int(revision.number - position.number), "whole revisions only")
                position = revision
                if position == end { break }
            }
            #expect(position == end)
        }
    }

    @Test("twenty changes in one transaction and the deletion of 3,000 keys at once all reach a watch")
    func bursts() async throws {
        try await withEtcd { process, store in
            for start in stride(from: 0, to: 3_000, by: 100) {
                try await store.write(
                    StoreTransaction(operations: (start..<start + 100).map { .put(key: "k/\($0)", value: [0x31], lease: nil) }))
            }
            let start = try await store.list(prefix: "").revision
            var reader = await WatchReader(store, after: start)
            try await store.write(StoreTransaction(operations: (0..<20).map { .put(key: "n\($0)", value: [0x31], lease: nil) }))
            let end = Revision(try await process.deleteRange(below: "/tulle/k/").header.revision)
            let changes = try await reader.changes(upTo: end)
            #expect(changes.count == 3_020)
            #expect(Set(changes.map(\.key)).count == 3_020)
            #expect(changes.filter { $0.revision == end }.count == 3_000)
        }
    }

    @Test("compaction: a watch at the present goes on, one from before is missed")
    func compaction() async throws {
        try await withEtcd { process, store in
            let first = try await store.write(.put("a", "0"))
            var last = first
            var live = await WatchReader(store, after: first)
            for number in 1...20 { last = try await store.write(.put("a", "\(number)")) }
            #expect(try await live.changes(upTo: last).count == 20)
            try await process.ask("/v3/kv/compaction", #"{"revision":"\#(last.number)","physical":true}"#)
            var late = await WatchReader(store, after: first)
            guard case .missed? = try await late.next() else {
                Issue.record("a watch was continued from what was compacted")
                return
            }
            #expect(try await late.next() == nil)
            last = try await store.write(.put("a", "21"))
            #expect(try await live.changes(upTo: last).count == 1)
        }
    }

    @Test("a watch comes as far as a commit that changed nothing, though others write into that etcd")
    func progress() async throws {
        try await withEtcd { process, store in
            let start = try await store.write(.put("a"))
            var iterator = store.watch(prefix: "", after: start).makeAsyncIterator()
            let next = try await store.write(.put("b"))
            guard case .changes(_, next)? = try await iterator.next() else {
                Issue.record("the watch did not start")
                return
            }
            for number in 0..<5 { try await process.put(Array("/somebody/\(number)".utf8), [0x31]) }
            let reached = try await store.write(.delete("nothing"))
            #expect(reached.number == next.number + 5)
            guard case .changes(let changes, reached)? = try await iterator.next() else {
                Issue.record("the watch did not come to revision \(reached.number)")
                return
            }
            #expect(changes.isEmpty)
            let last = try await store.write(.put("c"))
            guard case .changes(let more, last)? = try await iterator.next() else {
                Issue.record("the watch did not go on")
                return
            }
            #expect(more.map(\.key) == ["c"])
        }
    }

    @Test("a silent watch looks for progress by itself, and does not claim any over changes that it has not seen")
    func silence() async throws {
        var patience = EtcdPatience()
        patience.silence = .milliseconds(100)
        try await withEtcd(patience: patience) { process, store in
            var iterator = store.watch(prefix: "", after: try await store.list(prefix: "").revision).makeAsyncIterator()
            let reached = Revision(try await process.put(Array("/somebody".utf8), [0x31]))
            guard case .changes(let changes, reached)? = try await iterator.next() else {
                Issue.record("no progress was told")
                return
            }
            #expect(changes.isEmpty)
            let keys = EtcdKeyRange(below: "/tulle/")
            let endpoint = try EtcdEndpoint(process.address, isSecure: false, .plain)
            func difference(since: Revision) async throws -> UInt64? {
                try await store.client.difference(in: keys, since: since.number, at: endpoint, "test", .seconds(5))
            }
            let put = try await store.write(.put("a"))
            #expect(try await difference(since: reached) == nil, "put")
            #expect(try await difference(since: put) == put.number)
            let deleted = try await store.write(.delete("a"))
            #expect(try await difference(since: put) == nil, "deleted")
            try await store.write(.put("a"))
            #expect(try await difference(since: put) == nil, "put again")
            #expect(try await difference(since: deleted) == nil)
            #expect(try await difference(since: .zero) == nil)
        }
    }

    @Test("etcd without room is told with the remedy, and serves again after it")
    func noSpace() async throws {
        try await withEtcd(flags: ["--quota-backend-bytes=2097152"]) { process, store in
            let value = [UInt8](repeating: 0x61, count: 300_000)
            let text = String(decoding: value, as: UTF8.self)
            for number in 0..<40 {
                guard (try? await store.write(.put("k\(number % 2)", text))) != nil else { break }
            }
            let error = await expectError(.full) { try await store.write(.put("k", text)) }
            #expect(error?.remedy.contains("alarm disarm") == true)
            let snapshot = try await store.list(prefix: "")
            #expect(!snapshot.entries.isEmpty, "reading goes on")
            try await process.ask("/v3/kv/compaction", #"{"revision":"\#(snapshot.revision.number)","physical":true}"#)
            try await process.ask("/v3/maintenance/defragment", "{}")
            // What `etcdctl alarm disarm` does.
            let member = try await process.ask("/v3/cluster/member/list", "{}").members.map(\.id)
            try await process.ask("/v3/maintenance/alarm", #"{"action":"DEACTIVATE","memberID":"\#(member[0])","alarm":"NOSPACE"}"#)
            try await store.write(.put("k", "{}"))
        }
    }

    @Test("what answers and is no etcd is told as that", arguments: ["", "{", "<html>", #"{"header":7}"#, #"{"kvs":[{"key":"!"}]}"#])
    func noEtcd(_ body: String) async throws {
        let server = try await HTTPServer.start(on: .tcp(host: "127.0.0.1", port: 0)) { _ in .json(Array(body.utf8)) }
        let store = try EtcdStore(EtcdLocation(parsing: "etcd://\(server.address)"))
        let error = await expectError(.badAnswer) { _ = try await store.list(prefix: "") }
        #expect(error?.cause.contains("/v3/kv/range") == true)
        await expectError(.badAnswer) { _ = try await store.identity() }
        await expectError(.badAnswer) { for try await _ in store.watch(prefix: "", after: .zero) {} }
        await server.stop()
    }

    @Test("where nothing listens every call fails in time")
    func nobody() async throws {
        let store = try EtcdStore(EtcdLocation(parsing: "etcd://127.0.0.1:1,[::1]:1"))
        for _ in 0..<3 {
            await expectError(.unreachable) { _ = try await store.list(prefix: "") }
            await expectError(.unreachable) { for try await _ in store.watch(prefix: "", after: .zero) {} }
        }
    }
}
