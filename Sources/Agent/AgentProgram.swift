/// The life of an agent: configuration in, exit status out.
///
/// Order matters. The plugin's socket answers before the store is reached, because dockerd may be waiting for it at boot;
/// requests that need the store say so. At the end the sockets close, the store is closed, and the kernel is left as it is.
import Addressing
import Dispatch
import Docker
import Fabric
import Glibc
import HTTP
import Kernel
import LocalAPI
import Logging
import Store
import Synchronization
import Telemetry

package enum AgentProgram {
    /// Runs until SIGTERM or SIGINT; returns the exit status.
    ///
    /// All of the agent runs at one priority. The main task has a higher one than tasks that begin on NIO's threads, and a task of
    /// higher priority that comes to a busy actor makes the runtime (6.3.1 on Linux) crash in
    /// `ProcessOutOfLineJob::process`. A continuation, unlike waiting for a task's value, does not raise the priority of the other side.
    package static func run(_ configuration: Configuration) async -> Int32 {
        await withCheckedContinuation { continuation in
            Task.detached(priority: .medium) { continuation.resume(returning: await live(configuration)) }
        }
    }

    private static func live(_ configuration: Configuration) async -> Int32 {
        let output = LogOutput(format: configuration.logFormat, level: configuration.logLevel)
        let log = output.logger("agent")
        signal(SIGPIPE, SIG_IGN)
        raiseDescriptors()
        let end = TerminationSignal()
        for warning in configuration.warnings { log.warning("\(warning)") }
        do {
            let agent = try await RunningAgent.start(configuration, output: output, restart: end.restart)
            end.isStarting = false
            let isRestart = await end.wait()
            log.notice(isRestart ? "beginning anew; the data plane stays as it is" : "ending; the data plane stays as it is")
            await agent.stop(isForGood: !isRestart)
            // Whoever wanted an end meanwhile is not to wait for the next agent's.
            if isRestart, !end.isEndWanted() { throw Self.beginAnew() }
            return 0
        } catch {
            log.critical("\(error)")
            return 1
        }
    }
}

extension AgentProgram {
    /// Each container takes a few, and a shell gives 1,024 (`man 2 getrlimit`).
    private static func raiseDescriptors() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// This program again, in this process (`man 2 execve`): the agent reads its state directory as at any start. Files and locks of ours are closed on the way.
    ///
    /// - Returns: why it did not happen.
    private static func beginAnew() -> AgentError {
        var arguments = CommandLine.arguments.map { strdup($0) } + [nil]
        execv("/proc/self/exe", &arguments)
        return AgentError(.setup, "begin anew", cause: String(cString: strerror(errno)), remedy: "start the agent again")
    }
}

/// SIGTERM and SIGINT, and the agent's own wish to begin anew, as something to wait for; signals are caught from its creation on.
final class TerminationSignal {
    /// Whether it is to begin anew.
    private let stream: AsyncStream<Bool>
    private let wish: AsyncStream<Bool>.Continuation
    private let flags = Flags()
    /// While this is true a signal ends the program at once: it may wait for a host that does not answer, and has done nothing yet that wants an end.
    var isStarting: Bool {
        get { flags.isStarting }
        set { flags.isStarting = newValue }
    }
    private var sources: [any DispatchSourceSignal]

    init() {
        let (stream, continuation) = AsyncStream.makeStream(of: Bool.self)
        self.stream = stream
        wish = continuation
        sources = []
        sources = [SIGTERM, SIGINT].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { [flags] in
                if flags.isStarting { exit(0) }
                flags.isEndWanted = true
                continuation.yield(false)
            }
            source.resume()
            return source
        }
    }
    /// Whether a signal has come; one that comes from now on ends the program at once.
    func isEndWanted() -> Bool {
        for number in [SIGTERM, SIGINT] { signal(number, SIG_DFL) }
        return flags.isEndWanted
    }
    /// Any number of times.
    var restart: @Sendable () -> Void { { [wish] in wish.yield(true) } }
    func wait() async -> Bool {
        for await isRestart in stream { return isRestart }
        return false
    }
}

private final class Flags: Sendable {
    private let values = Mutex((isStarting: true, isEndWanted: false))
    var isStarting: Bool {
        get { values.withLock { $0.isStarting } }
        set { values.withLock { $0.isStarting = newValue } }
    }
    var isEndWanted: Bool {
        get { values.withLock { $0.isEndWanted } }
        set { values.withLock { $0.isEndWanted = newValue } }
    }
}
