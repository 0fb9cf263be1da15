import CSQLite
import Glibc

extension StoreError {
    /// What an SQLite result code means to the user (sqlite.org/rescode.html).
    init(sqlite code: Int32, connection: OpaquePointer?, _ operation: String) {
        let system = connection.map { sqlite3_system_errno($0) } ?? 0
        var cause = connection.map { String(cString: sqlite3_errmsg($0)) } ?? String(cString: sqlite3_errstr(code))
        if system != 0 { cause += " (\(String(cString: strerror(system))))" }
        self.init(Self.code(sqlite: code, system: system), operation, cause: cause)
    }

    private static func code(sqlite code: Int32, system: Int32) -> Code {
        switch (code & 0xFF, system) {
        case (SQLITE_FULL, _), (SQLITE_IOERR, ENOSPC), (SQLITE_IOERR, EDQUOT): return .full
        case (SQLITE_BUSY, _), (SQLITE_LOCKED, _): return .locked
        case (SQLITE_CORRUPT, _): return .corrupt
        case (SQLITE_NOTADB, _): return .foreign
        case (SQLITE_READONLY, _), (SQLITE_CANTOPEN, EROFS), (SQLITE_IOERR, EROFS): return .readOnly
        case (SQLITE_PERM, _), (SQLITE_AUTH, _), (SQLITE_CANTOPEN, EACCES), (SQLITE_CANTOPEN, EPERM): return .permission
        case (SQLITE_CANTOPEN, ENOENT): return .missing
        default: return .inputOutput
        }
    }

    /// What a failed system call on a file means to the user.
    init(errno code: Int32, _ operation: String) {
        let kind: Code =
            switch code {
            case ENOENT: .missing
            case EACCES, EPERM: .permission
            case EROFS: .readOnly
            case ENOSPC, EDQUOT: .full
            default: .inputOutput
            }
        self.init(kind, operation, cause: String(cString: strerror(code)))
    }
}
