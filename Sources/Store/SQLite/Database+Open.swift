import CSQLite
import Glibc

/// What distinguishes one kind of our files from another and from those of others.
struct DatabaseLayout {
    /// SQLite's `application_id`, four letters.
    var application: Int32
    /// Grows when an older version could no longer read the file rightly.
    var format: Int64
    var tables: String
    /// Whether a commit survives a power loss (`synchronous=FULL`), or the death of the process only (`NORMAL`).
    var survivesPowerLoss: Bool
    /// As errors call it.
    var name: String
}

/// How a file is opened, in this order, so that a file that is not wholly ours and sound stays as it is:
/// it exists and may be written · it is an SQLite file that no other process holds · it is ours · its format is known ·
/// it passes SQLite's integrity check. Only then is it used.
extension Database {
    /// - Parameters:
    ///   - create: makes the file, or fills an empty one, where nothing is.
    ///   - fill: writes the first rows of a new file.
    static func open(
        path: String, layout: DatabaseLayout, create: Bool, fill: (borrowing Database) throws -> Void
    ) throws -> Database {
        let operation = "open the \(layout.name) \(path)"
        try checkFile(path, create: create, operation)
        do {
            let database = try Database(existing: path)
            try database.takeIntoUse(layout, create: create, operation, fill: fill)
            return database
        } catch var error as StoreError {
            error.operation = operation
            throw error
        }
    }

    private func takeIntoUse(
        _ layout: DatabaseLayout, create: Bool, _ operation: String, fill: (borrowing Database) throws -> Void
    ) throws {
        sqlite_keep_log_on_close(handle, 1)
        // One owner, and no memory shared through a second file.
        _ = try value("PRAGMA locking_mode = EXCLUSIVE")
        guard sqlite3_db_readonly(handle, "main") == 0 else {
            throw StoreError(.readOnly, operation, cause: "it cannot be opened for writing")
        }
        if try isEmpty(layout, operation) {
            guard create else { throw StoreError(.missing, operation, cause: "the file is empty") }
            try prepareForWriting(layout, operation)
            try transaction {
                try execute(layout.tables)
                try execute("CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value NOT NULL) WITHOUT ROWID")
                try setMeta("format", .integer(layout.format))
                try fill(self)
                try execute("PRAGMA application_id = \(layout.application)")
            }
        } else {
            try checkContents(layout, operation)
            try prepareForWriting(layout, operation)
        }
        sqlite_keep_log_on_close(handle, 0)
    }

    /// - Important: no descriptor of an existing file may be opened and closed beside SQLite: that would drop its locks
    ///   (`man 2 fcntl_locking`, "record locks are released").
    private static func checkFile(_ path: String, create: Bool, _ operation: String) throws {
        let separator = path.lastIndex(of: "/")
        let directory = separator.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        var status = stat()
        if stat(path, &status) == 0 {
            guard status.st_mode & S_IFMT == S_IFREG else {
                throw StoreError(.foreign, operation, cause: "it is not a regular file")
            }
            guard access(path, R_OK | W_OK) == 0 else { throw StoreError(errno: errno, operation) }
        } else {
            guard errno == ENOENT else { throw StoreError(errno: errno, operation) }
            guard create else { throw StoreError(.missing, operation, cause: "there is no such file") }
            if stat(path + "-wal", &status) == 0, status.st_size > 0 {
                throw StoreError(
                    .corrupt, operation, cause: "the file is gone, but its log \(path)-wal is still there")
            }
        }
        // The log is made beside the file.
        guard access(directory, W_OK | X_OK) == 0 else {
            var error = StoreError(errno: errno, operation)
            error.cause += " (its directory \(directory))"
            throw error
        }
        if stat(path, &status) != 0 { try makeFile(path, in: directory, operation) }
    }

    /// An empty file that only its owner may read, and whose name survives a power loss.
    private static func makeFile(_ path: String, in directory: String, _ operation: String) throws {
        let file = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw StoreError(errno: errno, operation) }
        Glibc.close(file)
        let parent = Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard parent >= 0 else { throw StoreError(errno: errno, operation) }
        defer { Glibc.close(parent) }
        guard fsync(parent) == 0 else { throw StoreError(errno: errno, operation) }
    }

    /// Whether the file has no tables at all. This first read takes SQLite's lock and checks the file's header.
    private func isEmpty(_ layout: DatabaseLayout, _ operation: String) throws -> Bool {
        let tables = try value("SELECT count(*) FROM sqlite_schema")
        let application = try value("PRAGMA application_id")
        if tables == "0", application == "0" { return true }
        guard application == String(layout.application) else {
            throw StoreError(.foreign, operation, cause: "it is an SQLite file of another program or purpose")
        }
        return false
    }

    private func checkContents(_ layout: DatabaseLayout, _ operation: String) throws {
        guard let format = try meta("format")?.integer else {
            throw StoreError(.corrupt, operation, cause: "it does not say its format")
        }
        guard format <= layout.format else {
            throw StoreError(.newerFormat, operation, cause: "its format is \(format), this version reads \(layout.format)")
        }
        let verdict = try value("PRAGMA integrity_check(1)")
        guard verdict == "ok" else {
            throw StoreError(.corrupt, operation, cause: verdict ?? "the integrity check gives no answer")
        }
    }

    private func prepareForWriting(_ layout: DatabaseLayout, _ operation: String) throws {
        guard try value("PRAGMA journal_mode = WAL") == "wal" else {
            throw StoreError(.inputOutput, operation, cause: "the file system does not permit a write-ahead log")
        }
        try execute("PRAGMA synchronous = \(layout.survivesPowerLoss ? "FULL" : "NORMAL")")
        // KiB: the state is in memory already, the file is only written.
        _ = try value("PRAGMA cache_size = -256")
        // A log that once grew is cut when it is folded in.
        _ = try value("PRAGMA journal_size_limit = \(8 << 20)")
        // Takes the lock that is kept until the end.
        try execute("BEGIN EXCLUSIVE; COMMIT")
    }

    // MARK: The meta table

    struct MetaValue {
        var text: String
        var integer: Int64
    }

    func meta(_ name: String) throws -> MetaValue? {
        var found: MetaValue?
        try Statement(self, "SELECT value FROM meta WHERE name = ?").rows(.text(name)) { row in
            found = MetaValue(text: row.text(0), integer: row.integer(0))
        }
        return found
    }

    func setMeta(_ name: String, _ value: SQLiteValue) throws {
        try Statement(self, "INSERT OR REPLACE INTO meta VALUES (?, ?)").run(.text(name), value)
    }
}
