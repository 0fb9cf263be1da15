/// A node's removal: the one thing that gives its addresses to others while it may still run.
///
/// The word is a mark in the node's object, by compare-and-swap; from then on no agent sends to it, takes packets from it or answers
/// it, and it cuts its own containers off when it hears of it. What it held is deleted after that, by whoever gets to it: the one that
/// removed it, or else the living node with the lowest id.
package import Fabric
import Logging
import Store

extension Controller {
    var isRemoved: Bool { view.removed[me.id] != nil }

    static func removedError(_ operation: String) -> AgentError {
        AgentError(
            .conflict, operation, cause: "this node was removed from the cluster",
            remedy: "its containers on networks of the cluster are cut off; remove them, run 'tulle reset' and join again")
    }

    /// Removes a node, by its name or UUID.
    package func removeNode(_ text: String) async throws -> NodeObject {
        let operation = "remove node \(text)"
        if isBringing { return try await removeMissing(text, operation) }
        try await requireStore(operation)
        let node = try findNode(text, operation)
        guard node.id != me.id else {
            throw AgentError(
                .invalid, operation, cause: "it is this node",
                remedy: "run the command on another one; to leave the cluster from here, run 'tulle reset'")
        }
        guard node.id != view.cluster?.storeNode else {
            throw AgentError(
                .invalid, operation, cause: "it serves the cluster's store", remedy: "if it is lost, 'tulle store promote' here first; else 'tulle store migrate' there")
        }
        guard node.id != view.authority?.node else {
            throw AgentError(
                .invalid, operation, cause: "it has the cluster's certificate authority, without which no certificate is renewed",
                remedy: "run 'tulle authority take' on another node first")
        }
        guard node.fingerprint != nil || !view.alive.contains(node.id) else {
            throw AgentError(
                .invalid, operation, cause: "its agent is of an older version, which does not know that it can be removed",
                remedy: "stop that agent first, or upgrade it")
        }
        let now = wallSeconds()
        try await rewrite(StoreKey.node(node.id), operation) { (old: NodeObject) in
            guard old.removed == nil else { return nil }
            var gone = old
            gone.removed = now
            return gone
        }
        guard let gone = view.removed[node.id] else {
            throw AgentError(.conflict, operation, cause: "its record vanished meanwhile", remedy: "see 'tulle nodes'")
        }
        log.notice("node removed", metadata: ["node": "\(gone.name)", "id": "\(gone.id)"])
        try await clear(after: [gone.id])
        return gone
    }

    /// While this node waits for that one: its part of a new store cannot be brought before.
    private func removeMissing(_ text: String, _ operation: String) async throws -> NodeObject {
        var gone = try findNode(text, operation)
        guard gone.id != me.id else { throw AgentError(.invalid, operation, cause: "it is this node", remedy: "run the command on another one") }
        let copy = ClusterView(try await store.list(prefix: ""))
        guard gone.id != copy.cluster?.storeNode, gone.id != copy.authority?.node else {
            throw AgentError(
                .invalid, operation, cause: "it serves the cluster's store, or has its certificate authority",
                remedy: "run 'tulle store promote' or 'tulle authority take' on another node first")
        }
        gone.removed = wallSeconds()
        let mark = gone
        try await alter(StoreKey.node(gone.id)) { (node: NodeObject) in
            var node = node
            node.removed = node.removed ?? mark.removed
            return node
        }
        _ = view.set(.node(gone.id, gone))
        log.notice("node removed", metadata: ["node": "\(gone.name)", "id": "\(gone.id)"])
        viewChanged()
        return gone
    }

    private func findNode(_ text: String, _ operation: String) throws -> NodeObject {
        if let id = NodeID(text), let node = view.nodes[id] { return node }
        let named = view.nodes.values.filter { $0.name == text }
        guard let node = named.first else {
            let wasRemoved = view.removed.values.contains { $0.name == text || $0.id.description == text }
            throw AgentError(
                .unknown, operation, cause: wasRemoved ? "it was removed before" : "there is no such node",
                remedy: "'tulle nodes' lists them")
        }
        guard named.count == 1 else {
            throw AgentError(
                .invalid, operation, cause: "\(named.count) nodes have that name",
                remedy: "give its id: " + named.map { "\($0.id) at \($0.underlay)" }.sorted().joined(separator: ", "))
        }
        return node
    }

    /// Deletes what removed nodes held: what the store says of it at this moment, each on the condition that nobody took it since.
    private func clear(after nodes: Set<NodeID>) async throws {
        guard !view.possessions(of: nodes).isEmpty else { return }
        try await requireStore("free what removed nodes held")
        try await reach(try await Leaving.clear(store, after: nodes))
    }

    /// Finishes removals whose command was broken off. One node does it, so that not all commit the same.
    func clearAfterRemoved() async throws {
        guard !view.removed.isEmpty, view.alive.min() == me.id else { return }
        try await clear(after: Set(view.removed.keys))
    }

    /// Marks of nodes that no certificate can bring back any more: at the node that has the authority.
    ///
    /// - Parameter lifetime: the longest of a certificate, in seconds.
    func forgetRemoved(after lifetime: Int) async throws {
        let limit = wallSeconds() - max(2 * lifetime, terms.forgetAfter)
        let old = view.removed.values.filter { ($0.removed ?? .max) < limit }.prefix(Leaving.part).map(\.id)
        guard !old.isEmpty, view.possessions(of: Set(old)).isEmpty, isStoreReachable, distrust == nil else { return }
        _ = try await commit(StoreTransaction(operations: old.map { .delete(key: StoreKey.node($0)) }), "forget removed nodes")
    }

    /// Another agent, which knows, says that this node was removed.
    package func learnRemoval() async {
        guard !isRemoved else { return }
        var gone = me
        gone.removed = wallSeconds()
        do { try local.setRemoved(gone) } catch { log.error("cannot remember the removal", metadata: ["error": "\(error)"]) }
        _ = view.set(.node(me.id, gone))
        remoteParts = [:]
        log.critical("\(Self.removedError("take part in the cluster"))")
        setProblem("removed", "\(Self.removedError("take part in the cluster"))")
        viewChanged()
        await reconciler.markAll()
    }
}
