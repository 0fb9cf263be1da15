/// Requests evaluated one after the other over a state that stays as it is; what they change gathers in `delta`.
struct KeyValueDraft {
    private let base: KeyValueState
    private let now: UInt64
    /// Entries written since, nil where a key was deleted.
    private var written: [String: StoreEntry?] = [:]
    private(set) var delta: StateDelta

    init(over base: KeyValueState, now: UInt64) {
        self.base = base
        self.now = now
        delta = StateDelta(revision: base.revision, lastLease: base.lastLease)
    }

    mutating func apply(_ request: StateRequest) throws(StoreError) -> StateReply {
        switch request {
        case .commit(let transaction): return .outcome(try commit(transaction))
        case .grant(let seconds): return .lease(try grant(seconds: seconds))
        case .revoke(let lease):
            guard self.lease(lease) != nil else { throw .leaseNotFound(lease, "revoke") }
            end([lease])
            return .done
        case .expire: return .done
        }
    }

    mutating func endLapsedLeases() {
        let lapsed = base.leases.filter { $0.value.deadline <= now }
        if !lapsed.isEmpty { end(lapsed.keys.sorted { $0.number < $1.number }) }
    }

    // MARK: Transactions

    private mutating func commit(_ transaction: StoreTransaction) throws(StoreError) -> StoreOutcome {
        if let failed = transaction.conditions.first(where: { !holds($0) }) { return .conflict(failed) }
        for case .put(_, _, let id?) in transaction.operations where lease(id) == nil {
            throw .leaseNotFound(id, "put a key under")
        }
        let revision = Revision(delta.revision.number + 1)
        let changes = transaction.operations.compactMap { change($0, at: revision) }
        write(changes, at: revision)
        return .committed(delta.revision)
    }

    /// What an operation changes; deleting a key that is not there changes nothing.
    private func change(_ operation: StoreOperation, at revision: Revision) -> StoreChange? {
        switch operation {
        case .put(let key, let value, let lease):
            let created = entry(key)?.created ?? revision
            return .put(StoreEntry(key: key, value: value, created: created, modified: revision, lease: lease))
        case .delete(let key):
            return entry(key) == nil ? nil : .delete(key: key, at: revision)
        }
    }

    /// A revision exists only where something changed.
    private mutating func write(_ changes: [StoreChange], at revision: Revision) {
        if changes.isEmpty { return }
        for change in changes {
            switch change {
            case .put(let entry): written.updateValue(entry, forKey: entry.key)
            case .delete(let key, _): written.updateValue(nil, forKey: key)
            }
        }
        delta.revisions.append(RevisionChanges(revision: revision, changes: changes))
        delta.revision = revision
    }

    private func entry(_ key: String) -> StoreEntry? {
        if let known = written[key] { return known }
        return base.table[key]
    }

    private func holds(_ condition: StoreCondition) -> Bool {
        switch condition {
        case .absent(let key): return entry(key) == nil
        case .exists(let key): return entry(key) != nil
        case .unchanged(let key, let revision): return entry(key)?.modified == revision
        case .quiet(let prefix, let revision):
            return !written.contains { key, entry in
                key.hasPrefix(prefix) && entry.map { $0.modified > revision } ?? false
            } && !base.table.keys(below: prefix).contains { key in
                guard written[key] == nil, let entry = base.table[key] else { return false }
                return entry.modified > revision
            }
        }
    }

    // MARK: Leases

    private func lease(_ id: LeaseID) -> Lease? {
        if let granted = delta.granted[id] { return granted }
        return delta.ended.contains(id) ? nil : base.leases[id]
    }

    private mutating func grant(seconds: Int) throws(StoreError) -> LeaseID {
        guard base.leases.count - delta.ended.count + delta.granted.count < StoreLimits.leases else {
            throw StoreError(.overloaded, "grant a lease", cause: "\(StoreLimits.leases) leases exist already")
        }
        delta.lastLease += 1
        let id = LeaseID(delta.lastLease)
        delta.granted[id] = Lease(seconds: seconds, now: now)
        return id
    }

    /// Ends leases: the keys of each vanish at a revision of its own.
    private mutating func end(_ leases: [LeaseID]) {
        var keys: [LeaseID: [String]] = [:]
        for lease in leases { keys[lease] = [] }
        for entry in base.table.unsorted where written[entry.key] == nil {
            if let lease = entry.lease { keys[lease]?.append(entry.key) }
        }
        for case let entry? in written.values {
            if let lease = entry.lease { keys[lease]?.append(entry.key) }
        }
        for lease in leases {
            if delta.granted.removeValue(forKey: lease) == nil { delta.ended.insert(lease) }
            let revision = Revision(delta.revision.number + 1)
            write((keys[lease] ?? []).sorted().map { .delete(key: $0, at: revision) }, at: revision)
        }
    }
}
