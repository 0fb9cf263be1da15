import CSQLite

/// One connection to an SQLite file, used by one thread at a time; closed when it goes out of scope.
struct Database: ~Copyable {
    let handle: OpaquePointer
    let path: String

    /// Opens a file that exists; it changes nothing in it. `Database.open` makes the checks.
    init(existing path: String) throws {
        var handle: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        let code = sqlite3_open_v2(path, &handle, flags, nil)
        guard let handle, code == SQLITE_OK else {
            let error = StoreError(sqlite: code, connection: handle, "open \(path)")
            sqlite3_close_v2(handle)
            throw error
        }
        self.handle = handle
        self.path = path
    }

    /// Statements may still be alive; the connection then ends with the last of them.
    deinit { sqlite3_close_v2(handle) }

    /// Runs statements that return nothing of interest.
    func execute(_ sql: String) throws {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw StoreError(sqlite: code, connection: handle, "write to \(path)") }
    }

    /// The first column of the first row, as text.
    func value(_ sql: String) throws -> String? {
        var found: String?
        try Statement(self, sql).rows { row in if found == nil { found = row.text(0) } }
        return found
    }

    /// Runs the body in one transaction: all of it is durable afterwards, or nothing of it was done.
    func transaction(_ body: () throws -> Void) throws {
        try execute("BEGIN IMMEDIATE")
        do {
            try body()
            try execute("COMMIT")
        } catch {
            // Some errors, as a full disk, have rolled back already (`sqlite3_get_autocommit`).
            if sqlite3_get_autocommit(handle) == 0 { sqlite3_exec(handle, "ROLLBACK", nil, nil, nil) }
            throw error
        }
    }
}

enum SQLiteValue {
    case text(String)
    case blob([UInt8])
    case integer(Int64)
    case null

    /// Numbers up to 2^63 keep their order.
    static func number(_ number: UInt64) -> SQLiteValue { .integer(Int64(bitPattern: number)) }
}

/// A prepared statement, finalized when it goes out of scope.
struct Statement: ~Copyable {
    private let handle: OpaquePointer

    init(_ database: borrowing Database, _ sql: String) throws {
        var handle: OpaquePointer?
        let code = sqlite3_prepare_v3(database.handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &handle, nil)
        guard let handle, code == SQLITE_OK else {
            throw StoreError(sqlite: code, connection: database.handle, "read \(database.path)")
        }
        self.handle = handle
    }

    deinit { sqlite3_finalize(handle) }

    /// Runs the statement with its parameters in order and hands each row to the body.
    func rows(_ values: SQLiteValue..., body: (borrowing Row) throws -> Void) throws {
        defer {
            sqlite3_reset(handle)
            sqlite3_clear_bindings(handle)
        }
        for (index, value) in values.enumerated() { try check(bind(value, at: Int32(index + 1)), SQLITE_OK) }
        while true {
            let code = sqlite3_step(handle)
            if code == SQLITE_DONE { return }
            try check(code, SQLITE_ROW)
            try body(Row(handle: handle))
        }
    }

    func run(_ values: SQLiteValue...) throws {
        defer {
            sqlite3_reset(handle)
            sqlite3_clear_bindings(handle)
        }
        for (index, value) in values.enumerated() { try check(bind(value, at: Int32(index + 1)), SQLITE_OK) }
        try check(sqlite3_step(handle), SQLITE_DONE)
    }

    private func bind(_ value: SQLiteValue, at index: Int32) -> Int32 {
        switch value {
        case .text(let text): return sqlite_bind_text_copy(handle, index, text, Int32(text.utf8.count))
        case .blob(let bytes): return sqlite_bind_blob_copy(handle, index, bytes, Int32(bytes.count))
        case .integer(let number): return sqlite3_bind_int64(handle, index, number)
        case .null: return sqlite3_bind_null(handle, index)
        }
    }

    private func check(_ code: Int32, _ wanted: Int32) throws {
        guard code != wanted else { return }
        let connection = sqlite3_db_handle(handle)
        let path = sqlite3_db_filename(connection, "main").map { String(cString: $0) } ?? "the database"
        throw StoreError(sqlite: code, connection: connection, "use \(path)")
    }
}

/// The current row of a statement; valid until the next.
struct Row: ~Copyable {
    fileprivate let handle: OpaquePointer

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }
    func number(_ column: Int32) -> UInt64 { UInt64(bitPattern: integer(column)) }
    func isNull(_ column: Int32) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }
    func text(_ column: Int32) -> String { String(decoding: bytes(column), as: UTF8.self) }

    func bytes(_ column: Int32) -> [UInt8] {
        // The pointer must be asked for before the length (sqlite.org/c3ref/column_blob.html).
        guard let start = sqlite3_column_blob(handle, column) else { return [] }
        return Array(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column))))
    }
}
