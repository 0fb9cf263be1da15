/// The one thread on which all blocking kernel work is done: the serial executor of `LinuxKernel`, and the loop that waits
/// for the kernel's notifications while there is no work.
///
/// A job (a step of the actor) wakes the thread through an eventfd and runs to its next suspension. A notification makes a watched
/// socket readable; the thread then calls the handler, which reads it, with the actor's isolation. After that the sockets rest
/// for `rest`, so that a storm costs a hundred rounds a second and not one per change, while jobs go on at once.
import CLinux
import Glibc
import Synchronization

package final class KernelThread: SerialExecutor {
    private struct State {
        var jobs: [UnownedJob] = []
        var thread: pthread_t?
        var isStopped = false
    }
    private let state = Mutex(State())
    private let wakeup: Int32
    private let watched: Int32
    private let rest: Duration

    /// - Parameter rest: of the watched sockets after each round.
    package init(rest: Duration = .milliseconds(10)) throws(KernelError) {
        self.rest = rest
        wakeup = linux_eventfd()
        watched = linux_epoll_create()
        guard wakeup >= 0, watched >= 0 else {
            let error = KernelError.last("make the descriptors that the kernel's thread waits on")
            close(wakeup)
            close(watched)
            throw error
        }
    }
    deinit {
        close(wakeup)
        close(watched)
    }

    /// - Parameter ready: gets the keys of readable sockets, on this thread.
    package func start(_ name: String = "tulle-kernel", _ ready: @escaping @Sendable (UInt64) -> Void) throws(KernelError) {
        let thread = try Thread.start(name) { self.run(ready) }
        pthread_detach(thread)
    }

    /// After the jobs that wait the thread ends.
    package func stop() {
        state.withLock { $0.isStopped = true }
        wake()
    }

    // MARK: Executor

    package func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let wasEmpty = state.withLock { state in
            state.jobs.append(job)
            return state.jobs.count == 1
        }
        if wasEmpty { wake() }
    }

    package func checkIsolated() {
        precondition(isIsolatingCurrentContext() == true, "the kernel's state was touched on another thread than its own")
    }

    package func isIsolatingCurrentContext() -> Bool? {
        state.withLock { $0.thread.map { pthread_equal($0, pthread_self()) != 0 } ?? false }
    }

    private func wake() {
        var one: UInt64 = 1
        // It can only fail when the counter is full, and then the thread is awake.
        _ = write(wakeup, &one, MemoryLayout<UInt64>.size)
    }

    // MARK: Watching

    package func watch(_ descriptor: Int32, key: UInt64) throws(KernelError) {
        guard linux_epoll_add(watched, descriptor, key) == 0 else { throw .last("watch a namespace") }
    }
    package func unwatch(_ descriptor: Int32) { _ = linux_epoll_remove(watched, descriptor) }

    private func run(_ ready: @Sendable (UInt64) -> Void) {
        state.withLock { $0.thread = pthread_self() }
        let executor = asUnownedSerialExecutor()
        let clock = ContinuousClock()
        var restUntil = clock.now
        while true {
            let (jobs, isStopped) = state.withLock { state in
                let jobs = state.jobs
                state.jobs = []
                return (jobs, state.isStopped)
            }
            for job in jobs { job.runSynchronously(on: executor) }
            if !jobs.isEmpty { continue }
            if isStopped { return }
            if wait(rest: restUntil - clock.now), dispatch(ready) { restUntil = clock.now + rest }
        }
    }

    /// Waits for a job or, once the rest is over, for a notification.
    /// - Returns: whether there is a notification.
    private func wait(rest: Duration) -> Bool {
        var waits = [
            pollfd(fd: wakeup, events: Int16(POLLIN), revents: 0), pollfd(fd: watched, events: Int16(POLLIN), revents: 0),
        ]
        let isResting = rest > .zero
        let milliseconds = Int32(rest.components.attoseconds / 1_000_000_000_000_000) + 1
        guard poll(&waits, isResting ? 1 : 2, isResting ? milliseconds : -1) > 0 else { return false }
        if waits[0].revents != 0 {
            var count: UInt64 = 0
            _ = read(wakeup, &count, MemoryLayout<UInt64>.size)
        }
        return waits[1].revents != 0
    }

    private func dispatch(_ ready: (UInt64) -> Void) -> Bool {
        var keys = [UInt64](repeating: 0, count: 64)
        let count = linux_epoll_wait(watched, &keys, Int32(keys.count), 0)
        guard count > 0 else { return false }
        for key in keys.prefix(Int(count)) { ready(key) }
        return true
    }
}
