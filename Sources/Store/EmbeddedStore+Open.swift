import Glibc
package import Logging
import TLS

extension EmbeddedStore {
    /// Opens the store in a file, whose directory exists.
    ///
    /// - Parameters:
    ///   - create: makes a new store, with a new cluster id, if there is no file or an empty one. If false that is the
    ///     error `missing`: an agent that knows a cluster must never begin another one silently.
    ///   - maximumBytes: the largest size of the file; writes beyond it fail with `full`.
    ///   - hook: called before each step of writing; what it throws fails that write. For tests.
    package static func open(
        path: String, create: Bool, maximumBytes: Int = 1 << 30, now: @escaping Time = bootTime,
        log: Logger = Logger(label: "store"), hook: @escaping SQLiteJournal.Hook = { _ in }
    ) async throws -> EmbeddedStore {
        let (journal, contents) = try await SQLiteJournal.open(
            path: path, create: create, maximumBytes: maximumBytes, hook: hook)
        let state = KeyValueState(contents, now: now())
        let store = EmbeddedStore(contents.identity, state, journal: journal, now: now, log: log)
        await store.start()
        return store
    }

    /// Makes the file of a store that begins as a copy of another one. What was there is replaced, as a whole.
    ///
    /// - Parameter snapshot: its entries become keys of no lease, created and modified at its revision.
    package static func make(path: String, _ identity: StoreIdentity, _ snapshot: StoreSnapshot) async throws {
        let entries = snapshot.entries.map {
            StoreEntry(key: $0.key, value: $0.value, created: snapshot.revision, modified: snapshot.revision, lease: nil)
        }
        try await SQLiteJournal.make(
            path: path,
            JournalContents(identity: identity, revision: snapshot.revision, lastLease: 0, entries: entries, leases: [:]))
    }

    /// Nanoseconds of CLOCK_BOOTTIME, which nobody can set and which counts while the machine sleeps
    /// (`man 2 clock_gettime`).
    package static let bootTime: Time = {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}

extension StoreIdentity {
    /// A cluster that nobody else has: a random UUID (RFC 9562 section 5.4), epoch 1.
    package static func new() -> StoreIdentity {
        var bytes = Cryptography.random(16)
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        let digits = Array(Digest.hexadecimal(bytes))
        let groups = [0..<8, 8..<12, 12..<16, 16..<20, 20..<32].map { String(digits[$0]) }
        return StoreIdentity(cluster: groups.joined(separator: "-"), epoch: 1)
    }
}
