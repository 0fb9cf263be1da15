import Synchronization

extension AsyncThrowingStream where Element == StoreEvent, Failure == any Error {
    /// A watch that is pulled: each element asks `next` for the event after the revision reached. It ends after
    /// `missed`, after an error, and when `next` has no more.
    static func following(
        _ start: Revision, next: @escaping @Sendable (Revision) async throws -> StoreEvent?
    ) -> AsyncThrowingStream<StoreEvent, any Error> {
        let position = WatchPosition(start)
        return AsyncThrowingStream(unfolding: {
            guard let revision = position.reached.withLock({ $0 }) else { return nil }
            let event = try await next(revision)
            position.reached.withLock { reached in
                if case .changes(_, let revision)? = event { reached = revision } else { reached = nil }
            }
            return event
        })
    }
}

/// How far a watch has come; nil when it is over.
private final class WatchPosition: Sendable {
    let reached: Mutex<Revision?>
    init(_ start: Revision) { reached = Mutex(start) }
}
