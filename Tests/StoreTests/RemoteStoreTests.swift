import HTTP
@testable import Store
import Testing

@Suite(.timeLimit(.minutes(1)))
struct RemoteStoreTests {
    @Test("a remote store has the identity of the store that it is")
    func identity() async throws {
        let engine = EmbeddedStore.inMemory()
        try await withServer(engine) { client in
            let identity = try await RemoteStore(client).identity()
            #expect(await engine.identity() == identity)
        }
    }

    @Test("a server that is not there is unreachable, for requests and watches")
    func unreachable() async throws {
        let store = RemoteStore(PeerClient(.unix(path: "/nonexistent/tulle.sock"), token: .new()))
        await expectError(.unreachable) { _ = try await store.list(prefix: "") }
        await expectError(.unreachable) { for try await _ in store.watch(prefix: "", after: .zero) {} }
    }

    @Test("a wrong token is told apart from a server that is none of ours")
    func strangers() async throws {
        try await withServer(EmbeddedStore.inMemory()) { client in
            let stranger = RemoteStore(PeerClient(client.address, token: .new()))
            let error = await expectError(.wrongToken) { _ = try await stranger.identity() }
            #expect(error?.operation.contains("127.0.0.1") == true)
        }
        let other = try await HTTPServer.start(on: .tcp(host: "127.0.0.1", port: 0)) { _ in .text("hello") }
        await expectError(.notAuthentic) {
            _ = try await RemoteStore(PeerClient(other.address, token: .new())).identity()
        }
        await other.stop()
    }

    @Test("a server that does not answer in time is a timeout")
    func timeout() async throws {
        let silent = try await HTTPServer.start(on: .tcp(host: "127.0.0.1", port: 0)) { _ in
            try? await Task.sleep(for: .seconds(60))
            return .text("late")
        }
        let store = RemoteStore(PeerClient(silent.address, token: .new()), timeout: .milliseconds(50))
        await expectError(.timedOut) { _ = try await store.identity() }
        await silent.stop()
    }

    @Test("a watch ends with an error when its server goes away")
    func serverGone() async throws {
        let token = ClusterToken.new()
        let engine = EmbeddedStore.inMemory()
        var router = HTTPRouter()
        StoreService(engine).addRoutes(to: &router)
        let server = try await HTTPServer.start(
            on: .tcp(host: "127.0.0.1", port: 0),
            handler: PeerAuthenticator(token: token).protecting { [router] in await router.answer($0) })
        let store = RemoteStore(PeerClient(server.address, token: token))
        try await store.write(.put("a"))
        var reader = await WatchReader(store, after: .zero)
        #expect(try await reader.changes(upTo: Revision(1)).count == 1)
        await server.stop()
        await expectError(.unreachable) { _ = try await reader.next() }
    }

    @Test("a long poll without news answers with the revision it was given, and one with news at once")
    func longPoll() async throws {
        let engine = EmbeddedStore.inMemory()
        var router = HTTPRouter()
        StoreService(engine).addRoutes(to: &router)
        let revision = try await engine.write(.put("a"))
        let watch = { (prefix: String, after: UInt64, wait: String) in
            HTTPRequest(
                "POST", "/v1/store/watch", query: ["wait": wait], body: Array(#"{"prefix":"\#(prefix)","after":\#(after)}"#.utf8))
        }
        let silent = await router.answer(watch("b", revision.number, "0"))
        #expect(String(decoding: silent.body, as: UTF8.self) == #"{"changes":[],"revision":1}"#)
        let news = await router.answer(watch("a", 0, "20"))
        #expect(
            String(decoding: news.body, as: UTF8.self)
                == #"{"changes":[{"created":1,"key":"a","modified":1,"value":"{}"}],"revision":1}"#)
        let future = await router.answer(watch("", 9, "20"))
        #expect(String(decoding: future.body, as: UTF8.self) == #"{"missed":true}"#)
    }

    @Test("bodies that are not what belongs there are refused and change nothing", arguments: [
        ("list", ""), ("list", "{}"), ("list", #"{"prefix":7}"#), ("list", "[]"),
        ("commit", #"{"conditions":[],"operations":[{}]}"#),
        ("commit", #"{"conditions":[{"sometimes":"a"}],"operations":[]}"#), ("commit", #"{"operations":[]}"#),
        ("commit", #"{"conditions":[],"operations":[{"put":"a"}]}"#), ("watch", #"{"prefix":"","after":-1}"#),
        ("watch", #"{"prefix":"","after":99999999999999999999999}"#), ("lease/grant", #"{"seconds":1e99}"#),
        ("lease/grant", #"{"seconds":0}"#), ("lease/renew", #"{"lease":"x"}"#), ("commit", String(repeating: "[", count: 100_000)),
    ])
    func malformed(_ route: String, _ body: String) async throws {
        let engine = EmbeddedStore.inMemory()
        var router = HTTPRouter()
        StoreService(engine).addRoutes(to: &router)
        let response = await router.answer(HTTPRequest("POST", "/v1/store/\(route)", body: Array(body.utf8)))
        #expect(response.status == 400)
        let failure = try StoreMessage.decode(StoreMessage.Failure.self, from: response.body)
        #expect(failure.code == "invalid" && !failure.remedy.isEmpty)
        #expect(try await engine.list(prefix: "").revision == .zero)
    }

    @Test("every value survives its JSON")
    func json() throws {
        let value = Array("{\"a\":\"/\"}".utf8)
        let entry = StoreEntry(key: "k/1", value: value, created: Revision(1), modified: Revision(2), lease: LeaseID(3))
        let bare = StoreEntry(key: "k", value: [], created: Revision(1), modified: Revision(1), lease: nil)
        let conditions: [StoreCondition] = [
            .absent(key: "a"), .exists(key: "b"), .unchanged(key: "c", since: Revision(.max)), .quiet(prefix: "", since: .zero),
        ]
        let transaction = StoreTransaction(
            conditions: conditions,
            operations: [
                .put(key: "a", value: [0x22], lease: LeaseID(1)), .put(key: "b", value: [], lease: nil), .delete(key: "c"),
            ])
        func copy<Value: Codable>(_ value: Value) throws -> Value {
            try StoreMessage.decode(Value.self, from: try StoreMessage.encode(value))
        }
        #expect(try copy(transaction) == transaction)
        for condition in conditions { #expect(try copy(StoreOutcome.conflict(condition)) == .conflict(condition)) }
        #expect(try copy(StoreOutcome.committed(Revision(7))) == .committed(Revision(7)))
        let snapshot = try copy(StoreSnapshot(revision: Revision(4), entries: [bare, entry]))
        #expect(snapshot.revision == Revision(4) && snapshot.entries == [bare, entry])
        let changes: [StoreChange] = [.put(entry), .delete(key: "x", at: Revision(5))]
        guard case .changes(changes, Revision(5)) = try copy(StoreEvent.changes(changes, revision: Revision(5))) else {
            Issue.record("the event came back changed")
            return
        }
        guard case .missed = try copy(StoreEvent.missed) else {
            Issue.record("missed came back as something else")
            return
        }
    }
}
