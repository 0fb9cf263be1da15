package import Logging

/// The store that an agent carries in itself: the engine's state in memory, every change in a journal before it is
/// acknowledged. Without a journal it is the memory store of the tests.
///
/// A commit's way: it is checked and joins the queue; the writer takes all that wait as one batch, has the engine
/// evaluate them, has the journal make the delta durable with one fsync, adopts it, wakes the watches and answers the
/// callers. What arrives meanwhile is the next batch. Reads are answered from the adopted state and wait for nothing.
///
/// Watches are pulled: each reads the engine's bounded history at its own pace, so a slow consumer costs no memory
/// and misses what has fallen out.
package actor EmbeddedStore: Store {
    /// The time in nanoseconds on a clock that goes on while the machine sleeps.
    package typealias Time = @Sendable () -> UInt64

    private let known: StoreIdentity
    private let journal: (any Journal)?
    private let now: Time
    private let log: Logger

    private var state: KeyValueState
    private var queue: [Waiting] = []
    private var writer: Task<Void, Never>?
    private var expiry: (deadline: UInt64, task: Task<Void, Never>)?
    private var watches: [UInt64: WaitingWatch] = [:]
    private var lastWatch: UInt64 = 0
    private var isClosed = false
    /// Why nothing is written any more, while reads go on.
    private var frozen: String?

    private struct Waiting {
        var request: StateRequest
        var continuation: CheckedContinuation<StateReply, any Error>
    }

    /// A watch that has read everything and waits for more below its prefix.
    private struct WaitingWatch {
        var prefix: String
        /// Where its consumer is; when that is `progress` revisions back it gets an event without changes.
        var origin: Revision
        /// Receives the last revision that the watch has read.
        var continuation: CheckedContinuation<Revision, any Error>
    }

    /// Transactions that share an fsync at most.
    private static let batch = 256
    /// A watch that sees nothing is told the revision this often, or it would fall out of the history.
    private static let progress: UInt64 = 1_000

    init(_ identity: StoreIdentity, _ state: KeyValueState, journal: (any Journal)?, now: @escaping Time, log: Logger) {
        known = identity
        self.state = state
        self.journal = journal
        self.now = now
        self.log = log
    }

    /// A store that lives as long as its process.
    ///
    /// - Parameter contents: of the store that it is opened again from; nil: an empty one.
    package static func inMemory(
        identity: StoreIdentity = .new(), contents: JournalContents? = nil, now: @escaping Time = bootTime,
        log: Logger = Logger(label: "store")
    ) -> EmbeddedStore {
        EmbeddedStore(contents?.identity ?? identity, contents.map { KeyValueState($0, now: now()) } ?? KeyValueState(), journal: nil, now: now, log: log)
    }

    /// Writes out what was asked before, then ends every watch and refuses every later request.
    package func close() async {
        isClosed = true
        expiry?.task.cancel()
        await writer?.value
        for watch in watches.values { watch.continuation.resume(throwing: closed("watch the store")) }
        watches = [:]
        await journal?.close()
    }

    /// From here on every write is refused for that reason, or, with nil, taken again. Returns when all writes before are done.
    package func freeze(_ reason: String?) async {
        frozen = reason
        await writer?.value
    }

    private func closed(_ operation: String) -> StoreError {
        StoreError(.closed, operation, cause: "the store was closed")
    }

    // MARK: Reads

    package func identity() -> StoreIdentity { known }

    package func list(prefix: String) throws -> StoreSnapshot {
        try StoreLimits.check(prefix: prefix, for: "list the store")
        guard !isClosed else { throw closed("list the store") }
        return state.snapshot(prefix: prefix)
    }

    package nonisolated func watch(prefix: String, after: Revision) -> AsyncThrowingStream<StoreEvent, any Error> {
        .following(after) { position in
            try StoreLimits.check(prefix: prefix, for: "watch the store")
            return try await self.event(prefix: prefix, after: position)
        }
    }

    /// The next event of a watch, nil when its consumer was cancelled.
    private func event(prefix: String, after origin: Revision) async throws -> StoreEvent? {
        var position = origin
        while !isClosed {
            let event = state.history.event(prefix: prefix, after: position)
            guard case .changes(let changes, let revision) = event, changes.isEmpty,
                revision.number - origin.number < Self.progress
            else { return event }
            do {
                position = try await change(below: prefix, origin: origin)
            } catch is CancellationError {
                return nil
            }
        }
        throw closed("watch the store")
    }

    /// Waits until something below the prefix may have changed; returns the revision before that.
    private func change(below prefix: String, origin: Revision) async throws -> Revision {
        lastWatch += 1
        let id = lastWatch
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                if Task.isCancelled { return continuation.resume(throwing: CancellationError()) }
                watches[id] = WaitingWatch(prefix: prefix, origin: origin, continuation: continuation)
            }
        } onCancel: {
            Task { await self.cancelWatch(id) }
        }
    }

    private func cancelWatch(_ id: UInt64) {
        watches.removeValue(forKey: id)?.continuation.resume(throwing: CancellationError())
    }

    private func wakeWatches(for delta: StateDelta, before: Revision) {
        if delta.revisions.isEmpty { return }
        for (id, watch) in watches {
            let concerned = delta.revisions.contains { $0.changes.contains { $0.key.hasPrefix(watch.prefix) } }
            guard concerned || delta.revision.number - watch.origin.number >= Self.progress else { continue }
            watches[id] = nil
            watch.continuation.resume(returning: before)
        }
    }

    /// All that another store is opened from.
    package func contents() -> JournalContents {
        JournalContents(
            identity: known, revision: state.revision, lastLease: state.lastLease, entries: state.snapshot(prefix: "").entries,
            leases: state.leases.mapValues(\.seconds))
    }

    // MARK: Writes

    package func commit(_ transaction: StoreTransaction) async throws -> StoreOutcome {
        try StoreLimits.check(transaction)
        guard case .outcome(let outcome) = try await submit(.commit(transaction), "commit a transaction") else {
            preconditionFailure("the engine answers a transaction with its outcome")
        }
        return outcome
    }

    package func grantLease(seconds: Int) async throws -> LeaseID {
        try StoreLimits.check(leaseSeconds: seconds)
        guard case .lease(let lease) = try await submit(.grant(seconds: seconds), "grant a lease") else {
            preconditionFailure("the engine answers a grant with its lease")
        }
        return lease
    }

    package func renewLease(_ lease: LeaseID) throws {
        guard !isClosed else { throw closed("renew lease \(lease.number)") }
        try state.renew(lease, now: now())
    }

    package func revokeLease(_ lease: LeaseID) async throws {
        _ = try await submit(.revoke(lease), "revoke lease \(lease.number)")
    }

    /// Ends the leases whose time is over. The store does this by itself; with a clock of their own, tests call it.
    package func expireLeases() async throws { _ = try await submit(.expire, "end leases") }

    private func submit(_ request: StateRequest, _ operation: String) async throws -> StateReply {
        guard !isClosed else { throw closed(operation) }
        if let frozen { throw StoreError(.overloaded, operation, cause: frozen, remedy: "Try again in a moment.") }
        guard queue.count < StoreLimits.waiting else {
            throw StoreError(.overloaded, operation, cause: "\(queue.count) requests wait for the disk already")
        }
        return try await withCheckedThrowingContinuation { continuation in
            queue.append(Waiting(request: request, continuation: continuation))
            if writer == nil { writer = Task { await self.drain() } }
        }
    }

    private func drain() async {
        while !queue.isEmpty {
            let batch = Array(queue.prefix(Self.batch))
            queue.removeFirst(batch.count)
            await write(batch)
        }
        writer = nil
    }

    private func write(_ batch: [Waiting]) async {
        let (delta, replies) = state.evaluate(batch.map(\.request), now: now())
        if !delta.isEmpty {
            do {
                try await journal?.append(delta)
            } catch {
                // One that does not fit must not take the others with it.
                if batch.count > 1, (error as? StoreError)?.code == .full {
                    for waiting in batch { await write([waiting]) }
                } else {
                    for waiting in batch { waiting.continuation.resume(throwing: error) }
                }
                return
            }
            let before = state.revision
            state.adopt(delta)
            wakeWatches(for: delta, before: before)
            for lease in delta.ended { log.info("lease ended", metadata: ["lease": "\(lease.number)"]) }
            if !delta.granted.isEmpty { scheduleExpiry() }
        }
        for (waiting, reply) in zip(batch, replies) { waiting.continuation.resume(with: reply.mapError { $0 }) }
    }

    // MARK: Lease expiry

    /// Sees to it that the next lease to end does so in time.
    private func scheduleExpiry(notBefore earliest: UInt64 = 0) {
        guard !isClosed, let deadline = state.earliestDeadline.map({ max($0, earliest) }) else { return }
        if let expiry, expiry.deadline <= deadline { return }
        expiry?.task.cancel()
        let time = now()
        let wait = deadline > time ? deadline - time : 0
        let task = Task { [weak self] in
            guard (try? await Task.sleep(for: .nanoseconds(Int64(clamping: wait)))) != nil else { return }
            await self?.expiryIsDue()
        }
        expiry = (deadline, task)
    }

    private func expiryIsDue() async {
        expiry = nil
        if isClosed { return }
        do {
            try await expireLeases()
            scheduleExpiry()
        } catch {
            log.error("ended leases cannot be written down; their keys stay for now", metadata: ["error": "\(error)"])
            scheduleExpiry(notBefore: now() + 1_000_000_000)
        }
    }

    /// Leases that were read from the journal end too.
    package func start() { scheduleExpiry() }
}
