import Dispatch
import Glibc
import Synchronization

/// The embedded store's file: entries, leases and the store's counters, as of the last acknowledged change.
///
/// SQLite runs on a thread of its own, because fsync may take long and must not hold up the pool of Swift's tasks.
package final class SQLiteJournal: Journal {
    /// The steps of making one delta durable, in order.
    package enum Step: Hashable, Sendable {
        case begin, put, delete, lease, meta, commit
        /// Durable, but not yet acknowledged.
        case committed
    }
    package typealias Hook = @Sendable (Step) throws -> Void

    private let file: Mutex<JournalFile?>
    private let queue = DispatchQueue(label: "tulle.store")
    private let hook: Hook

    private init(file: consuming sending JournalFile, hook: @escaping Hook) {
        self.file = Mutex(file)
        self.hook = hook
    }

    static func open(
        path: String, create: Bool, maximumBytes: Int, hook: @escaping Hook
    ) async throws -> (SQLiteJournal, JournalContents) {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue(label: "tulle.store.open").async {
                continuation.resume(
                    with: Result {
                        let file = try JournalFile.open(path: path, create: create, maximumBytes: maximumBytes)
                        let contents = try file.contents()
                        return (SQLiteJournal(file: file, hook: hook), contents)
                    })
            }
        }
    }

    /// Makes the file of a store that begins with these contents; what the path names already is replaced, whole or not at all.
    static func make(path: String, _ contents: JournalContents) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            DispatchQueue(label: "tulle.store.make").async { continuation.resume(with: Result { try JournalFile.make(path: path, contents) }) }
        }
    }

    package func append(_ delta: StateDelta) async throws {
        try await onOwnThread { file in
            guard file != nil else {
                throw StoreError(.closed, "write to the store", cause: "its file was closed")
            }
            try file?.write(delta, hook: self.hook)
        }
    }

    package func close() async {
        // Closing folds the log into the file; it cannot fail in a way that loses something.
        try? await onOwnThread { file in file = nil }
    }

    private func onOwnThread(_ work: @escaping @Sendable (inout JournalFile?) throws -> Void) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            queue.async { continuation.resume(with: Result { try self.file.withLock { try work(&$0) } }) }
        }
    }
}

/// The open file with its prepared statements.
private struct JournalFile: ~Copyable {
    private let database: Database
    private let put: Statement
    private let delete: Statement
    private let grant: Statement
    private let end: Statement
    private let setMeta: Statement

    static let layout = DatabaseLayout(
        application: 0x546C_5374,  // "TlSt"
        format: 1,
        tables: """
            CREATE TABLE entries (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, created INTEGER NOT NULL,
                modified INTEGER NOT NULL, lease INTEGER);
            CREATE TABLE leases (id INTEGER PRIMARY KEY NOT NULL, seconds INTEGER NOT NULL);
            """,
        survivesPowerLoss: true,
        name: "store")

