import HTTP

/// Another agent's store, over `StoreService`. Every error reaches the caller: a watch ends with it, and when and how to
/// try again is the caller's decision. After `unreachable`, `timedOut` and `replayed` a commit's outcome is unknown.
package struct RemoteStore: Store {
    private let client: @Sendable () -> PeerClient
    private let timeout: Duration

    /// - Parameters:
    ///   - timeout: for an answer; a watch waits `StoreMessage.longestWait` longer.
    ///   - client: of the agent that serves the store at present, asked before each request.
    package init(timeout: Duration = .seconds(5), client: @escaping @Sendable () -> PeerClient) {
        self.client = client
        self.timeout = timeout
    }

    package init(_ client: PeerClient, timeout: Duration = .seconds(5)) { self.init(timeout: timeout) { client } }

    package func identity() async throws -> StoreIdentity {
        try await send(HTTPRequest("GET", StoreMessage.Path.identity))
    }

    package func list(prefix: String) async throws -> StoreSnapshot {
        try await send(StoreMessage.Path.list, StoreMessage.List(prefix: prefix))
    }

    package func commit(_ transaction: StoreTransaction) async throws -> StoreOutcome {
        // Text that is not UTF-8 would arrive altered.
        try StoreLimits.check(transaction)
        return try await send(StoreMessage.Path.commit, transaction, isRepeatable: false)
    }

    package func grantLease(seconds: Int) async throws -> LeaseID {
        let answer: StoreMessage.Lease = try await send(StoreMessage.Path.grant, StoreMessage.Grant(seconds: seconds))
        return answer.lease
    }

    package func renewLease(_ lease: LeaseID) async throws {
        let _: StoreMessage.Lease = try await send(StoreMessage.Path.renew, StoreMessage.Lease(lease: lease))
    }

    package func revokeLease(_ lease: LeaseID) async throws {
        let _: StoreMessage.Lease = try await send(StoreMessage.Path.revoke, StoreMessage.Lease(lease: lease))
    }

    package func watch(prefix: String, after: Revision) -> AsyncThrowingStream<StoreEvent, any Error> {
        .following(after) { position in
            let wait = StoreMessage.longestWait
            let asked = ContinuousClock.now
            do {
                let event: StoreEvent = try await send(
                    StoreMessage.Path.watch, StoreMessage.Watch(prefix: prefix, after: position),
                    query: ["wait": String(wait)], timeout: timeout + .seconds(wait))
                // Nothing new, and at once: no agent answers so, and who does is not asked as fast as it answers.
                if case .changes(_, let revision) = event, revision <= position, .now - asked < .seconds(1) {
                    try await Task.sleep(for: .seconds(1))
                }
                return event
            } catch is CancellationError {
                return nil
            }
        }
    }

    private func send<Answer: Decodable>(
        _ path: String, _ message: some Encodable, query: [String: String] = [:], timeout: Duration? = nil, isRepeatable: Bool = true
    ) async throws -> Answer {
        try await send(
            HTTPRequest(
                "POST", path, query: query, fields: ["Content-Type": "application/json"],
                body: try StoreMessage.encode(message)),
            timeout: timeout, isRepeatable: isRepeatable)
    }

    private func send<Answer: Decodable>(
        _ request: HTTPRequest, timeout: Duration? = nil, isRepeatable: Bool = true
    ) async throws -> Answer {
        let client = client()
        let response = try await client.send(request, timeout: timeout ?? self.timeout, isRepeatable: isRepeatable)
        do {
            guard response.status == 200 else {
                throw try StoreMessage.decode(StoreMessage.Failure.self, from: response.body).error
            }
            return try StoreMessage.decode(Answer.self, from: response.body)
        } catch let error as DecodingError {
            throw StoreError(
                .badAnswer, "\(request.method) \(request.path) at \(client.address)",
                cause: "its answer, of status \(response.status), is not understood (\(error))")
        }
    }
}
