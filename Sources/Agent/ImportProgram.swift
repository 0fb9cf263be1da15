/// `tulle store import --offline`: a backup becomes the store of a host whose agent cannot start, because its store is lost or damaged.
import Fabric
package import LocalAPI
import Logging
import Store
import TLS

package enum ImportProgram {
    private static let operation = "import a store"

    /// While no agent runs on this state directory. The agent that starts next serves it.
    package static func run(_ configuration: Configuration, _ backup: StoreBackup) async throws -> StoreMoveReport {
        let files = try StateDirectory(configuration.stateDirectory)
        let table: LocalTable
        do { table = try LocalTable(path: files.path("agent.db"), create: false) } catch let error as StoreError {
            throw AgentError(
                .setup, operation, cause: error.code == .locked ? "an agent runs that has \(files.path("agent.db"))" : "\(error.cause) (\(files.path("agent.db")))",
                remedy: error.code == .locked
                    ? "leave --offline out, or stop it" : "restore agent.db from a copy: without it this host belongs to no cluster")
        }
        guard var membership = try Membership.load(table) else {
            throw AgentError(.setup, operation, cause: "this host belongs to no cluster", remedy: "take the state directory of one that does (--state-dir)")
        }
        guard membership.storeURL == nil, membership.isSealed == true else {
            throw AgentError(
                .setup, operation, cause: membership.storeURL == nil ? "the cluster is one of version 0.1 still" : "the cluster's store is in etcd",
                remedy: membership.storeURL == nil ? "restore store.db from a copy" : "start the agent and leave --offline out")
        }
        guard membership.servesStore else {
            throw AgentError(
                .setup, operation, cause: "another host serves the cluster's store (\(membership.storeHost ?? "-"))",
                remedy: "start the agent here; if that host is lost, 'tulle store promote', or 'tulle store import' without --offline")
        }
        let lifetime = Int(configuration.certificateLifetime.components.seconds)
        let new = NewStore(cluster: membership.cluster, node: try NodeID.kept(in: table), files: files, lifetime: lifetime)
        let copy = try new.copy(of: backup, operation)
        // What this node has seen may be later than the file.
        let replica = try? Replica(path: files.path("replica.db"), log: Logger(label: "import"))
        let seen = (epoch: try replica?.epoch() ?? 1, revision: try replica?.revision() ?? .zero)
        var known = ClusterView(copy)
        _ = try? replica?.load(into: &known)
        try await expectNoNewer(than: seen.epoch, known, membership, new, files)
        let signs = ClusterView(copy).authority?.fingerprint
        let own = try? Signer.load(files, cluster: membership.cluster, lifetime: lifetime)
        // What is there may be better than it seems.
        StoreAccess.setAside(files)
        let identity = try await new.make(
            of: copy, after: max(backup.epoch, seen.epoch), above: seen.revision,
            isAuthorityLost: signs == nil || own?.authority.certificate.fingerprintText != signs, operation)
        (membership.storeHost, membership.storePort, membership.storeNode, membership.isMoved) = (nil, nil, nil, true)
        try membership.save(table)
        return StoreMoveReport(
            cluster: membership.cluster, epoch: identity.epoch, revision: backup.revision, source: "the file", place: "this node")
    }
    /// Another node may have promoted its copy while this host was away: that store is the cluster's, and the agent here follows it as soon as it runs.
    private static func expectNoNewer(
        than epoch: UInt64, _ known: ClusterView, _ membership: Membership, _ new: NewStore, _ files: StateDirectory
    ) async throws {
        guard let credentials = try Credentials.load(files) else { return }
        let survey = ReplicaSurvey(cluster: membership.cluster, keys: PeerKeys(credentials.contexts(membership.cluster)))
        let others = known.nodes.values.filter { $0.id != new.node }
        guard let ahead = await survey.states(of: others).first(where: { ($0.state?.epoch ?? 0) > epoch }) else { return }
        throw AgentError(
            .conflict, operation, cause: "\(ahead.node.name) follows a newer store (epoch \(ahead.state?.epoch ?? 0)), which took this one's place",
            remedy: "start the agent: it follows that one")
    }
}
