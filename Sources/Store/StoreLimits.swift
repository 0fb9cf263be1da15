/// The store's bounds, the same for every implementation, and the checks that hold callers to them.
package enum StoreLimits {
    /// Bytes of a key; printable ASCII (0x20...0x7E).
    package static let keyBytes = 1024
    /// Bytes of a value; UTF-8, by convention JSON.
    package static let valueBytes = 512 * 1024
    package static let operations = 512
    package static let conditions = 512
    /// Bytes of all keys and values of one transaction. As JSON they may become twice that, which a server must accept.
    package static let transactionBytes = 4 * 1024 * 1024
    /// A lease's term.
    package static let leaseSeconds = 1...604_800
    package static let leases = 65_536
    /// Requests that wait for the journal at once.
    package static let waiting = 8_192
}

extension StoreLimits {
    static func check(prefix: String, for operation: String) throws {
        guard prefix.utf8.count <= keyBytes, prefix.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else {
            throw StoreError(
                .invalid, operation, cause: "the prefix is longer than \(keyBytes) bytes or not printable ASCII")
        }
    }

    static func check(leaseSeconds seconds: Int) throws {
        guard leaseSeconds.contains(seconds) else {
            throw StoreError(
                .invalid, "grant a lease",
                cause: "its term of \(seconds) s is not in \(leaseSeconds.lowerBound)…\(leaseSeconds.upperBound) s")
        }
    }

    static func check(_ transaction: StoreTransaction) throws {
        func refuse(_ cause: String) -> StoreError { StoreError(.invalid, "commit a transaction", cause: cause) }
        func checkKey(_ key: String) throws {
            guard !key.isEmpty, key.utf8.count <= keyBytes, key.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else {
                throw refuse("a key is empty, longer than \(keyBytes) bytes or not printable ASCII")
            }
        }

        guard transaction.operations.count <= operations, transaction.conditions.count <= conditions else {
            throw refuse("it has more than \(operations) operations or \(conditions) conditions")
        }
        for condition in transaction.conditions {
            switch condition {
            case .absent(let key), .exists(let key), .unchanged(let key, _): try checkKey(key)
            case .quiet(let prefix, _): try check(prefix: prefix, for: "commit a transaction")
            }
        }
        var keys: Set<String> = []
        var bytes = 0
        for operation in transaction.operations {
            try checkKey(operation.key)
            guard keys.insert(operation.key).inserted else {
                throw refuse("the key \(operation.key) appears in more than one operation")
            }
            bytes += operation.key.utf8.count
            guard case .put(_, let value, _) = operation else { continue }
            guard value.count <= valueBytes else {
                throw refuse("the value of \(operation.key) has \(value.count) bytes, more than \(valueBytes)")
            }
            guard String(validating: value, as: UTF8.self) != nil else {
                throw refuse("the value of \(operation.key) is not UTF-8")
            }
            bytes += value.count
        }
        guard bytes <= transactionBytes else {
            throw refuse("its keys and values have \(bytes) bytes, more than \(transactionBytes)")
        }
    }
}

extension StoreOperation {
    var key: String {
        switch self {
        case .put(let key, _, _), .delete(let key): return key
        }
    }
}

extension StoreChange {
    var key: String {
        switch self {
        case .put(let entry): return entry.key
        case .delete(let key, _): return key
        }
    }

    var revision: Revision {
        switch self {
        case .put(let entry): return entry.modified
        case .delete(_, let revision): return revision
        }
    }
}
