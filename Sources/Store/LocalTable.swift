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

    private let file: Mutex<TableFile>

    /// - Parameter create: makes the file where there is none or an empty one; otherwise that is the error `missing`.
    package init(path: String, create: Bool = true) throws {
        file = Mutex(try TableFile.open(path: path, create: create))
    }

    /// Everything below a prefix, sorted by key.
    package func all(_ prefix: String = "") throws -> [(key: String, value: [UInt8])] {
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

    package func value(_ key: String) throws -> [UInt8]? {
        try file.withLock { file in
            var found: [UInt8]?
            try file.get.rows(.text(key)) { row in found = row.bytes(0) }
            return found
        }
    }

    package func put(_ key: String, _ value: [UInt8]) throws {
        try file.withLock { file in try file.put.run(.text(key), .blob(value)) }
    }

    package func delete(_ key: String) throws {
        try file.withLock { file in try file.delete.run(.text(key)) }
    }

    /// On the disk when it returns: what was written so far survives the loss of power too.
    package func sync() throws {
        try file.withLock { file in try file.database.execute("PRAGMA wal_checkpoint(FULL)") }
    }

    /// All of the changes in their order, or none.
    package func apply(_ changes: [Change]) throws {
        try file.withLock { file in
            try file.database.transaction {
                for change in changes {
                    switch change {
                    case .put(let key, let value): try file.put.run(.text(key), .blob(value))
                    case .delete(let key): try file.delete.run(.text(key))
                    }
                }
            }
        }
    }
}

private struct TableFile: ~Copyable {
    let database: Database
    let from: Statement
    let get: Statement
    let put: Statement
    let delete: Statement

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