    /// In a file beside it that takes its name when it is complete and on the disk.
    static func make(path: String, _ contents: JournalContents) throws {
        let draft = path + ".new"
        for suffix in ["", "-wal", "-shm", "-journal"] { unlink(draft + suffix) }
        try fill(draft, contents)
        // The log of the file before would be taken for this one's.
        unlink(path + "-wal")
        guard rename(draft, path) == 0 else { throw StoreError(errno: errno, "make the store \(path)") }
        let directory = Glibc.open(path.lastIndex(of: "/").map { String(path[...$0]) } ?? ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if directory >= 0 {
            fsync(directory)
            Glibc.close(directory)
        }
    }

    private static func fill(_ path: String, _ contents: JournalContents) throws {
        let file = try open(path: path, create: true, maximumBytes: 1 << 30, first: contents)
        try file.write(
            StateDelta(
                revision: contents.revision, lastLease: contents.lastLease,
                revisions: [RevisionChanges(revision: contents.revision, changes: contents.entries.map { .put($0) })]),
            hook: { _ in })
    }

    static func open(path: String, create: Bool, maximumBytes: Int, first contents: JournalContents? = nil) throws -> JournalFile {
        let database = try Database.open(path: path, layout: layout, create: create) { database in
            let identity = contents?.identity ?? StoreIdentity.new()
            try database.setMeta("cluster", .text(identity.cluster))
            try database.setMeta("epoch", .number(identity.epoch))
            try database.setMeta("revision", .integer(0))
            try database.setMeta("lease", .integer(0))
        }
        let page = try database.value("PRAGMA page_size").flatMap { Int($0) } ?? 4096
        _ = try database.value("PRAGMA max_page_count = \(max(1, maximumBytes / page))")
        let put = try Statement(database, "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)")
        let delete = try Statement(database, "DELETE FROM entries WHERE key = ?")
        let grant = try Statement(database, "INSERT INTO leases VALUES (?, ?)")
        let end = try Statement(database, "DELETE FROM leases WHERE id = ?")
        let setMeta = try Statement(database, "UPDATE meta SET value = ?2 WHERE name = ?1")
        return JournalFile(
            database: database, put: put, delete: delete, grant: grant, end: end, setMeta: setMeta)
    }

    // MARK: Reading

    func contents() throws -> JournalContents {
        func damaged(_ cause: String) -> StoreError {
            StoreError(.corrupt, "open the store \(database.path)", cause: cause)
        }
        func number(_ name: String) throws -> UInt64 {
            guard let value = try database.meta(name) else { throw damaged("it has no \(name)") }
            return UInt64(bitPattern: value.integer)
        }
        guard let cluster = try database.meta("cluster")?.text, !cluster.isEmpty else {
            throw damaged("it does not say its cluster")
        }
        let revision = Revision(try number("revision"))
        var leases: [LeaseID: Int] = [:]
        try Statement(database, "SELECT id, seconds FROM leases").rows { row in
            leases[LeaseID(row.number(0))] = Int(row.integer(1))
        }
        var entries: [StoreEntry] = []
        try Statement(database, "SELECT key, value, created, modified, lease FROM entries ORDER BY key").rows { row in
            let entry = StoreEntry(
                key: row.text(0), value: row.bytes(1), created: Revision(row.number(2)),
                modified: Revision(row.number(3)), lease: row.isNull(4) ? nil : LeaseID(row.number(4)))
            guard entry.created <= entry.modified, entry.modified <= revision,
                entry.lease.map({ leases[$0] != nil }) ?? true
            else { throw damaged("the entry \(entry.key) contradicts the rest") }
            entries.append(entry)
        }
        return JournalContents(
            identity: StoreIdentity(cluster: cluster, epoch: try number("epoch")), revision: revision,
            lastLease: try number("lease"), entries: entries, leases: leases)
    }

    // MARK: Writing

    func write(_ delta: StateDelta, hook: SQLiteJournal.Hook) throws {
        try hook(.begin)
        try database.transaction {
            for (id, lease) in delta.granted {
                try hook(.lease)
                try grant.run(.number(id.number), .integer(Int64(lease.seconds)))
            }
            for change in delta.revisions.lazy.flatMap(\.changes) { try write(change, hook: hook) }
            for id in delta.ended {
                try hook(.lease)
                try end.run(.number(id.number))
            }
            try hook(.meta)
            try setMeta.run(.text("revision"), .number(delta.revision.number))
            try setMeta.run(.text("lease"), .number(delta.lastLease))
            try hook(.commit)
        }
        try hook(.committed)
    }

    private func write(_ change: StoreChange, hook: SQLiteJournal.Hook) throws {
        switch change {
        case .put(let entry):
            try hook(.put)
            try put.run(
                .text(entry.key), .blob(entry.value), .number(entry.created.number), .number(entry.modified.number),
                entry.lease.map { .number($0.number) } ?? .null)
        case .delete(let key, _):
            try hook(.delete)
            try delete.run(.text(key))
        }
    }
}
