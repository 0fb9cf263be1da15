import Glibc
import HTTP
@testable import Store
import Synchronization
import TestKit
import Testing

/// An etcd that stands still, or answers nonsense.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct EtcdTroubleTests {
    /// Processor time of this process, in seconds.
    private func used() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }

    @Test("a watch at a member that stands still ends, and costs next to nothing until then", .enabled(if: EtcdProcess.isAvailable, needsEtcd))
    func still() async throws {
        var patience = EtcdPatience()
        (patience.attempt, patience.call, patience.silence) = (.seconds(1), .seconds(4), .milliseconds(100))
        try await withEtcd(patience: patience) { process, store in
            let start = try await store.write(.put("a"))
            let watch = EtcdWatch(store.client, store.names, prefix: "", after: start.number)
            let handle = EtcdWatchHandle(watch) {}
            let end = try await store.write(.put("b"))
            let first = try await watch.next()
            guard case .changes(_, let revision)? = first else { throw LabFailure("no event: \(String(describing: first))") }
            #expect(revision == end)
            process.signal(SIGSTOP)
            let (before, asked) = (used(), ContinuousClock.now)
            // A commit elsewhere, of ours, that changed nothing: it is looked for beside the watch's own looks, and hangs.
            let look = Task { await watch.look(for: end.number + 100) }
            do {
                while try await watch.next() != nil {}
                Issue.record("it ended without an error")
            } catch let error as StoreError {
                #expect([.timedOut, .unreachable].contains(error.code), "\(error)")
            }
            let (cost, time) = (used() - before, ContinuousClock.now - asked)
            #expect(time > .milliseconds(900), "it was told before anybody could know")
            #expect(cost < 0.4, "\(cost) s of a processor in \(time)")
            process.signal(SIGCONT)
            await look.value
            withExtendedLifetime(handle) {}
        }
    }

    @Test("when this host's address changed, calls and watches end at once instead of at their time, and new ones work", .enabled(if: EtcdProcess.isAvailable, needsEtcd))
    func disconnected() async throws {
        try await withEtcd { process, store in
            let start = try await store.write(.put("a"))
            var watch = await WatchReader(store, after: start)
            let end = try await store.write(.put("b"))
            #expect(try await watch.changes(upTo: end).count == 1)
            // As if what is sent went nowhere.
            try await process.freeze()
            let asked = ContinuousClock.now
            // More than once, for the call may not have begun at the first time.
            let changes = Task { while (try? await Task.sleep(for: .milliseconds(50))) != nil { store.disconnect() } }
            await #expect(throws: StoreError.self) { _ = try await store.list(prefix: "") }
            await #expect(throws: StoreError.self) { while try await watch.next() != nil {} }
            changes.cancel()
            #expect(.now - asked < .seconds(4), "a call has 6 s")
            process.signal(SIGCONT)
            #expect(try await obtain("a list") { try await store.list(prefix: "") }.entries.count == 2)
        }
    }

    /// What a server that is no etcd, or a broken one, may say to everything.
    static let sayings: [(status: Int, body: String)] = [
        (200, ""), (200, "{}"), (200, "null"), (200, "[]"), (200, "<html>hello</html>"), (200, #"{"header":3}"#), (200, #"{"kvs":[{"key":"!"}]}"#),
        (200, #"{"header":{"cluster_id":"1","revision":"9223372036854775807"}}"#), (200, #"{"header":{"revision":"-1"},"kvs":[{}]}"#),
        (200, #"{"result":{"header":{"revision":"7"},"canceled":true}}"#), (200, #"{"error":{"grpc_code":14,"message":"no leader"}}"#),
        (200, String(repeating: "[", count: 100_000)), (200, "{\"a\":" + String(repeating: "{\"b\":", count: 50_000)),
        (500, #"{"error":"etcdserver: request timed out","code":14}"#), (503, "busy"), (404, "not found"), (401, ""), (302, ""), (500, "\u{0}\u{1}"),
    ]

    @Test("whatever a server says that is no etcd is an error of each call, with a remedy, after one question or two", arguments: sayings.indices)
    func nonsense(_ index: Int) async throws {
        let said = Self.sayings[index]
        let asked = Mutex(0)
        let server = try await HTTPServer.start(on: .tcp(host: "127.0.0.1", port: 0)) { _ in
            asked.withLock { $0 += 1 }
            return HTTPResponse(status: said.status, body: Array(said.body.utf8))
        }
        var patience = EtcdPatience()
        (patience.attempt, patience.call) = (.milliseconds(500), .seconds(1))
        let store = try EtcdStore(EtcdLocation(parsing: "etcd://\(server.address)"), patience: patience)
        func refused(_ what: String, _ body: () async throws -> Void) async {
            do {
                try await body()
                // An etcd that is empty looks like some of them, and a lease's end needs no answer.
                if !["list", "revoke", "renew"].contains(what) { Issue.record("\(what) was answered by \(said)") }
            } catch {
                let error = error as? StoreError
                #expect(error?.cause.isEmpty == false && error?.remedy.isEmpty == false, "\(what): \(String(describing: error))")
            }
        }
        await refused("identity") { _ = try await store.identity() }
        await refused("list") { _ = try await store.list(prefix: "") }
        await refused("commit") { try await store.write(.put("a")) }
        await refused("found") { _ = try await store.found(.new()) }
        await refused("watch") { for try await event in store.watch(prefix: "", after: Revision(1)) { if case .missed = event { throw StoreError(.missing, "watch", cause: "missed") } } }
        await refused("grant") { _ = try await store.grantLease(seconds: 5) }
        await refused("renew") { try await store.renewLease(LeaseID(5)) }
        await refused("revoke") { try await store.revokeLease(LeaseID(5)) }
        #expect(asked.withLock { $0 } <= 24)
        await server.stop()
    }

    @Test("damaged answers of etcd's are read or refused, and none traps", arguments: 1...8 as ClosedRange<UInt64>)
    func fuzz(seed: UInt64) {
        var random = SeededRandom(seed)
        let seeds = [
            #"{"header":{"cluster_id":"14841639068965178418","member_id":"1","revision":"12","raft_term":"2"},"kvs":[{"key":"L3R1bGxlL2E=","create_revision":"2","mod_revision":"3","version":"1","value":"e30=","lease":"7587899063344510730"}],"more":true,"count":"5"}"#,
            #"{"header":{"revision":"9"},"succeeded":true,"responses":[{"response_put":{"header":{"revision":"9"}}},{"response_delete_range":{"deleted":"1"}},{"response_range":{"kvs":null,"count":"0"}}]}"#,
            #"{"result":{"header":{"revision":"9"},"watch_id":"-1","created":true,"events":[{"kv":{"key":"aw==","mod_revision":"9"}},{"type":"DELETE","kv":{"key":"aw=="}}],"compact_revision":"8","cancel_reason":"x\u00e4\\\"","fragment":true}}"#,
            #"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","details":[]},"code":3,"message":"m"}"#,
            #"{"result":{"ID":"-5","TTL":"9"},"ID":"7","token":"t.1","members":[{"ID":"1","isLearner":true,"clientURLs":["http://h:2379"]}]}"#,
        ].map { Array($0.utf8) }
        let pieces = ["\"", "\\", "\\u", "\\ud800", "{", "}", "[", "]", ",", ":", "null", "-", "1e9", "99999999999999999999", "\u{0}", "true", "=="].map { Array($0.utf8) }
        for _ in 0..<2_000 {
            var text = seeds.randomElement(using: &random) ?? []
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let place = Int.random(in: 0...text.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0 where place < text.count: text[place] = UInt8.random(in: 0 ... .max, using: &random)
                case 1: text.removeSubrange(place..<min(text.count, place + Int.random(in: 0...20, using: &random)))
                case 2: text.insert(contentsOf: pieces.randomElement(using: &random) ?? [], at: place)
                default: text.insert(contentsOf: seeds.randomElement(using: &random)?.suffix(place % 40) ?? [], at: place)
                }
            }
            let names = EtcdNames(prefix: "/tulle/")
            if let answer = try? EtcdAnswer(text) {
                _ = answer.entries.compactMap(names.entry)
                _ = answer.failure?.error("test", user: nil)
                for member in answer.members {
                    for url in member.clientURLs { _ = EtcdMembers.address(inURL: url, isSecure: false, isLoopbackUseful: true) }
                }
            }
            if let line = try? EtcdWatchAnswer(text) {
                for event in line.events { _ = names.entry(event.entry) }
                _ = line.failure?.error("test", user: "u")
            }
            _ = EtcdFailure(status: 500, body: text).error("test", user: nil)
            _ = try? EtcdIdentity(reading: text, key: "k")
        }
    }
}
