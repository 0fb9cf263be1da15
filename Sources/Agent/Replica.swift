/// The node's durable copy of what it last read of the store, and of which store that was.
import Dispatch
import Fabric
import Glibc
package import Logging
package import Store
import Synchronization

package final class Replica: Sendable {
    private let table: LocalTable
    private let log: Logger
    /// Changes could not be written: later ones must not follow them, for the copy stands at one revision.
    private let hasGap = Mutex(false)

    package convenience init(path: String, log: Logger) throws { self.init(try LocalTable(path: path), log: log) }

    /// - Parameter table: that nobody else has.
    package init(_ table: LocalTable, log: Logger) {
        self.table = table
        self.log = log
    }

    /// Fills the view; returns the revision it stands at.
    func load(into view: inout ClusterView) throws -> Revision {
        for object in Self.decode(try table.all("item/")) { _ = view.set(object) }
        // Signs of life are not to be believed from yesterday.
        view.alive = []
        guard let text = try table.value("revision"), let number = UInt64(String(decoding: text, as: UTF8.self))
        else { return .zero }
        return Revision(number)
    }

    /// The epoch of the store that it is a copy of.
    func epoch() throws -> UInt64 {
        try table.value(Self.epochKey).flatMap { UInt64(String(decoding: $0, as: UTF8.self)) } ?? 1
    }
    private static let epochKey = "epoch"

    /// All of it, as a store that begins with it takes it.
    func snapshot() throws -> StoreSnapshot {
        let revision = Revision(try table.value("revision").flatMap { UInt64(String(decoding: $0, as: UTF8.self)) } ?? 0)
        let entries = try table.all("item/").map { row in
            StoreEntry(key: String(row.key.dropFirst(5)), value: row.value, created: revision, modified: revision, lease: nil)
        }
        return StoreSnapshot(revision: revision, entries: entries)
    }

    /// On all cores: Docker waits for this at the agent's start, and with thousands of nodes it is most of that time.
    private static func decode(_ rows: [(key: String, value: [UInt8])]) -> [ClusterView.Object] {
        let parts = max(1, min(sysconf(Int32(_SC_NPROCESSORS_ONLN)), rows.count / 256))
        let decoded = Mutex([[ClusterView.Object]](repeating: [], count: parts))
        DispatchQueue.concurrentPerform(iterations: parts) { part in
            let objects = rows[rows.count * part / parts..<rows.count * (part + 1) / parts].compactMap {
                try? ClusterView.Object(key: String($0.key.dropFirst(5)), value: $0.value)
            }
            decoded.withLock { $0[part] = objects }
        }
        return decoded.withLock { Array($0.joined()) }
    }

    func write(_ changes: [StoreChange], revision: Revision) {
        guard !hasGap.withLock({ $0 }) else { return }
        var rows: [LocalTable.Change] = changes.map { change in
            switch change {
            case .put(let entry): .put(key: "item/\(entry.key)", value: entry.value)
            case .delete(let key, _): .delete(key: "item/\(key)")
            }
        }
        rows.append(.put(key: "revision", value: Array(String(revision.number).utf8)))
        apply(rows)
    }

    /// Replaces all, by writing what differs.
    func write(_ snapshot: StoreSnapshot, epoch: UInt64) {
        do {
            var present = Dictionary(try table.all("item/").map { ($0.key, $0.value) }) { $1 }
            var rows: [LocalTable.Change] = []
            for entry in snapshot.entries {
                let key = "item/\(entry.key)"
                if present.removeValue(forKey: key) != entry.value { rows.append(.put(key: key, value: entry.value)) }
            }
            rows += present.keys.map { .delete(key: $0) }
            rows.append(.put(key: "revision", value: Array(String(snapshot.revision.number).utf8)))
            rows.append(.put(key: Self.epochKey, value: Array(String(epoch).utf8)))
            apply(rows)
        } catch {
            hasGap.withLock { $0 = true }
            log.error("cannot read the replica", metadata: ["error": "\(error)"])
        }
    }

    /// A copy that cannot be written is worth a line in the log, not the agent's life: the store has the truth.
    private func apply(_ rows: [LocalTable.Change]) {
        do {
            try table.apply(rows)
            hasGap.withLock { $0 = false }
        } catch {
            hasGap.withLock { $0 = true }
            log.error("cannot write the replica", metadata: ["error": "\(error)"])
        }
    }
}
