import HTTP

/// One watch: a stream of etcd's, what came of it and was not yet taken, and a look now and then whether the stream is alive.
///
/// `run` opens the stream at a member that has a leader and has reached the wanted revision, and turns its lines into events of whole
/// revisions, which wait in `ready` for `next`; when there are many it stops reading, and etcd feels that. `watchOver` asks the member
/// after each silence: one that hangs, or lost its leader, ends the watch. How far etcd has come where nothing changes for this watch is
/// not told by the stream in time, so the same question finds out (`look`).
actor EtcdWatch {
    private struct Missed: Error {}

    private let client: EtcdClient
    private let names: EtcdNames
    private let keys: EtcdKeyRange
    private let operation = "watch the store in etcd"

    /// Everything up to here is in `ready` or was taken.
    private var position: UInt64
    /// Up to here nothing differs below the prefix: late events are of no effect.
    private var proven: UInt64
    private var pending: [EtcdWatchAnswer.Event] = []
    private var ready: [StoreEvent] = []
    private var consumer: CheckedContinuation<StoreEvent?, any Error>?
    private var producer: CheckedContinuation<Void, Never>?
    private var end: Result<Void, any Error>?

    private var stream: (endpoint: EtcdEndpoint, client: HTTPClient)?
    private var heard = ContinuousClock.now
    private var isLooking = false
    /// A revision that a commit of ours was answered with.
    private var wanted: UInt64 = 0
    /// A look found changes after this position that had not come.
    private var owed: UInt64?

    /// Events that wait at most until the stream is read on, and changes in one.
    private static let room = 16
    private static let changes = 1_000

    init(_ client: EtcdClient, _ names: EtcdNames, prefix: String, after: UInt64) {
        self.client = client
        self.names = names
        keys = names.range(below: prefix)
        position = after
        proven = after
    }

    // MARK: The consumer

    /// nil at the end, and when the consumer was cancelled.
    func next() async throws -> StoreEvent? {
        if !ready.isEmpty {
            let event = ready.removeFirst()
            resumeProducer()
            return event
        }
        if let end {
            self.end = .success(())
            try end.get()
            return nil
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                if Task.isCancelled || consumer != nil { return continuation.resume(returning: nil) }
                consumer = continuation
            }
        } onCancel: {
            Task { await self.stop() }
        }
    }

    func stop() { finish(.success(())) }

    /// Its connection leads nowhere any more.
    func lose(_ cause: String) { finish(.failure(StoreError(.unreachable, operation, cause: cause))) }

    private func finish(_ result: Result<Void, any Error>) {
        guard end == nil else { return }
        end = result
        stream?.client.disconnect()
        stream = nil
        resumeProducer()
        guard let consumer else { return }
        self.consumer = nil
        end = .success(())
        consumer.resume(with: result.map { nil })
    }

    private func put(_ event: StoreEvent) {
        if let consumer {
            self.consumer = nil
            consumer.resume(returning: event)
        } else {
            ready.append(event)
        }
    }

    private func resumeProducer() {
        producer?.resume()
        producer = nil
    }

    private func waitForRoom() async {
        while ready.count >= Self.room, end == nil {
            await withCheckedContinuation { producer = $0 }
        }
    }

    // MARK: The stream

    func run() async {
        do {
            let opened = try await Self.open(client, names, keys, after: position, operation)
            guard end == nil else { return opened.client.disconnect() }
            stream = (opened.endpoint, opened.client)
            heard = .now
            for try await line in opened.lines {
                heard = .now
                try receive(line, opened.endpoint)
                await waitForRoom()
                guard end == nil else { return }
            }
            throw StoreError(
                .unreachable, operation, cause: "\(opened.endpoint.address) ended the watch", remedy: "Check etcd's members.")
        } catch is Missed {
            put(.missed)
            finish(.success(()))
        } catch let error as HTTPError {
            finish(.failure(EtcdClient.Attempt(error, operation).error))
        } catch let attempt as EtcdClient.Attempt {
            finish(.failure(attempt.error))
        } catch {
            finish(error is CancellationError ? .success(()) : .failure(error))
        }
    }

    private struct Opened: Sendable {
        var endpoint: EtcdEndpoint
        var client: HTTPClient
        var lines: AsyncThrowingStream<[UInt8], any Error>
    }

    private static func open(
        _ client: EtcdClient, _ names: EtcdNames, _ keys: EtcdKeyRange, after: UInt64, _ operation: String
    ) async throws -> Opened {
        let watch = EtcdRequest.object { request in
            request.add(
                "create_request",
                EtcdRequest.object { create in
                    keys.add(to: &create)
                    create.add("start_revision", after + 1)
                    create.add("progress_notify", true)
                    create.add("fragment", true)
                })
        }.finished
        return try await client.trying(operation, isRepeatable: true) { endpoint, timeout in
            // A linearizable read: after it this member is as far as the cluster was, so "from the future" is certain.
            let present = try await client.revision(at: endpoint, names, operation, timeout)
            guard present >= after else { throw Missed() }
            return try await client.authorized(endpoint, operation, timeout) { token in
                let request = HTTPRequest("POST", EtcdRequest.Path.watch, fields: EtcdRequest.fields(token: token), body: watch)
                do {
                    // Its own connection, which can be cut without harm to others.
                    let separate = try endpoint.separateClient()
                    return Opened(endpoint: endpoint, client: separate, lines: try await separate.lines(request, timeout: timeout))
                } catch let error as HTTPError {
                    if let response = error.response { throw EtcdFailure(status: response.status, body: response.body) }
                    throw EtcdClient.Attempt(error, operation)
                }
            }
        }
    }

    private func receive(_ line: [UInt8], _ endpoint: EtcdEndpoint) throws {
        let answer: EtcdWatchAnswer
        do {
            answer = try EtcdWatchAnswer(line)
        } catch let error as EtcdJSON.Malformed {
            throw client.badAnswer(endpoint, EtcdRequest.Path.watch, operation, error)
        }
        if let failure = answer.failure { throw failed(failure) }
        try client.check(answer.header, endpoint, operation)
        guard answer.compacted == 0 else { throw Missed() }
        guard !answer.isCanceled else {
            throw failed(EtcdFailure(message: answer.reason.isEmpty ? "the watch was cancelled" : answer.reason))
        }
        pending += answer.events
        // A fragment's last revision may go on in the next.
        var complete = pending.count
        if answer.isFragment, let last = pending.last {
            complete = pending.lastIndex { $0.entry.modified != last.entry.modified }.map { $0 + 1 } ?? 0
        }
        let events = Array(pending[..<complete])
        pending.removeFirst(complete)
        try deliver(events)
        if !events.isEmpty, position < wanted { Task { await lookForWanted() } }
        // Of the watch itself, not of a request for progress: this one is sent only when all before was.
        if answer.events.isEmpty, !answer.isCreated, !answer.isFragment, answer.watch == 0 { progress(answer.header.revision) }
    }

    private func failed(_ failure: EtcdFailure) -> any Error {
        if failure.isCompacted || failure.isFuture { return Missed() }
        var error = failure.error(operation, user: client.location.user)
        if failure.message == "the watch was cancelled" { error.code = .unreachable }
        return error
    }

    private func deliver(_ events: [EtcdWatchAnswer.Event]) throws {
        var changes: [StoreChange] = []
        for (index, event) in events.enumerated() where event.entry.modified > proven {
            let entry = event.entry
            position = max(position, entry.modified)
            if let change = self.change(event) {
                changes.append(change)
            } else if event.isDeletion, entry.key.elementsEqual(names.identityKey.utf8) {
                throw EtcdIdentity.missing(operation, key: names.identityKey)
            }
            let isLastOfRevision = index + 1 == events.count || events[index + 1].entry.modified != entry.modified
            guard isLastOfRevision, index + 1 == events.count || changes.count >= Self.changes else { continue }
            put(.changes(changes, revision: Revision(position)))
            changes = []
        }
    }

    private func change(_ event: EtcdWatchAnswer.Event) -> StoreChange? {
        guard event.isDeletion else { return names.entry(event.entry).map { .put($0) } }
        return names.name(of: event.entry.key).map { .delete(key: $0, at: Revision(event.entry.modified)) }
    }

    private func progress(_ revision: UInt64) {
        guard revision > position, pending.isEmpty else { return }
        position = revision
        put(.changes([], revision: Revision(revision)))
    }

    // MARK: Looking after it

    func watchOver() async {
        let silence = client.patience.silence
        while end == nil {
            let due = heard + silence
            if due > .now {
                guard (try? await Task.sleep(until: due)) != nil else { return }
            } else if stream == nil || !ready.isEmpty {
                // Not open yet, or a slow consumer: no sign of the member's death.
                heard = .now
            } else {
                await look(isJudging: true)
                await lookForWanted()
                // Another look may be under way, which needs its turn; and none is worth more than ten a second.
                guard (try? await Task.sleep(for: .milliseconds(100))) != nil else { return }
            }
        }
    }

    /// A commit of ours that changed nothing was answered with a revision that no event will bring.
    func look(for revision: UInt64) async {
        wanted = max(wanted, revision)
        await lookForWanted()
    }

    /// Not for ever: where changes are on their way, the next look comes with them.
    private func lookForWanted() async {
        for _ in 0..<3 where position < wanted { await look(isJudging: false) }
    }

    private func look(isJudging: Bool) async {
        guard !isLooking, let stream, end == nil else { return }
        isLooking = true
        defer { isLooking = false }
        let before = position
        do {
            let present = try await client.revision(at: stream.endpoint, names, operation, client.patience.attempt)
            guard end == nil else { return }
            heard = .now
            guard present > position else { return owed = nil }
            if isJudging, owed == position {
                throw StoreError(
                    .timedOut, operation,
                    cause: "\(stream.endpoint.address) has changes since revision \(position) and does not send them")
            }
            let found = try await client.difference(in: keys, since: before, at: stream.endpoint, operation, client.patience.attempt)
            guard end == nil, position == before else { return }
            if let revision = found {
                proven = max(proven, revision)
                progress(revision)
            } else if isJudging {
                owed = position
            }
        } catch let attempt as EtcdClient.Attempt {
            if isJudging { finish(.failure(attempt.error)) }
        } catch {
            if isJudging { finish(.failure(error)) }
        }
    }
}
