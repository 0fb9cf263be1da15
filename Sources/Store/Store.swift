/// Where the cluster's truth is kept: keys with JSON values, one history of revisions, compare-and-swap.
///
/// A writer reads a `Snapshot`, decides, and commits a `Transaction` whose conditions name what it read. If a
/// condition no longer holds nothing is written and the writer reads again. Readers list once and then `watch` from
/// the revision they have; a watch that cannot be continued says `missed`, and the reader lists again.

/// A point in the store's single history. It only grows within one cluster id and epoch.
package struct Revision: Hashable, Comparable, Sendable, Codable {
    package var number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package static let zero = Revision(0)
    package static func < (left: Revision, right: Revision) -> Bool { left.number < right.number }
    package init(from decoder: any Decoder) throws { number = try decoder.singleValueContainer().decode(UInt64.self) }
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(number)
    }
}

/// A right to exist for the keys put under it: they vanish when it is not renewed in time.
package struct LeaseID: Hashable, Sendable, Codable {
    package var number: UInt64
    package init(_ number: UInt64) { self.number = number }
    package init(from decoder: any Decoder) throws { number = try decoder.singleValueContainer().decode(UInt64.self) }
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(number)
    }
}

/// Which store this is. Another cluster's, an older copy or an emptied one must never be taken for ours.
package struct StoreIdentity: Hashable, Sendable, Codable {
    /// The cluster's id, a lower-case UUID.
    package var cluster: String
    /// Grows when a replica is promoted.
    package var epoch: UInt64
    package init(cluster: String, epoch: UInt64) {
        self.cluster = cluster
        self.epoch = epoch
    }
}

package struct StoreEntry: Hashable, Sendable, Codable {
    package var key: String
    package var value: [UInt8]
    package var created: Revision
    package var modified: Revision
    package var lease: LeaseID?
    package init(key: String, value: [UInt8], created: Revision, modified: Revision, lease: LeaseID?) {
        self.key = key
        self.value = value
        self.created = created
        self.modified = modified
        self.lease = lease
    }
}

/// Everything below a prefix, at one revision; entries sorted by key.
package struct StoreSnapshot: Sendable, Codable {
    package var revision: Revision
    package var entries: [StoreEntry]
    package init(revision: Revision, entries: [StoreEntry]) {
        self.revision = revision
        self.entries = entries
    }
}

package enum StoreCondition: Hashable, Sendable, Codable {
    case absent(key: String)
    case exists(key: String)
    /// The key exists and was last modified at that revision.
    case unchanged(key: String, since: Revision)
    /// No key below the prefix was created or modified after that revision (deletions do not count).
    case quiet(prefix: String, since: Revision)
}

package enum StoreOperation: Hashable, Sendable, Codable {
    case put(key: String, value: [UInt8], lease: LeaseID?)
    case delete(key: String)
}

/// All conditions hold and all operations happen at one revision, or nothing does. A key appears in one operation at most.
package struct StoreTransaction: Hashable, Sendable, Codable {
    package var conditions: [StoreCondition]
    package var operations: [StoreOperation]
    package init(conditions: [StoreCondition] = [], operations: [StoreOperation]) {
        self.conditions = conditions
        self.operations = operations
    }
}

package enum StoreOutcome: Hashable, Sendable, Codable {
    /// Durable at that revision.
    case committed(Revision)
    /// Nothing was written; the first condition that failed.
    case conflict(StoreCondition)
}

package enum StoreChange: Hashable, Sendable, Codable {
    case put(StoreEntry)
    case delete(key: String, at: Revision)
}

package enum StoreEvent: Sendable, Codable {
    /// All changes up to `revision`, in order; whole revisions only. May be empty (a sign of progress).
    case changes([StoreChange], revision: Revision)
    /// The history from the wanted revision is gone: list again, then watch from there.
    case missed
}

/// A store of the cluster's truth. Each call throws `StoreError`.
package protocol Store: Sendable {
    func identity() async throws -> StoreIdentity
    func list(prefix: String) async throws -> StoreSnapshot
    func commit(_ transaction: StoreTransaction) async throws -> StoreOutcome
    /// Changes below the prefix after a revision, until the consumer stops or an error ends it.
    /// A watch "from the future" (a revision the store has not reached) is `missed` too: the store went back in time.
    func watch(prefix: String, after: Revision) async -> AsyncThrowingStream<StoreEvent, any Error>
    func grantLease(seconds: Int) async throws -> LeaseID
    /// Throws `leaseNotFound` when it has ended.
    func renewLease(_ lease: LeaseID) async throws
    func revokeLease(_ lease: LeaseID) async throws
}
