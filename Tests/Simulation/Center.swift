/// The store of the simulated cluster, which the agent of one host serves: the real engine without its file. It stops with that agent,
/// and what it opens with again is what was acknowledged, unless somebody puts another store in its place.
import Agent
import Fabric
import Logging
import Store
import TestKit

final class Center: @unchecked Sendable {
    private(set) var engine: EmbeddedStore
    private(set) var isUp = true
    let identity: StoreIdentity
    private static let silent = Logger(label: "store") { _ in SwiftLogNoOpLogHandler() }
    /// Requests being answered.
    private(set) var open = 0

    init(_ identity: StoreIdentity) {
        self.identity = identity
        engine = .inMemory(identity: identity, now: { Executor.shared.now }, log: Self.silent)
    }

    func contents() async -> JournalContents { await engine.contents() }

    /// Nobody listens any more.
    func refuse() { isUp = false }

    /// The agent that serves it ends.
    func stop() async -> JournalContents {
        isUp = false
        let kept = await engine.contents()
        await engine.close()
        return kept
    }

    func start(_ contents: JournalContents) async {
        engine = .inMemory(contents: contents, now: { Executor.shared.now }, log: Self.silent)
        await engine.start()
        isUp = true
    }

    /// Runs a request on the engine of this moment.
    func answer<Value: Sendable>(_ body: (EmbeddedStore) async throws -> Value) async throws -> Value {
        guard isUp else { throw StoreError(.unreachable, "reach the store", cause: "connection refused") }
        let engine = engine
        open += 1
        defer { open -= 1 }
        let value = try await body(engine)
        // It ended with the request.
        guard isUp, engine === self.engine else { throw Lost.ended }
        return value
    }

    /// The next event of a watch, or none within `wait`: what the service of a serving agent does.
    static func event(_ engine: EmbeddedStore, _ prefix: String, _ after: Revision, wait: Duration) async throws -> StoreEvent {
        let events = engine.watch(prefix: prefix, after: after)
        return try await withThrowingTaskGroup(of: StoreEvent?.self) { group in
            group.addTask(priority: .medium) {
                var iterator = events.makeAsyncIterator()
                return try await iterator.next()
            }
            group.addTask(priority: .medium) {
                try await Task.sleep(for: wait)
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next()?.flatMap { $0 } ?? .changes([], revision: after)
        }
    }

    /// What the store holds, as a view.
    func view() async -> ClusterView {
        var view = ClusterView()
        for entry in (try? await engine.list(prefix: ""))?.entries ?? [] {
            if let object = try? ClusterView.Object(key: entry.key, value: entry.value) { _ = view.set(object) }
        }
        return view
    }
}

/// The store as one run of a node's agent sees it: `RemoteStore`'s manners over the simulated network.
struct StoreLink: Store {
    private static let timeout = Duration.seconds(5)
    private static let wait = Duration.seconds(20)
    let host: Int
    /// The host that serves it.
    let server: Int
    let life: Life
    let network: Network
    let center: Center
    let isRefused: @Sendable () -> Bool
    let onRemoval: @Sendable (NodeID) -> Void

    private func ask<Value: Sendable>(
        _ operation: String, timeout: Duration = timeout, _ body: @escaping @Sendable (EmbeddedStore) async throws -> Value
    ) async throws -> Value {
        let executor = Executor.shared
        if host == server {
            do { return try await executor.cross(life) { try await center.answer(body) } } catch is Lost {
                throw StoreError(.closed, operation, cause: "the store ended")
            }
        }
        return try await withUnsafeThrowingContinuation { continuation in
            let slot = Slot<Value>(continuation, life)
            guard !life.isOver else { return }
            executor.after(timeout, life) {
                slot.finish(.failure(StoreError(.timedOut, operation, cause: "no answer within \(timeout)")))
            }
            network.send(from: host, to: server) {
                Task(priority: .medium) {
                    let result: Result<Value, any Error>
                    do {
                        if isRefused() { throw StoreError(.removed, operation, cause: "this node was removed from the cluster") }
                        result = .success(try await center.answer(body))
                    } catch is Lost {
                        result = .failure(StoreError(.unreachable, operation, cause: "the connection broke"))
                    } catch { result = .failure(error) }
                    network.send(from: server, to: host) { slot.finish(result) }
                }
            }
        }
    }

    func identity() async throws -> StoreIdentity { try await ask("ask which store it is") { await $0.identity() } }
    func list(prefix: String) async throws -> StoreSnapshot { try await ask("list the store") { try await $0.list(prefix: prefix) } }
    func commit(_ transaction: StoreTransaction) async throws -> StoreOutcome {
        try await ask("commit a transaction") { engine in
            let outcome = try await engine.commit(transaction)
            if case .committed = outcome { noteRemovals(transaction) }
            return outcome
        }
    }

    /// From the commit on a node is removed, whoever knows it.
    private func noteRemovals(_ transaction: StoreTransaction) {
        for case .put(let key, let value, _) in transaction.operations where key.hasPrefix(StoreKey.nodes) {
            guard let node = try? StoredJSON.decode(NodeObject.self, value), node.removed != nil else { continue }
            onRemoval(node.id)
        }
    }
    func grantLease(seconds: Int) async throws -> LeaseID { try await ask("grant a lease") { try await $0.grantLease(seconds: seconds) } }
    func renewLease(_ lease: LeaseID) async throws { try await ask("renew a lease") { try await $0.renewLease(lease) } }
    func revokeLease(_ lease: LeaseID) async throws { try await ask("revoke a lease") { try await $0.revokeLease(lease) } }

    func watch(prefix: String, after: Revision) async -> AsyncThrowingStream<StoreEvent, any Error> {
        let position = Position(after)
        return AsyncThrowingStream {
            guard let reached = position.reached else { return nil }
            let event = try await ask("watch the store", timeout: Self.timeout + Self.wait) {
                try await Center.event($0, prefix, reached, wait: Self.wait)
            }
            if case .changes(_, let revision) = event { position.reached = revision } else { position.reached = nil }
            return event
        }
    }

    private final class Position: @unchecked Sendable {
        var reached: Revision?
        init(_ reached: Revision) { self.reached = reached }
    }
}
