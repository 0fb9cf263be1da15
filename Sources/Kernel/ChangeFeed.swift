/// What one listener of `changes()` has not yet heard: a set, so that it is bounded by the number of namespaces however much happens.
import Fabric
import Synchronization

final class ChangeFeed: Sendable {
    private struct State {
        var pending: Set<NamespaceID> = []
        var waiter: CheckedContinuation<NamespaceID?, Never>?
        var isFinished = false
    }
    private let state = Mutex(State())

    func post(_ id: NamespaceID) {
        let waiter = state.withLock { state in
            let waiter = state.waiter
            state.waiter = nil
            if waiter == nil, !state.isFinished { state.pending.insert(id) }
            return waiter
        }
        waiter?.resume(returning: id)
    }

    /// nil when it is finished.
    private func next() async -> NamespaceID? {
        await withCheckedContinuation { continuation in
            let ready: NamespaceID?? = state.withLock { state in
                if let id = state.pending.popFirst() { return id }
                if state.isFinished { return .some(nil) }
                state.waiter = continuation
                return nil
            }
            if let ready { continuation.resume(returning: ready) }
        }
    }

    private func finish() {
        let waiter = state.withLock { state in
            state.isFinished = true
            state.pending = []
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume(returning: nil)
    }

    /// Ends when its reader's task is cancelled. For one reader.
    func stream() -> AsyncStream<NamespaceID> {
        AsyncStream(unfolding: { await self.next() }, onCancel: { self.finish() })
    }
}
