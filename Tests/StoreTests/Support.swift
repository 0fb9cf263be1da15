import FoundationEssentials
import Glibc
import HTTP
import Store
import Synchronization
import TestKit
import Testing

/// A clock that stands until it is told to go on.
final class ManualClock: Sendable {
    private let nanoseconds = Mutex<UInt64>(1_000_000_000_000)
    func advance(seconds: Double) { nanoseconds.withLock { $0 += UInt64(seconds * 1e9) } }
    var time: EmbeddedStore.Time { { self.nanoseconds.withLock { $0 } } }
}

/// Runs the body with a new directory, which is removed afterwards.
func withDirectory<Result>(_ body: (String) async throws -> Result) async throws -> Result {
    var template = Array("/tmp/tulle-store-XXXXXX".utf8CString)
    let made = template.withUnsafeMutableBufferPointer { $0.baseAddress.flatMap { mkdtemp($0) } }
    try #require(made != nil)
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try await body(path)
}

/// The implementations that must all behave alike.
enum Implementation: CaseIterable {
    case memory, embedded, remote, etcd

    /// Without etcd where there is none: a test of its own says so.
    static let allCases: [Self] = EtcdProcess.isAvailable ? withClock + [.etcd] : withClock
    /// Those whose engine takes a clock and keeps a history of its own.
    static let withClock: [Self] = [.memory, .embedded, .remote]
}

/// A store under test.
struct Fixture {
    var store: any Store
    private var clocked: (engine: EmbeddedStore, clock: ManualClock)?

    init(_ store: any Store, _ engine: EmbeddedStore, _ clock: ManualClock) {
        self.store = store
        clocked = (engine, clock)
    }
    init(_ store: any Store) { self.store = store }

    /// The engine behind it and the clock of that; only of those `withClock`.
    var engine: EmbeddedStore { get throws { try #require(clocked?.engine) } }
    var clock: ManualClock { get throws { try #require(clocked?.clock) } }
}

func withStore(_ implementation: Implementation, _ body: (Fixture) async throws -> Void) async throws {
    let clock = ManualClock()
    switch implementation {
    case .memory:
        let engine = EmbeddedStore.inMemory(now: clock.time)
        try await body(Fixture(engine, engine, clock))
    case .embedded:
        try await withDirectory { directory in
            let engine = try await EmbeddedStore.open(path: directory + "/store.db", create: true, now: clock.time)
            do {
                try await body(Fixture(engine, engine, clock))
            } catch {
                await engine.close()
                throw error
            }
            await engine.close()
        }
    case .remote:
        let engine = EmbeddedStore.inMemory(now: clock.time)
        try await withServer(engine) { client in
            try await body(Fixture(RemoteStore(client, timeout: .seconds(30)), engine, clock))
        }
    case .etcd:
        try await withEtcd(flags: ["--max-txn-ops=1024", "--max-request-bytes=8388608"]) { _, store in
            try await body(Fixture(store))
        }
    }
}

/// Serves a store on loopback, behind authentication, and runs the body with a client of it.
func withServer(_ store: any Store, _ body: (PeerClient) async throws -> Void) async throws {
    let token = ClusterToken.new()
    var router = HTTPRouter()
    StoreService(store).addRoutes(to: &router)
    let server = try await HTTPServer.start(
        on: .tcp(host: "127.0.0.1", port: 0),
        handler: PeerAuthenticator(token: token).protecting { [router] in await router.answer($0) })
    do {
        try await body(PeerClient(server.address, token: token))
    } catch {
        await server.stop()
        throw error
    }
    await server.stop()
}

/// Reads a watch and leaves out events without changes.
struct WatchReader {
    private var iterator: AsyncThrowingStream<StoreEvent, any Error>.Iterator

    init(_ store: any Store, prefix: String = "", after: Revision) async {
        iterator = await store.watch(prefix: prefix, after: after).makeAsyncIterator()
    }

    mutating func next() async throws -> StoreEvent? {
        while let event = try await iterator.next() {
            if case .changes(let changes, _) = event, changes.isEmpty { continue }
            return event
        }
        return nil
    }

    /// Reads on until the changes up to a revision are there.
    mutating func changes(upTo wanted: Revision) async throws -> [StoreChange] {
        var found: [StoreChange] = []
        while let event = try await next() {
            guard case .changes(let changes, let revision) = event else { break }
            found += changes
            if revision >= wanted { return found }
        }
        Issue.record("the watch ended before revision \(wanted.number)")
        return found
    }
}

extension StoreTransaction {
    static func put(_ key: String, _ value: String = "{}", lease: LeaseID? = nil, if conditions: StoreCondition...) -> Self {
        StoreTransaction(conditions: conditions, operations: [.put(key: key, value: Array(value.utf8), lease: lease)])
    }
    static func delete(_ key: String) -> Self { StoreTransaction(operations: [.delete(key: key)]) }
}

extension Store {
    /// Commits what must not meet a conflict.
    @discardableResult
    func write(_ transaction: StoreTransaction) async throws -> Revision {
        switch try await commit(transaction) {
        case .committed(let revision): return revision
        case .conflict(let condition): throw UnexpectedConflict(condition: condition)
        }
    }
}

struct UnexpectedConflict: Error {
    var condition: StoreCondition
}

/// Expects a `StoreError` with a code and hands it on.
@discardableResult
func expectError(
    _ code: StoreError.Code, _ sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async -> StoreError? {
    do {
        try await body()
        Issue.record("expected the error \(code.rawValue), and there was none", sourceLocation: sourceLocation)
        return nil
    } catch {
        let error = error as? StoreError
        #expect(error?.code == code, "\(String(describing: error))", sourceLocation: sourceLocation)
        #expect(error?.remedy.isEmpty == false, sourceLocation: sourceLocation)
        return error
    }
}
