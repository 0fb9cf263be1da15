/// From Swift 6.3 on a sleep asks the default executor for its time before it asks the hooks. This one has no time to give, so that it asks them.
import CSimulation
#if compiler(>=6.3)
@_spi(ExperimentalCustomExecutors) import _Concurrency

private final class Timeless: TaskExecutor {
    func enqueue(_ job: consuming ExecutorJob) {
        Executor.shared.enqueue(unsafeBitCast(UnownedJob(job), to: UnsafeMutableRawPointer.self))
    }
}

private struct Factory: ExecutorFactory {
    static var mainExecutor: any MainExecutor { PlatformExecutorFactory.mainExecutor }
    static let defaultExecutor: any TaskExecutor = Timeless()
}
#endif

enum RuntimeSeam {
    /// Before the first task.
    static func open() {
        #if compiler(>=6.3)
        _createExecutors(factory: Factory.self)
        #endif
    }
}
