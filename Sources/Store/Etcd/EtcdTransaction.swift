/// A transaction as etcd's: conditions are compares, operations are what happens on success, and on failure, at the same
/// revision, everything is read that tells which condition failed. The first compare of all is with the store's identity.
struct EtcdTransaction {
    private struct Check {
        var condition: StoreCondition
        /// Where its answers are among the failure's.
        var responses: Range<Int>
    }

    private let names: EtcdNames
    private let identity: EtcdIdentity
    private var checks: [Check] = []
    private(set) var body: [UInt8] = []

    init(_ transaction: StoreTransaction, _ names: EtcdNames, _ identity: EtcdIdentity) {
        self.names = names
        self.identity = identity
        let identityKey = EtcdKeyRange(names.identityKey)
        var compares = [EtcdRequest.compare(identityKey, isValue: identity.text)]
        var ranges = [EtcdRequest.operation(range: EtcdRequest.range(identityKey))]

        for condition in transaction.conditions {
            let first = ranges.count
            switch condition {
            case .absent(let key):
                compares.append(EtcdRequest.compare(names.range(of: key), .create, .equal, 0))
                ranges.append(Self.look(names.range(of: key)))
            case .exists(let key):
                compares.append(EtcdRequest.compare(names.range(of: key), .create, .greater, 0))
                ranges.append(Self.look(names.range(of: key)))
            case .unchanged(let key, let since):
                // What is not there counts as modified at 0.
                if since == .zero { compares.append(EtcdRequest.compare(names.range(of: key), .create, .greater, 0)) }
                compares.append(EtcdRequest.compare(names.range(of: key), .modified, .equal, since.number))
                ranges.append(Self.look(names.range(of: key)))
            case .quiet(let prefix, let since):
                let next = min(since.number, UInt64(Int64.max) - 1) + 1
                for range in names.rangesWithoutIdentity(below: prefix) {
                    compares.append(EtcdRequest.compare(range, .modified, .less, next))
                    ranges.append(Self.look(range, modifiedFrom: next))
                }
            }
            checks.append(Check(condition: condition, responses: first..<ranges.count))
        }

        let operations = transaction.operations.map { operation in
            EtcdRequest.object { object in
                switch operation {
                case .put(let key, let value, let lease):
                    object.add(
                        "request_put",
                        EtcdRequest.object { put in
                            names.range(of: key).add(to: &put)
                            put.add("value", value)
                            if let lease { put.add("lease", lease.number) }
                        })
                case .delete(let key):
                    object.add("request_delete_range", EtcdRequest.object { names.range(of: key).add(to: &$0) })
                }
            }
        }
        body = EtcdRequest.transaction(compare: compares, success: operations, failure: ranges)
    }

    private static func look(_ range: EtcdKeyRange, modifiedFrom: UInt64 = 0) -> EtcdRequest.Object {
        EtcdRequest.operation(range: EtcdRequest.range(range, limit: 1, modifiedFrom: modifiedFrom, keysOnly: true))
    }

    /// - Throws: when it failed because the store is not the one that it was.
    func outcome(_ answer: EtcdAnswer, _ operation: String) throws -> StoreOutcome {
        guard !answer.isSucceeded else { return .committed(Revision(answer.header.revision)) }
        guard let present = answer.responses.first else { throw contradiction(operation) }
        guard let entry = present.entries.first else { throw EtcdIdentity.missing(operation, key: names.identityKey) }
        guard entry.value == identity.text else {
            let found = try EtcdIdentity(reading: entry.value, key: names.identityKey).identity
            throw StoreError(
                .foreign, operation,
                cause: "etcd has the store of cluster \(found.cluster), epoch \(found.epoch), and before it was "
                    + "\(identity.identity.cluster), epoch \(identity.identity.epoch)",
                remedy: "Check etcd's address and prefix; nothing was written.")
        }
        for check in checks {
            guard answer.responses.indices.contains(check.responses.upperBound - 1) else { throw contradiction(operation) }
            let entries = answer.responses[check.responses].flatMap(\.entries)
            let holds =
                switch check.condition {
                case .absent, .quiet: entries.isEmpty
                case .exists: !entries.isEmpty
                case .unchanged(_, let since): entries.first.map { $0.modified == since.number } ?? false
                }
            if !holds { return .conflict(check.condition) }
        }
        throw contradiction(operation)
    }

    private func contradiction(_ operation: String) -> StoreError {
        StoreError(
            .badAnswer, operation, cause: "etcd refused the transaction's conditions, and shows none that failed",
            remedy: "Check that the address is one of etcd 3.4 or later, and its log.")
    }
}
