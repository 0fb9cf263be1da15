/// A store that begins as a copy of another one, of the next epoch: what is written for it, before any agent serves or follows it.
import Fabric
import LocalAPI
import Store

struct NewStore: Sendable {
    let cluster: String
    /// The one that is to serve it.
    let node: NodeID
    let files: StateDirectory
    /// Of nodes' certificates, in seconds.
    let lifetime: Int

    /// No node has seen revisions or numbers as high: what is remembered of the former store cannot be taken for the new one's.
    static let step: UInt64 = 1_000_000

    /// Two nodes that are cut off from each other and both promote must not get the same.
    static func epoch(after last: UInt64) -> UInt64 { (last / step + 1) * step + .random(in: 1..<step) }

    /// No higher one is believed, nor any higher revision: there must be room for the next.
    static let mostEpoch: UInt64 = 1 << 50

    /// Makes the file; the agent that starts with it serves it.
    ///
    /// - Parameters:
    ///   - last: the highest epoch that is known of.
    ///   - revision: the highest that is known of besides the copy's.
    ///   - isAuthorityLost: this node is to sign certificates.
    func make(
        of copy: StoreSnapshot, after last: UInt64, above revision: Revision, isAuthorityLost: Bool, _ operation: String
    ) async throws -> StoreIdentity {
        guard max(last, copy.revision.number, revision.number) <= Self.mostEpoch else {
            throw AgentError(.invalid, operation, cause: "the copy's revision or epoch is none", remedy: "take another copy")
        }
        let identity = StoreIdentity(cluster: cluster, epoch: Self.epoch(after: last))
        var entries = try renewed(copy, identity, storeNode: node, operation)
        if isAuthorityLost {
            // What the lost one signed is good until it ends.
            let object = try authority(operation)
            entries = try entries.map { try Self.retired($0) }
            entries.append(Self.entry(StoreKey.authority(object.fingerprint), try StoredJSON.encode(object)))
        }
        let snapshot = StoreSnapshot(
            revision: Revision(max(copy.revision, revision).number + Self.step), entries: entries.sorted { $0.key < $1.key })
        try await EmbeddedStore.make(path: files.path("store.db"), identity, snapshot)
        return identity
    }

    /// A backup as a copy. Its tokens are left out: one that was revoked or used since would open the cluster again.
    func copy(of backup: StoreBackup, _ operation: String) throws -> StoreSnapshot {
        guard backup.v == 1 else {
            throw AgentError(.invalid, operation, cause: "the file has format \(backup.v), this version knows 1", remedy: "use the version of tulle that made it")
        }
        guard backup.cluster == cluster else {
            throw AgentError(
                .storeRefused, operation, cause: "the file is of cluster \(backup.cluster), this node belongs to \(cluster)", remedy: "take the right file")
        }
        let entries = backup.entries.filter { !$0.key.hasPrefix(StoreKey.tokens) }
        guard Set(entries.map(\.key)).count == entries.count, max(backup.epoch, backup.revision) <= Self.mostEpoch else {
            throw AgentError(.invalid, operation, cause: "the file has a key twice, or its revision or epoch is none", remedy: "take another one")
        }
        let copy = StoreSnapshot(
            revision: Revision(backup.revision), entries: entries.map { Self.entry($0.key, Array($0.value.utf8)) }.sorted { $0.key < $1.key })
        _ = try renewed(copy, StoreIdentity(cluster: cluster, epoch: 1), storeNode: nil, operation)
        return copy
    }

    // MARK: Entries

    /// The entries as the next epoch begins with them: nobody has shown a sign of life in it, or brought anything.
    func renewed(_ copy: StoreSnapshot, _ identity: StoreIdentity, storeNode: NodeID?, _ operation: String) throws -> [StoreEntry] {
        try copy.entries.filter { !$0.key.hasPrefix(StoreKey.alive) }.map { entry in
            if entry.key.hasPrefix(StoreKey.nodes), var node = try? StoredJSON.decode(NodeObject.self, entry.value), node.epoch != nil {
                node.epoch = nil
                return Self.entry(entry.key, try StoredJSON.encode(node, over: entry))
            }
            guard entry.key == StoreKey.cluster else { return entry }
            var object = try StoredJSON.read(ClusterObject.self, entry.key, entry.value)
            guard object.id == cluster, object.isSealed == true else {
                throw AgentError(
                    .storeRefused, operation, cause: object.id == cluster ? "agents of version 0.1 are in the cluster still" : "the copy is of cluster \(object.id)",
                    remedy: object.id == cluster ? "bring the store's host back and upgrade them first" : "take one of cluster \(cluster)")
            }
            (object.storeNode, object.epoch) = (storeNode, identity.epoch)
            return Self.entry(entry.key, try StoredJSON.encode(object, over: entry))
        }.requiring(StoreKey.cluster, operation)
    }

    static func retired(_ entry: StoreEntry) throws -> StoreEntry {
        guard entry.key.hasPrefix(StoreKey.authorities), var object = try? StoredJSON.decode(AuthorityObject.self, entry.value), object.retired == nil
        else { return entry }
        object.retired = wallSeconds()
        return Self.entry(entry.key, try StoredJSON.encode(object, over: entry))
    }

    static func entry(_ key: String, _ value: [UInt8]) -> StoreEntry {
        StoreEntry(key: key, value: value, created: .zero, modified: .zero, lease: nil)
    }

    /// With this node's word for it, by which the others believe it.
    func authority(_ operation: String) throws -> AuthorityObject {
        guard let credentials = try Credentials.load(files) else {
            throw AgentError(.setup, operation, cause: "this node has no certificate", remedy: "run it on another node")
        }
        let signer = try Signer.make(files, cluster: cluster, lifetime: lifetime)
        var object = try signer.object(node)
        object.voucher = try Belief.voucher(for: signer.authority, by: credentials)
        return object
    }
}

extension [StoreEntry] {
    fileprivate func requiring(_ key: String, _ operation: String) throws -> Self {
        guard contains(where: { $0.key == key }) else {
            throw AgentError(.storeRefused, operation, cause: "the copy lacks the cluster's own object", remedy: "take another copy")
        }
        return self
    }
}
