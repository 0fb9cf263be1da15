/// Ways between a node's tasks and the world's: a call is answered once, by whoever is first: the other side, the clock, or the end of the life.
import Foundation

/// What a caller sees when the other end is gone or silent.
enum Lost: Error { case ended, silent }

/// A caller that waits, on behalf of its life.
final class Slot<Value: Sendable>: @unchecked Sendable {
    private var continuation: UnsafeContinuation<Value, any Error>?
    private let life: Life
    private var cleanup: (() -> Void)?

    init(_ continuation: UnsafeContinuation<Value, any Error>, _ life: Life) { (self.continuation, self.life) = (continuation, life) }

    var isOpen: Bool { continuation != nil }

    func whenDone(_ body: @escaping () -> Void) { cleanup = body }

    func finish(_ result: Result<Value, any Error>) {
        guard let continuation else { return }
        self.continuation = nil
        cleanup?()
        cleanup = nil
        guard !life.isOver else { return }
        Executor.shared.within(life) { continuation.resume(with: result) }
    }
}

extension Executor {
    /// From the world: runs the body as a task of a node's agent.
    func call<Value: Sendable>(
        _ life: Life, within limit: Duration, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withUnsafeThrowingContinuation { continuation in
            let slot = Slot(continuation, world)
            guard !life.isOver else { return slot.finish(.failure(Lost.ended)) }
            let mourner = life.onEnd { slot.finish(.failure(Lost.ended)) }
            slot.whenDone { life.forget(mourner) }
            after(limit) { slot.finish(.failure(Lost.silent)) }
            _ = within(life) {
                Task(priority: .medium) {
                    let result: Result<Value, any Error>
                    do { result = .success(try await body()) } catch { result = .failure(error) }
                    // The word of one that died while it spoke is not heard.
                    if !life.isOver { slot.finish(result) }
                }
            }
        }
    }

    /// From a node's task: runs the body in the world, and comes back.
    func cross<Value: Sendable>(
        _ life: Life, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withUnsafeThrowingContinuation { continuation in
            let slot = Slot(continuation, life)
            guard !life.isOver else { return }
            _ = within(world) {
                Task(priority: .medium) {
                    let result: Result<Value, any Error>
                    do { result = .success(try await body()) } catch { result = .failure(error) }
                    slot.finish(result)
                }
            }
        }
    }
}
