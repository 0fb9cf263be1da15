/// What Swift cannot import from <sqlite3.h>: SQLITE_TRANSIENT is a cast, so calls that need it are wrapped.
#pragma once
#include <sqlite3.h>

/// Binds a text that SQLite copies before returning.
static inline int sqlite_bind_text_copy(sqlite3_stmt *statement, int index, const char *text, int length) {
    return sqlite3_bind_text(statement, index, text, length, SQLITE_TRANSIENT);
}

/// Binds bytes that SQLite copies before returning; none are an empty blob, not NULL.
static inline int sqlite_bind_blob_copy(sqlite3_stmt *statement, int index, const void *bytes, int length) {
    return length == 0 ? sqlite3_bind_zeroblob(statement, index, 0)
                       : sqlite3_bind_blob(statement, index, bytes, length, SQLITE_TRANSIENT);
}

/// Whether closing leaves the write-ahead log as it is (`on` = 1) or folds it into the database (0).
static inline int sqlite_keep_log_on_close(sqlite3 *database, int on) {
    return sqlite3_db_config(database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on, (int *)0);
}
