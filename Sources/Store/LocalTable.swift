import Synchronization

/// A small durable table of the agent's own: keys with JSON values, in one SQLite file that one process holds.
///
/// A write survives the process as soon as the call returns. A power loss may take the last ones back, in order and
/// whole: it ends the containers whose state they are, too. Calls are synchronous, take some ten microseconds and may
/// come from any thread.
package final class LocalTable: Sendable {
    package enum Change: Hashable, Sendable {
        case put(key: String, value: [UInt8])
        case delete(key: String)
    }

    private let rows: any TableRows

    /// - Parameter create: makes the file where there is none or an empty one; otherwise that is the error `missing`.
    package init(path: String, create: Bool = true) throws {
        rows = try SQLiteRows(path: path, create: create)
    }

    /// Rows in memory, which outlive whoever wrote them as long as somebody has the table.
    ///
    /// - Parameter hook: called before each write; what it throws fails that write. For tests.
    package init(inMemory hook: @escaping @Sendable ([Change]) throws -> Void) { rows = MemoryRows(hook) }

    /// Everything below a prefix, sorted by key.
    package func all(_ prefix: String = "") throws -> [(key: String, value: [UInt8])] { try rows.all(prefix) }
    package func value(_ key: String) throws -> [UInt8]? { try rows.value(key) }
    package func put(_ key: String, _ value: [UInt8]) throws { try rows.apply([.put(key: key, value: value)]) }
    package func delete(_ key: String) throws { try rows.apply([.delete(key: key)]) }
    /// All of the changes in their order, or none.
    package func apply(_ changes: [Change]) throws { try rows.apply(changes) }
    /// On the disk when it returns: what was written so far survives the loss of power too.
    package func sync() throws { try rows.sync() }
}

private protocol TableRows: Sendable {
    func all(_ prefix: String) throws -> [(key: String, value: [UInt8])]
    func value(_ key: String) throws -> [UInt8]?
    func apply(_ changes: [LocalTable.Change]) throws
    func sync() throws
}

private final class MemoryRows: TableRows {
    private let rows = Mutex<[String: [UInt8]]>([:])
    private let hook: @Sendable ([LocalTable.Change]) throws -> Void

    init(_ hook: @escaping @Sendable ([LocalTable.Change]) throws -> Void) { self.hook = hook }

    func all(_ prefix: String) -> [(key: String, value: [UInt8])] {
        rows.withLock { $0.filter { $0.key.hasPrefix(prefix) }.sorted { $0.key < $1.key } }.map { ($0.key, $0.value) }
    }
    func value(_ key: String) -> [UInt8]? { rows.withLock { $0[key] } }
    func apply(_ changes: [LocalTable.Change]) throws {
        try hook(changes)
        rows.withLock { rows in
            for change in changes {
                switch change {
                case .put(let key, let value): rows[key] = value
                case .delete(let key): rows[key] = nil
                }
            }
        }
    }
    func sync() {}
}

private final class SQLiteRows: TableRows {
    private let file: Mutex<TableFile>

    init(path: String, create: Bool) throws { file = Mutex(try TableFile.open(path: path, create: create)) }

    func all(_ prefix: String) throws -> [(key: String, value: [UInt8])] {
        try file.withLock { file in
            var found: [(key: String, value: [UInt8])] = []
            // Key by key from the prefix on; LIKE would need its wildcards escaped.
            try file.from.rows(.text(prefix)) { row in
                let key = row.text(0)
                if key.hasPrefix(prefix) { found.append((key, row.bytes(1))) }
            }
            return found
        }
    }

    func value(_ key: String) throws -> [UInt8]? {
        try file.withLock { file in
            var found: [UInt8]?
            try file.get.rows(.text(key)) { row in found = row.bytes(0) }
            return found
        }
    }

    func sync() throws {
        try file.withLock { file in try file.database.execute("PRAGMA wal_checkpoint(FULL)") }
    }

    func apply(_ changes: [LocalTable.Change]) throws {
        try file.withLock { file in
            // One statement is a transaction by itself.
            if changes.count == 1 { return try file.run(changes[0]) }
            try file.database.transaction { for change in changes { try file.run(change) } }
        }
    }
}

private struct TableFile: ~Copyable {
    let database: Database
    let from: Statement
    let get: Statement
    let put: Statement
    let delete: Statement

    borrowing func run(_ change: LocalTable.Change) throws {
        switch change {
        case .put(let key, let value): try put.run(.text(key), .blob(value))
        case .delete(let key): try delete.run(.text(key))
        }
    }

    static func open(path: String, create: Bool) throws -> TableFile {
        let layout = DatabaseLayout(
            application: 0x546C_4C74,  // "TlLt"
            format: 1,
            tables: "CREATE TABLE items (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;",
            survivesPowerLoss: false,
            name: "state file")
        let database = try Database.open(path: path, layout: layout, create: create) { _ in }
        let from = try Statement(database, "SELECT key, value FROM items WHERE key >= ? ORDER BY key")
        let get = try Statement(database, "SELECT value FROM items WHERE key = ?")
        let put = try Statement(database, "INSERT OR REPLACE INTO items VALUES (?, ?)")
        let delete = try Statement(database, "DELETE FROM items WHERE key = ?")
        return TableFile(database: database, from: from, get: get, put: put, delete: delete)
    }
}
