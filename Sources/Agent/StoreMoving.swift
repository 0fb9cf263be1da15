/// The commands that put another store in the place of the cluster's: `tulle store promote`, `accept`, `import` and `migrate`. Each makes a whole store of the next epoch,
/// and then points this agent to it; the others follow (`Succession`), and bring in what they hold (`Controller+Epoch.swift`).
/// `accept` is in `StoreMoving+Accept.swift`, `import` in `StoreMoving+Backup.swift`, `migrate` in `StoreMoving+Etcd.swift`.
///
///     promote   the newest copy that any living node has   →  this agent
///     accept    the newest copy that any living node has   →  the store that lost what it had, where it is
///     import    a file of `tulle store export`             →  this agent, or an etcd that lost it
///     migrate   the store itself, which takes no more      →  etcd
import Fabric
import Glibc
import HTTP
import LocalAPI
import Logging
import Store
import TLS

struct StoreMoving: Sendable {
    let access: StoreAccess
    let succession: Succession
    let files: StateDirectory
    let listener: PeerListener
    /// Of nodes' certificates, in seconds.
    let lifetime: Int
    let announcement: StoreAnnouncement

    var controller: Controller { succession.controller }
    var cluster: String { succession.cluster }
    private var survey: ReplicaSurvey { ReplicaSurvey(cluster: cluster, keys: succession.keys) }
    var new: NewStore { NewStore(cluster: cluster, node: controller.identity.node, files: files, lifetime: lifetime) }

    // MARK: promote

    /// This agent serves the store from now on, with what the node knows that was the last to hear of it.
    func promote() async throws -> StoreMoveReport {
        let operation = "promote this node's copy of the store"
        guard !access.isServed else {
            throw AgentError(.invalid, operation, cause: "this agent serves the cluster's store", remedy: "run it on another node, when this one is lost")
        }
        try await expectStoreLost(operation)
        let newest = try await newestCopy(operation)
        return try await begin(with: newest.copy, after: controller.viewEpoch, from: newest.source, silent: newest.silent, operation)
    }

    /// What the living node knows that was the last to hear of the store.
    func newestCopy(_ operation: String) async throws -> (source: String, copy: StoreSnapshot, silent: [NodeObject]) {
        let others = try await askOthers(operation)
        let silent = others.filter { $0.state == nil }.map(\.node)
        let mine = try await controller.replicaState()
        let best = others.filter { $0.state?.epoch == mine.epoch }.max { ($0.state?.revision ?? .zero) < ($1.state?.revision ?? .zero) }
        guard let best, let state = best.state, state.revision > mine.revision else {
            return ("this node", try controller.replica.snapshot(), silent)
        }
        do { return (best.node.name, try await survey.copy(of: best.node), silent) } catch {
            throw AgentError(
                .storeAway, operation, cause: "\(best.node.name) has the newest copy and does not hand it over: \(error)",
                remedy: "try again; without that node's agent the next best copy is taken")
        }
    }

    /// How far each other node has got; nil where none answers. None may be further than this one's epoch: then there is a newer store already.
    func askOthers(_ operation: String) async throws -> [(node: NodeObject, state: ReplicaState?)] {
        let nodes = await controller.view.nodes.values.filter { $0.id != controller.identity.node }
        let epoch = await controller.viewEpoch
        let all = await survey.states(of: nodes)
        if let ahead = all.first(where: { ($0.state?.epoch ?? 0) > epoch }) {
            throw AgentError(
                .conflict, operation, cause: "\(ahead.node.name) follows a newer store (epoch \(ahead.state?.epoch ?? 0))",
                remedy: "wait: this node will follow it too; or, if that one is lost as well, run the command there")
        }
        return all
    }

    /// One that answers and is believed is not lost.
    func expectStoreLost(_ operation: String) async throws {
        guard await controller.distrust == nil else { return }
        let store: any Store = access.locator.map { locator in RemoteStore(timeout: .seconds(2)) { locator.client } } ?? access.store
        guard let identity = try? await store.identity(), identity.cluster == cluster else { return }
        throw AgentError(
            .conflict, operation, cause: "the store at \(access.description) answers",
            remedy: "to move it, stop the agent there first and start it when this is done; it will follow")
    }

    /// Makes this agent's store of that copy; it is served when the agent has begun anew.
    ///
    /// - Parameter silent: nodes that do not answer.
    func begin(
        with copy: StoreSnapshot, after last: UInt64, from source: String, silent: [NodeObject], _ operation: String
    ) async throws -> StoreMoveReport {
        let identity = try await new.make(
            of: copy, after: last, above: controller.viewRevision, isAuthorityLost: isAuthorityLost(ClusterView(copy), Set(silent.map(\.id))), operation)
        try succession.remember { membership in
            (membership.storeURL, membership.storeHost, membership.storePort, membership.storeNode) = (nil, nil, nil, nil)
        }
        succession.log.notice(
            "this agent takes the cluster's store over", metadata: ["epoch": "\(identity.epoch)", "revision": "\(copy.revision.number)", "from": "\(source)"])
        succession.beginAnew()
        return StoreMoveReport(
            cluster: cluster, epoch: identity.epoch, revision: copy.revision.number, source: source, place: "this node", silent: silent.map(\.name))
    }

    /// Its key is where nobody answers, or is not where the copy says.
    private func isAuthorityLost(_ copy: ClusterView, _ silent: Set<NodeID>) async -> Bool {
        guard let authority = copy.authority, let node = await controller.view.nodes[authority.node] else { return true }
        guard node.id == controller.identity.node else { return silent.contains(node.id) || copy.cluster?.storeNode == node.id }
        return (try? Signer.load(files, cluster: cluster, lifetime: lifetime))??.authority.certificate.fingerprintText != authority.fingerprint
    }
}

extension Controller {
    func replicaState() throws -> ReplicaState {
        ReplicaState(cluster: expectedCluster, epoch: try replica.epoch(), revision: try replica.revision())
    }

    func names(of agents: [HTTPAddress]) -> [String] {
        let all = Set(agents.map(\.description))
        return view.nodes.values.filter { node in ConfigurationValue.join(node.agent).map { all.contains($0.description) } ?? false }.map(\.name).sorted()
    }
}
