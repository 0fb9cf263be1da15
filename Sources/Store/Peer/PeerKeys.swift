package import TLS
import Synchronization

/// With what this node proves itself to other agents: its certificate and, until the cluster is sealed, the secret that agents of version 0.1
/// share. All its clients look here at each request, so a change needs nothing else.
package final class PeerKeys: Sendable {
    package struct Present: Sendable {
        /// nil: this node has no certificate yet.
        package var slot: TLSContextSlot?
        /// nil: certificates only.
        package var token: ClusterToken?
    }

    private let state: Mutex<Present>

    package init(_ context: TLSContext? = nil, token: ClusterToken? = nil) {
        state = Mutex(Present(slot: context.map { TLSContextSlot($0) }, token: token))
    }

    package var present: Present { state.withLock { $0 } }

    /// A first certificate, or another one; connections keep the one that they began with.
    package func set(_ context: TLSContext) {
        state.withLock { state in
            if let slot = state.slot { slot.current = context } else { state.slot = TLSContextSlot(context) }
        }
    }

    /// From now on with certificates only.
    package func forgetToken() { state.withLock { $0.token = nil } }
}
