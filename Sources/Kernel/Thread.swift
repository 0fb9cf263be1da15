/// Own threads, for what must not block the concurrency pool or must not come back to it.
import CLinux
import Glibc
import Synchronization

enum Thread {
    /// Starts a thread; the caller joins or detaches it.
    /// - Parameter name: for `ps -L`, at most 15 bytes.
    static func start(_ name: String, _ body: @escaping @Sendable () -> Void) throws(KernelError) -> pthread_t {
        let start = Unmanaged.passRetained(Start(name: name, body: body))
        var thread = pthread_t()
        let status = pthread_create(&thread, nil, { context in
            guard let context else { return nil }
            let start = Unmanaged<Start>.fromOpaque(context).takeRetainedValue()
            _ = linux_name_thread(start.name)
            start.body()
            return nil
        }, start.toOpaque())
        guard status == 0 else {
            start.release()
            throw KernelError(errno: status, "start thread \(name)")
        }
        return thread
    }

    private final class Start: Sendable {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }

    /// Runs `body` on a thread of its own that ends afterwards, and waits for it. What the body does to its thread (entering
    /// a namespace) dies with the thread.
    static func run<Value: Sendable>(
        _ name: String, _ body: @escaping @Sendable () throws(KernelError) -> Value
    ) throws(KernelError) -> Value {
        let answer = Answer<Value>()
        let thread = try start(name) {
            do throws(KernelError) {
                let value = try body()
                answer.result.withLock { $0 = .success(value) }
            } catch {
                answer.result.withLock { $0 = .failure(error) }
            }
        }
        pthread_join(thread, nil)
        guard let result = answer.result.withLock({ $0 }) else {
            throw KernelError(.failed, "run \(name)", cause: "its thread ended without an answer")
        }
        return try result.get()
    }

    private final class Answer<Value: Sendable>: Sendable {
        let result = Mutex<Result<Value, KernelError>?>(nil)
    }

    /// Runs `body` inside a network namespace, on a thread that does nothing else.
    package static func run<Value: Sendable>(
        in namespace: Int32, _ operation: String, _ body: @escaping @Sendable () throws(KernelError) -> Value
    ) throws(KernelError) -> Value {
        try run("tulle-netns") { () throws(KernelError) in
            guard linux_setns(namespace, Int32(LINUX_CLONE_NEWNET)) == 0 else { throw .last(operation) }
            return try body()
        }
    }
}
