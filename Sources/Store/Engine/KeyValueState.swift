/// The engine of the memory and embedded stores: a value without clock, file or lock.
///
/// A request's way: `evaluate` decides a batch of requests one after the other on a `KeyValueDraft`, which lies over
/// the state and leaves it unchanged, and returns their replies with one `StateDelta`. The owner makes the delta
/// durable, then calls `adopt`, and only then lets the replies out. If it cannot be made durable the delta is dropped
/// and nothing has happened. Readers see adopted, so durable, revisions only.
package struct KeyValueState: Sendable {
    package private(set) var revision: Revision
    private(set) var table: KeyTable
    private(set) var leases: [LeaseID: Lease]
    private(set) var lastLease: UInt64
    private(set) var history: ChangeHistory

    package init() {
        revision = .zero
        table = KeyTable()
        leases = [:]
        lastLease = 0
        history = ChangeHistory(from: .zero)
    }

    /// The state of a store that was opened again at `now`, in nanoseconds on the clock of all later calls.
    package init(_ contents: JournalContents, now: UInt64) {
        revision = contents.revision
        table = KeyTable(sorted: contents.entries)
        leases = contents.leases.mapValues { Lease(seconds: $0, now: now) }
        lastLease = contents.lastLease
        history = ChangeHistory(from: contents.revision)
    }

    package func snapshot(prefix: String) -> StoreSnapshot {
        StoreSnapshot(revision: revision, entries: table.entries(below: prefix))
    }

    /// The replies to the requests as if they came one after the other, and what they change together. Leases whose
    /// deadline has passed end first.
    func evaluate(
        _ requests: [StateRequest], now: UInt64
    ) -> (delta: StateDelta, replies: [Result<StateReply, StoreError>]) {
        var draft = KeyValueDraft(over: self, now: now)
        draft.endLapsedLeases()
        let replies = requests.map { request in Result { () throws(StoreError) in try draft.apply(request) } }
        return (draft.delta, replies)
    }

    /// Takes over a delta that was evaluated on this very state.
    mutating func adopt(_ delta: StateDelta) {
        for record in delta.revisions {
            for change in record.changes {
                switch change {
                case .put(let entry): table.put(entry)
                case .delete(let key, _): table.remove(key)
                }
            }
            history.append(record)
        }
        for lease in delta.ended { leases[lease] = nil }
        leases.merge(delta.granted) { $1 }
        revision = delta.revision
        lastLease = delta.lastLease
    }

    /// Renewal moves a deadline, which no journal keeps, so it takes effect at once.
    mutating func renew(_ id: LeaseID, now: UInt64) throws(StoreError) {
        guard let lease = leases[id], now < lease.deadline else { throw .leaseNotFound(id, "renew") }
        leases[id] = Lease(seconds: lease.seconds, now: now)
    }

    /// When the next lease ends if none is renewed.
    var earliestDeadline: UInt64? { leases.values.lazy.map(\.deadline).min() }
}

extension StoreError {
    static func leaseNotFound(_ lease: LeaseID, _ verb: String) -> StoreError {
        StoreError(.leaseNotFound, "\(verb) lease \(lease.number)", cause: "it has ended or never was")
    }
}
