/// The store's copies, and its moves from one place to another.

/// All that the store holds at one revision, from `GET /v1/store/export`: a backup of the cluster's record. What the nodes hold
/// is not in it, and need not be.
package struct StoreBackup: Codable, Equatable, Sendable {
    package struct Entry: Codable, Equatable, Sendable {
        package var key: String
        /// JSON, as docs/store.md describes it.
        package var value: String

        package init(key: String, value: String) {
            self.key = key
            self.value = value
        }
    }
    /// Of this format.
    package var v = 1
    package var cluster: String
    package var epoch: UInt64
    package var revision: UInt64
    package var time: Timestamp
    /// Sorted by key.
    package var entries: [Entry]

    package init(cluster: String, epoch: UInt64, revision: UInt64, time: Timestamp, entries: [Entry]) {
        self.cluster = cluster
        self.epoch = epoch
        self.revision = revision
        self.time = time
        self.entries = entries
    }
}

/// Another store in the place of the cluster's.
package struct StoreMoveReport: Codable, Equatable, Sendable {
    package var cluster: String
    package var epoch: UInt64
    /// Of the former store, that the new one begins with.
    package var revision: UInt64
    /// Whose copy that was: a node's name, "this node" or "the file".
    package var source: String
    /// "this node", or etcd's address.
    package var place: String
    /// Nodes that did not answer, by name: what they hold is not known until they are back.
    package var silent: [String]

    package init(cluster: String, epoch: UInt64, revision: UInt64, source: String, place: String, silent: [String] = []) {
        self.cluster = cluster
        self.epoch = epoch
        self.revision = revision
        self.source = source
        self.place = place
        self.silent = silent
    }

    package func with(silent: [String]) -> StoreMoveReport {
        var report = self
        report.silent = silent
        return report
    }
}
