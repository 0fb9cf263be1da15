/// What happened at one revision, sorted by nothing: the order of the transaction's operations.
package struct RevisionChanges: Hashable, Sendable {
    package var revision: Revision
    package var changes: [StoreChange]
}

/// The last revisions' changes, for watches. Bounded in changes and in bytes; what falls out is missed by whoever
/// has not read it.
struct ChangeHistory: Sendable {
    /// Bounds of what is kept, and of what one event carries.
    struct Limits: Sendable {
        var changes = 16_384
        var bytes = 16 << 20
        var eventChanges = 1_024
        var eventBytes = 1 << 20
    }

    private let limits: Limits
    /// The oldest revision from which a watch can still be continued.
    private(set) var floor: Revision
    /// The newest revision, which may have no changes.
    private(set) var revision: Revision
    /// Revisions with changes, ascending; those before `first` have fallen out and are removed in bulk.
    private var kept: [RevisionChanges] = []
    private var first = 0
    private var changes = 0
    private var bytes = 0

    init(from revision: Revision, limits: Limits = Limits()) {
        self.limits = limits
        floor = revision
        self.revision = revision
    }

    mutating func append(_ record: RevisionChanges) {
        revision = record.revision
        kept.append(record)
        changes += record.changes.count
        bytes += record.bytes
        while first < kept.count, changes > limits.changes || bytes > limits.bytes {
            changes -= kept[first].changes.count
            bytes -= kept[first].bytes
            floor = kept[first].revision
            kept[first].changes = []
            first += 1
        }
        if first > 64, first > kept.count / 2 {
            kept.removeFirst(first)
            first = 0
        }
    }

    /// The changes below a prefix after a revision: whole revisions, at least one and at most what fits in an event.
    /// An event without changes says that nothing below the prefix changed up to now.
    func event(prefix: String, after: Revision) -> StoreEvent {
        guard after >= floor, after <= revision else { return .missed }
        var found: [StoreChange] = []
        var size = 0
        for record in kept[index(after: after)...] {
            let matching = record.changes.filter { $0.key.hasPrefix(prefix) }
            if matching.isEmpty { continue }
            found += matching
            size += matching.reduce(0) { $0 + $1.bytes }
            if found.count >= limits.eventChanges || size >= limits.eventBytes {
                return .changes(found, revision: record.revision)
            }
        }
        return .changes(found, revision: revision)
    }

    /// The index of the first kept revision after this one.
    private func index(after revision: Revision) -> Int {
        var low = first
        var high = kept.count
        while low < high {
            let middle = (low + high) / 2
            if kept[middle].revision <= revision { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

extension RevisionChanges {
    fileprivate var bytes: Int { changes.reduce(0) { $0 + $1.bytes } }
}

extension StoreChange {
    /// About what the change takes in memory.
    fileprivate var bytes: Int {
        switch self {
        case .put(let entry): return 128 + entry.key.utf8.count + entry.value.count
        case .delete(let key, _): return 128 + key.utf8.count
        }
    }
}
