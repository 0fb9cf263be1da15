/// A program that a test started: its output is collected, its time is limited, and its whole process group ends with it.
import Glibc

package final class LabProcess {
    package struct Result: Sendable {
        /// The exit status, or 128 and the number of the signal that ended it.
        package let status: Int32
        package let output: String
        /// What it wrote to stderr.
        package let talk: String
    }

    private let command: [String]
    private let pid: pid_t
    /// Read ends of its stdout and stderr; -1 once they ended.
    private var pipes: [Int32]
    private var collected: [[UInt8]] = [[], []]
    private var status: Int32?

    /// - Parameters:
    ///   - environment: added to this process's own.
    ///   - input: its whole stdin, which must fit into a pipe (64 KiB).
    package init(_ command: [String], environment: [String: String] = [:], input: [UInt8] = []) throws(LabFailure) {
        self.command = command
        let (stdin, stdout, stderr) = (try Pipe(), try Pipe(), try Pipe())
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, stdin.reading, 0)
        posix_spawn_file_actions_adddup2(&actions, stdout.writing, 1)
        posix_spawn_file_actions_adddup2(&actions, stderr.writing, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        // The threads that run tests block or ignore signals, and would hand that down.
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        var arguments = command.map { strdup($0) } + [nil]
        var variables = Self.merged(environment).map { strdup($0) } + [nil]
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
            for text in arguments + variables { free(text) }
        }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, command[0], &actions, &attributes, &arguments, &variables)
        close(stdin.reading)
        close(stdout.writing)
        close(stderr.writing)
        if code == 0, !input.isEmpty { _ = write(stdin.writing, input, input.count) }
        close(stdin.writing)
        self.pid = pid
        pipes = [stdout.reading, stderr.reading]
        guard code == 0 else {
            status = 127
            throw LabFailure("cannot start \(command.joined(separator: " ")): \(String(cString: strerror(code)))")
        }
    }

    deinit {
        if status == nil {
            kill(-pid, SIGKILL)
            waitpid(pid, nil, 0)
        }
        for pipe in pipes where pipe >= 0 { close(pipe) }
    }

    /// To the whole group.
    package func signal(_ number: Int32) { kill(-pid, number) }

    /// Waits for its end. One that takes longer is killed, and that is a failure.
    package func finish(within limit: Duration) throws(LabFailure) -> Result {
        let deadline = ContinuousClock.now + limit
        while status == nil {
            guard ContinuousClock.now < deadline else {
                signal(SIGKILL)
                waitpid(pid, nil, 0)
                status = 128 + SIGKILL
                _ = collect(wait: 0)
                throw LabFailure(
                    "took more than \(limit): \(command.joined(separator: " "))\n\(text(0))\(text(1))")
            }
            // Something that it started may hold its output open, so the end of the output is not waited for alone.
            let isOver = !collect(wait: 20)
            var raw: Int32 = 0
            if waitpid(pid, &raw, isOver ? 0 : WNOHANG) == pid {
                status = raw & 0x7f == 0 ? raw >> 8 & 0xff : 128 + raw & 0x7f
            }
        }
        // The last words of what it started (a command in a namespace is the child of the one who entered it).
        let patience = min(deadline, .now + .milliseconds(500))
        while collect(wait: 20), ContinuousClock.now < patience {}
        return Result(status: status ?? 0, output: text(0), talk: text(1))
    }

    /// Whether it has ended; `finish` returns at once then.
    package var hasEnded: Bool {
        guard status == nil else { return true }
        _ = collect(wait: 0)
        var info = siginfo_t()
        // It stays a zombie for `finish`, which wants its status.
        return waitid(P_PID, id_t(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_signo == SIGCHLD
    }

    package func outputSoFar() -> String {
        _ = collect(wait: 0)
        return text(0)
    }

    /// Waits until it has written that, to stdout or stderr.
    package func wait(for wanted: String, within limit: Duration) throws(LabFailure) {
        let deadline = ContinuousClock.now + limit
        while !text(0).contains(wanted), !text(1).contains(wanted) {
            guard collect(wait: 20), ContinuousClock.now < deadline else {
                throw LabFailure("'\(wanted)' did not come: \(command.joined(separator: " "))\n\(text(0))\(text(1))")
            }
        }
    }

    private func text(_ index: Int) -> String { String(decoding: collected[index], as: UTF8.self) }

    /// Takes what there is to read, after at most `wait` milliseconds; false when both outputs have ended.
    private func collect(wait: Int32) -> Bool {
        var polls = pipes.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        poll(&polls, nfds_t(polls.count), wait)
        var room = [UInt8](repeating: 0, count: 65536)
        for index in pipes.indices where pipes[index] >= 0 && polls[index].revents != 0 {
            while true {
                let count = read(pipes[index], &room, room.count)
                if count > 0 {
                    collected[index] += room[..<count]
                } else {
                    if count == 0 {
                        close(pipes[index])
                        pipes[index] = -1
                    }
                    break
                }
            }
        }
        return pipes.contains { $0 >= 0 }
    }

    private static func merged(_ added: [String: String]) -> [String] {
        var variables: [String] = []
        var next = environ
        while let text = next.pointee {
            let variable = String(cString: text)
            // The tests' own variables are no settings of the agents.
            let isOurs = variable.hasPrefix("TULLE_")
            if !isOurs, !added.keys.contains(where: { variable.hasPrefix("\($0)=") }) { variables.append(variable) }
            next += 1
        }
        return variables + added.map { "\($0)=\($1)" }
    }

    private struct Pipe {
        let reading: Int32
        let writing: Int32
        init() throws(LabFailure) {
            var ends: [Int32] = [-1, -1]
            guard pipe(&ends) == 0 else { throw LabFailure("no pipe: \(String(cString: strerror(errno)))") }
            // Ours alone: children get theirs by dup2.
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
            // Nobody reads while a test does other things, and a program whose pipe is full stands still. (F_SETPIPE_SZ, `man 2 fcntl`.)
            _ = fcntl(ends[0], 1031, Int32(1 << 20))
            (reading, writing) = (ends[0], ends[1])
        }
    }
}

/// Why a step of a test could not be done.
package struct LabFailure: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}
