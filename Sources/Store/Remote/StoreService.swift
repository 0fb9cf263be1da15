package import HTTP

/// Serves a store to other agents over HTTP; `StoreMessage` lists the routes. Authentication is in front of it.
///
/// A watch is a long poll: each request gets the next event as soon as there is one, at the latest after `wait` seconds
/// an event without changes, from which the client goes on. So the server keeps nothing for a client between requests.
package struct StoreService: Sendable {
    private let store: any Store

    package init(_ store: any Store) { self.store = store }

    package func addRoutes(to router: inout HTTPRouter) {
        let store = self.store
        router.on("GET", StoreMessage.Path.identity) { _ in await answer { try await store.identity() } }
        on(StoreMessage.Path.list, &router) { (message: StoreMessage.List, _) in try await store.list(prefix: message.prefix) }
        on(StoreMessage.Path.commit, &router) { (transaction: StoreTransaction, _) in try await store.commit(transaction) }
        on(StoreMessage.Path.watch, &router) { (message: StoreMessage.Watch, request) in
            let wait = request.query["wait"].flatMap { Int($0) } ?? 0
            return try await event(message, wait: min(max(wait, 0), StoreMessage.longestWait))
        }
        on(StoreMessage.Path.grant, &router) { (message: StoreMessage.Grant, _) in
            StoreMessage.Lease(lease: try await store.grantLease(seconds: message.seconds))
        }
        on(StoreMessage.Path.renew, &router) { (message: StoreMessage.Lease, _) in
            try await store.renewLease(message.lease)
            return message
        }
        on(StoreMessage.Path.revoke, &router) { (message: StoreMessage.Lease, _) in
            try await store.revokeLease(message.lease)
            return message
        }
    }

    private func on<Message: Decodable, Answer: Encodable & SendableMetatype>(
        _ path: String, _ router: inout HTTPRouter,
        _ action: @escaping @Sendable (Message, HTTPRequest) async throws -> Answer
    ) {
        router.on("POST", path) { request in
            await answer {
                let message: Message
                do {
                    message = try StoreMessage.decode(Message.self, from: request.body)
                } catch {
                    throw StoreError(.invalid, "read a request for \(path)", cause: "its body is not what belongs there (\(error))")
                }
                return try await action(message, request)
            }
        }
    }

    private func answer(_ action: () async throws -> some Encodable) async -> HTTPResponse {
        do {
            return .json(try StoreMessage.encode(try await action()))
        } catch {
            let error = error as? StoreError ?? StoreError(.inputOutput, "serve the store", cause: "\(error)")
            return .failure(error, status: status(of: error))
        }
    }

    private func status(of error: StoreError) -> Int {
        switch error.code {
        case .invalid: return 400
        case .leaseNotFound: return 410
        case .overloaded, .closed: return 503
        case .full: return 507
        default: return 500
        }
    }

    /// The next event of a watch, or none within `wait` seconds.
    private func event(_ message: StoreMessage.Watch, wait: Int) async throws -> StoreEvent {
        let events = await store.watch(prefix: message.prefix, after: message.after)
        return try await withThrowingTaskGroup(of: StoreEvent?.self) { group in
            group.addTask {
                var iterator = events.makeAsyncIterator()
                return try await iterator.next()
            }
            group.addTask {
                try await Task.sleep(for: .seconds(wait))
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next()?.flatMap { $0 } ?? .changes([], revision: message.after)
        }
    }
}
