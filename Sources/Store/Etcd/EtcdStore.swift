import Synchronization

/// The cluster's truth in etcd, version 3.4 or later, over its JSON gateway.
///
/// A commit becomes one transaction of etcd's (`EtcdTransaction`), sent by `EtcdClient` to a member. etcd's revisions are the store's: they grow
/// with everything that anybody writes into that etcd, so they have gaps. Watches are streams of etcd's (`EtcdWatch`).
package final class EtcdStore: Store {
    let client: EtcdClient
    let names: EtcdNames
    private let known = Mutex<EtcdIdentity?>(nil)
    private let watches = Mutex<[ObjectIdentifier: EtcdWatch]>([:])

    /// Entries that are asked for at once. Fewer where they are so large that the gateway refuses.
    private static let page = 1_000

    /// - Throws: when the connector cannot do what the address demands.
    package convenience init(
        _ location: EtcdLocation, connector: EtcdConnector = .plain, patience: EtcdPatience = EtcdPatience()
    ) throws {
        self.init(try EtcdClient(location, connector, patience))
    }

    init(_ client: EtcdClient) {
        self.client = client
        names = EtcdNames(prefix: client.location.prefix)
    }

    /// Closes every connection, as when this host's address changed and they lead nowhere. Calls and watches under way fail.
    package func disconnect() {
        client.disconnect()
        for watch in watches.withLock({ Array($0.values) }) { Task { await watch.lose("this host's address changed") } }
    }

    // MARK: Identity

    package func identity() async throws -> StoreIdentity {
        let operation = "read the store's identity from etcd"
        let answer = try await client.read(
            EtcdRequest.Path.range, EtcdRequest.range(EtcdKeyRange(names.identityKey)).finished, operation)
        guard let entry = answer.entries.first else { throw EtcdIdentity.missing(operation, key: names.identityKey) }
        let found = try EtcdIdentity(reading: entry.value, key: names.identityKey)
        // Commits go on being held to the cluster that was read first: another's is for the caller to refuse.
        known.withLock { known in
            if known.map({ $0.identity.cluster == found.identity.cluster }) ?? true { known = found }
        }
        return found.identity
    }

    /// A key below the prefix, as etcd has it, whoever put it there; nil if there is none.
    package func anyKey() async throws -> String? {
        let body = EtcdRequest.range(names.range(below: ""), limit: 1, keysOnly: true).finished
        let answer = try await client.read(EtcdRequest.Path.range, body, "look whether etcd is empty below \(names.prefix)")
        return answer.entries.first.map { names.prefix + (names.name(of: $0.key) ?? EtcdNames.identity) }
    }

    /// Makes this the store of a new cluster. Whoever comes second gets the identity of the one that was first.
    package func found(_ identity: StoreIdentity) async throws -> StoreIdentity {
        let operation = "found the store in etcd"
        let key = EtcdKeyRange(names.identityKey)
        let new = EtcdIdentity(identity)
        let answer = try await client.write(
            EtcdRequest.Path.transaction,
            EtcdRequest.transaction(
                compare: [EtcdRequest.compare(key, .create, .equal, 0)], success: [putting(new)],
                failure: [EtcdRequest.operation(range: EtcdRequest.range(key))]), operation)
        guard !answer.isSucceeded else {
            known.withLock { $0 = new }
            return identity
        }
        guard let entry = answer.responses.first?.entries.first else {
            throw EtcdIdentity.missing(operation, key: names.identityKey)
        }
        let found = try EtcdIdentity(reading: entry.value, key: names.identityKey)
        known.withLock { $0 = found }
        return found.identity
    }

    /// Makes this the store of the next epoch in the place of a former one: from then on no commit counts that another client made for the former.
    ///
    /// - Parameters:
    ///   - former: what `identity` says; nil: nothing.
    ///   - key: goes at the same moment, so that nobody takes what is left of the former for the new one.
    ///   - isUnfinished: only if it is gone already.
    /// - Returns: false if it is the former's no more.
    package func succeed(_ former: StoreIdentity?, by next: StoreIdentity, without key: String, isUnfinished: Bool = false) async throws -> Bool {
        let operation = "begin the store's next epoch in etcd"
        let identityKey = EtcdKeyRange(names.identityKey)
        let new = EtcdIdentity(next)
        let delete = EtcdRequest.object { $0.add("request_delete_range", EtcdRequest.object { names.range(of: key).add(to: &$0) }) }
        let answer = try await client.write(
            EtcdRequest.Path.transaction,
            EtcdRequest.transaction(
                compare: [former.map { EtcdRequest.compare(identityKey, isValue: EtcdIdentity($0).text) } ?? EtcdRequest.compare(identityKey, .create, .equal, 0)]
                    + (isUnfinished ? [EtcdRequest.compare(names.range(of: key), .create, .equal, 0)] : []),
                success: [putting(new), delete],
                failure: [EtcdRequest.operation(range: EtcdRequest.range(identityKey))]), operation)
        if answer.isSucceeded { known.withLock { $0 = new } }
        return answer.isSucceeded
    }

    private func putting(_ identity: EtcdIdentity) -> EtcdRequest.Object {
        EtcdRequest.object { object in
            object.add(
                "request_put",
                EtcdRequest.object { put in
                    EtcdKeyRange(names.identityKey).add(to: &put)
                    put.add("value", identity.text)
                })
        }
    }

    // MARK: Reading

    package func list(prefix: String) async throws -> StoreSnapshot {
        let operation = "list the store in etcd"
        try StoreLimits.check(prefix: prefix, for: operation)
        var page = Self.page
        // A second start is for a compaction in the middle of a long list.
        for _ in 0..<3 {
            var range = names.range(below: prefix)
            var revision: UInt64 = 0
            var entries: [StoreEntry] = []
            pages: while true {
                let body = EtcdRequest.range(range, limit: page, at: revision).finished
                let answer: EtcdAnswer
                do {
                    answer = try await client.read(EtcdRequest.Path.range, body, operation)
                } catch let error as StoreError {
                    if page > 1, error.cause.contains("larger than") {
                        page = max(page / 4, 1)
                        continue
                    }
                    if revision > 0, error.cause.contains("has been compacted") { break pages }
                    throw error
                }
                if revision == 0 { revision = answer.header.revision }
                entries += answer.entries.compactMap(names.entry)
                guard answer.hasMore, let last = answer.entries.last else {
                    return StoreSnapshot(revision: Revision(revision), entries: Self.sorted(entries))
                }
                range.start = last.key + [0]
            }
        }
        throw StoreError(
            .overloaded, operation, cause: "etcd was compacted three times while it was read",
            remedy: "Let etcd keep more of its history: --auto-compaction-retention.")
    }

    /// etcd's order is that of the keys' bytes; names of keys that are not the store's may differ from that, and be equal.
    private static func sorted(_ entries: [StoreEntry]) -> [StoreEntry] {
        var isSorted = true
        for (entry, next) in zip(entries, entries.dropFirst()) where entry.key >= next.key { isSorted = false }
        if isSorted { return entries }
        var keys: Set<String> = []
        return entries.filter { keys.insert($0.key).inserted }.sorted { $0.key < $1.key }
    }

    package func watch(prefix: String, after: Revision) -> AsyncThrowingStream<StoreEvent, any Error> {
        do {
            try StoreLimits.check(prefix: prefix, for: "watch the store in etcd")
        } catch {
            return AsyncThrowingStream { throw error }
        }
        let watch = EtcdWatch(client, names, prefix: prefix, after: after.number)
        watches.withLock { $0[ObjectIdentifier(watch)] = watch }
        let handle = EtcdWatchHandle(watch) { [weak self] in
            self?.watches.withLock { $0[ObjectIdentifier(watch)] = nil }
        }
        return AsyncThrowingStream { try await handle.watch.next() }
    }

    // MARK: Writing

    package func commit(_ transaction: StoreTransaction) async throws -> StoreOutcome {
        let operation = "commit a transaction to etcd"
        try StoreLimits.check(transaction)
        try checkKeys(transaction, operation)
        if known.withLock({ $0 }) == nil { _ = try await identity() }
        guard let identity = known.withLock({ $0 }) else { throw EtcdIdentity.missing(operation, key: names.identityKey) }
        let request = EtcdTransaction(transaction, names, identity)
        let answer: EtcdAnswer
        do {
            answer = try await client.write(EtcdRequest.Path.transaction, request.body, operation)
        } catch var error as StoreError where error.code == .invalid && error.remedy.contains("--max-txn-ops") {
            error.cause += " (\(transaction.operations.count) operations, \(transaction.conditions.count) conditions, one of the store's own)"
            throw error
        }
        let outcome = try request.outcome(answer, operation)
        if case .committed(let revision) = outcome, Self.changesNothing(transaction, answer) {
            // No watch will see this revision unless it looks.
            for watch in watches.withLock({ Array($0.values) }) { Task { await watch.look(for: revision.number) } }
        }
        return outcome
    }

    private func checkKeys(_ transaction: StoreTransaction, _ operation: String) throws {
        let isTaken =
            transaction.operations.contains { $0.key == EtcdNames.identity }
            || transaction.conditions.contains { condition in
                switch condition {
                case .absent(let key), .exists(let key), .unchanged(let key, _): key == EtcdNames.identity
                case .quiet: false
                }
            }
        guard !isTaken else {
            throw StoreError(.invalid, operation, cause: "the key \(EtcdNames.identity) is the store's own identity")
        }
    }

    private static func changesNothing(_ transaction: StoreTransaction, _ answer: EtcdAnswer) -> Bool {
        !transaction.operations.contains { if case .put = $0 { true } else { false } }
            && answer.responses.allSatisfy { $0.deleted == 0 }
    }

    // MARK: Leases

    /// etcd's shortest term is about two seconds; a shorter one becomes that.
    package func grantLease(seconds: Int) async throws -> LeaseID {
        try StoreLimits.check(leaseSeconds: seconds)
        let operation = "grant a lease in etcd"
        // May be repeated: a lease that nobody knows of ends by itself.
        let answer = try await client.read(
            EtcdRequest.Path.grant, EtcdRequest.object { $0.add("TTL", UInt64(seconds)) }.finished, operation)
        guard answer.id != 0, answer.term >= UInt64(seconds) else {
            throw StoreError(
                .badAnswer, operation,
                cause: "\(EtcdRequest.Path.grant) answered lease \(answer.id) of \(answer.term) s, asked for \(seconds) s")
        }
        return LeaseID(answer.id)
    }

    package func renewLease(_ lease: LeaseID) async throws {
        let answer = try await client.read(
            EtcdRequest.Path.keepAlive, EtcdRequest.object { $0.add("ID", lease.number) }.finished,
            "renew lease \(lease.number) in etcd")
        guard answer.term > 0 else { throw StoreError.leaseNotFound(lease, "renew") }
    }

    package func revokeLease(_ lease: LeaseID) async throws {
        _ = try await client.write(
            EtcdRequest.Path.revoke, EtcdRequest.object { $0.add("ID", lease.number) }.finished,
            "revoke lease \(lease.number) in etcd")
    }
}
