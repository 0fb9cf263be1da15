package import TLS
import Synchronization

/// With what this node proves itself to other agents and whom it refuses: its certificate, the nodes that were removed and, until the cluster is
/// sealed, the secret that agents of version 0.1 share. All its clients and its server look here at each connection, so a change needs
/// nothing else.
package final class PeerKeys: Sendable {
    /// Makes a context that refuses whom the closure gives a reason for.
    package typealias Contexts = @Sendable (_ refusal: @escaping @Sendable (PeerIdentity?) -> String?) throws -> TLSContext

    private struct State {
        var contexts: Contexts?
        var token: ClusterToken?
        var removed: Set<String> = []
        /// By the node that is expected at the other end; nil: any.
        var slots: [String?: TLSContextSlot] = [:]
    }

    private let state: Mutex<State>

    package init(_ contexts: Contexts? = nil, token: ClusterToken? = nil) {
        state = Mutex(State(contexts: contexts, token: token))
    }

    /// nil: certificates only.
    package var token: ClusterToken? { state.withLock { $0.token } }
    /// From now on with certificates only.
    package func forgetToken() { state.withLock { $0.token = nil } }

    /// UUIDs in lower case: no connection with them is made or taken from now on.
    package func refuse(_ nodes: Set<String>) { state.withLock { $0.removed = nodes } }
    private func isRefused(_ node: String) -> Bool { state.withLock { $0.removed.contains(node) } }

    /// A first certificate, or another one; connections keep the one that they began with, clients begin new ones.
    ///
    /// - Throws: `TLSError`, with everything as it was.
    package func set(_ contexts: @escaping Contexts) throws {
        let expected = state.withLock { Array($0.slots.keys) }
        let new = try expected.map { ($0, try contexts(judge($0))) }
        // Even where nothing asks yet: a certificate that cannot be used is found out now.
        if expected.isEmpty { _ = try contexts(judge(nil)) }
        state.withLock { state in
            state.contexts = contexts
            for (node, context) in new { state.slots[node]?.current = context }
        }
    }

    /// What a connection shows and whom it trusts; nil: this node has no certificate yet.
    ///
    /// - Parameter node: who must be at the other end, a UUID in lower case; nil: any node of the cluster.
    package func slot(expecting node: String? = nil) throws -> TLSContextSlot? {
        let (present, contexts) = state.withLock { ($0.slots[node], $0.contexts) }
        if let present { return present }
        guard let contexts else { return nil }
        let new = TLSContextSlot(try contexts(judge(node)))
        return state.withLock { state in
            // Two at once: all use one, for it is what is replaced later.
            if let other = state.slots[node] { return other }
            state.slots[node] = new
            return new
        }
    }

    private func judge(_ expected: String?) -> @Sendable (PeerIdentity?) -> String? {
        { [weak self] peer in
            guard let peer else { return nil }
            if self?.isRefused(peer.node) ?? false { return "it was removed from the cluster" }
            guard let expected, expected != peer.node else { return nil }
            return "node \(expected) is expected here"
        }
    }
}
