/// The messages between the engine (`KeyValueState`), its actor (`EmbeddedStore`) and its journal.

/// What a caller may ask of the engine that must be durable before it is answered.
enum StateRequest: Sendable {
    case commit(StoreTransaction)
    case grant(seconds: Int)
    case revoke(LeaseID)
    /// Ends the leases whose time is over, as every other request does first.
    case expire
}

enum StateReply: Sendable {
    case outcome(StoreOutcome)
    case lease(LeaseID)
    case done
}

/// A lease and when it ends if it is not renewed.
package struct Lease: Hashable, Sendable {
    package var seconds: Int
    /// Nanoseconds on the store's clock.
    package var deadline: UInt64

    init(seconds: Int, now: UInt64) {
        self.seconds = seconds
        deadline = now + UInt64(seconds) * 1_000_000_000
    }
}

/// What a number of requests change together: made durable as a whole or not at all, then adopted by the state.
package struct StateDelta: Sendable {
    /// The revision after all changes; without changes, the one before.
    package var revision: Revision
    /// The number of the newest lease ever granted.
    package var lastLease: UInt64
    package var revisions: [RevisionChanges] = []
    package var granted: [LeaseID: Lease] = [:]
    package var ended: Set<LeaseID> = []

    var isEmpty: Bool { revisions.isEmpty && granted.isEmpty && ended.isEmpty }
}

/// All that a journal keeps, as it is read when the store opens.
package struct JournalContents: Sendable {
    package var identity: StoreIdentity
    package var revision: Revision
    package var lastLease: UInt64
    /// Sorted by key.
    package var entries: [StoreEntry]
    /// The leases' terms in seconds. Deadlines do not survive: a restart gives each lease a whole new term.
    package var leases: [LeaseID: Int]

    package init(identity: StoreIdentity, revision: Revision, lastLease: UInt64, entries: [StoreEntry], leases: [LeaseID: Int]) {
        self.identity = identity
        self.revision = revision
        self.lastLease = lastLease
        self.entries = entries
        self.leases = leases
    }
}
