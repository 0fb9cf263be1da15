/// The accept that egress needs in the host's FORWARD path. Docker sets its policy to DROP and offers the chain DOCKER-USER for exceptions; without
/// Docker's chain ours go into FORWARD itself. Through the host's own iptables program, so that they are where its other rules are
/// (legacy or nf_tables).
///
/// Published ports go by Docker's own bridge, and Docker's rules let them pass: only where somebody flushed those away ours take their place, in
/// FORWARD. In DOCKER-USER they would overrule what the host's owner says there of published ports.
import Dispatch
import Fabric
import Glibc
package import Logging

package actor ForwardAccept {
    private let log: Logger
    /// At the start an earlier agent's may be there.
    private var wasWanted = true
    private var hasPublishing = true
    private var hasV6 = true
    private var failures: Set<String> = []

    package init(log: Logger) { self.log = log }

    /// What the networks here need.
    package struct Need: Hashable, Sendable {
        /// Some network has a way out; over IPv6 too.
        package var egress = false, v6 = false
        /// Docker publishes ports of some container here.
        package var publishing = false

        package init() {}
    }

    /// Asserts the rules (again) when they are wanted; removes them when they no longer are.
    package func assert(_ need: Need) async {
        let (isWanted, withV6) = (need.egress, need.v6)
        guard isWanted || wasWanted else { return }
        hasV6 = hasV6 || withV6
        // What could not be done is done at the next call.
        var isDone = true
        for tool in ["iptables"] + (hasV6 ? ["ip6tables"] : []) {
            // After a flush the chain may still be there, with nothing that leads to it.
            let link = await run(tool, ["-C", "FORWARD", "-j", "DOCKER-USER"])
            // 1 or 2: not there, or no such chain; 4: the table is busy, which says nothing.
            guard link <= 2 else {
                if isWanted { fail(tool, link) }
                // 127: a host without the program has none of its rules.
                if link != 127 { isDone = false }
                continue
            }
            let chain = link == 0 ? "DOCKER-USER" : "FORWARD"
            if link == 0 { await remove(tool, from: "FORWARD") }
            for rule in Self.rules where await !put(rule, tool, chain, isWanted) { isDone = false }
            // Docker's bridge knows IPv4 only.
            guard tool == "iptables" else { continue }
            let isMissing = link != 0 && need.publishing
            if isMissing || hasPublishing {
                var isPut = true
                for rule in Self.publishing where await !put(rule, tool, "FORWARD", isMissing) { isPut = false }
                hasPublishing = isMissing || !isPut
            }
        }
        if isDone { (wasWanted, hasV6) = (isWanted, withV6) }
    }

    /// - Returns: whether it is so now.
    @discardableResult
    private func put(_ rule: [String], _ tool: String, _ chain: String, _ isWanted: Bool) async -> Bool {
        // Only 1 says that the rule is not there.
        let presence = await run(tool, ["-C", chain] + rule)
        if isWanted, presence == 1 {
            let status = await run(tool, ["-I", chain] + rule)
            if status != 0 { fail(tool, status) } else { failures = [] }
            return status == 0
        }
        // A host without the program, or without that chain, has none of them.
        if !isWanted, presence == 0 { return await run(tool, ["-D", chain] + rule) == 0 }
        return presence != 4
    }

    /// Removes the rules wherever they are.
    package func remove() async {
        for tool in ["iptables", "ip6tables"] {
            for chain in ["DOCKER-USER", "FORWARD"] { await remove(tool, from: chain) }
        }
        for rule in Self.publishing { await put(rule, "iptables", "FORWARD", false) }
    }

    /// All copies of them: a busy table may have got one twice.
    private func remove(_ tool: String, from chain: String) async {
        for rule in Self.rules {
            for _ in 0..<8 {
                guard await run(tool, ["-C", chain] + rule) == 0, await run(tool, ["-D", chain] + rule) == 0 else { break }
            }
        }
    }

    private static let rules = [
        ["-i", "\(Desired.hostPrefix)+", "-m", "comment", "--comment", "tulle: egress", "-j", "ACCEPT"],
        [
            "-o", "\(Desired.hostPrefix)+", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-m", "comment",
            "--comment", "tulle: answers to egress", "-j", "ACCEPT",
        ],
    ]

    /// As Docker has them for the bridge by which it publishes ports; what DNAT leads there, it does for some port.
    private static let publishing = [
        ["-i", "docker_gwbridge", "!", "-o", "docker_gwbridge", "-m", "comment", "--comment", "tulle: published ports", "-j", "ACCEPT"],
        [
            "-o", "docker_gwbridge", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED,DNAT", "-m", "comment",
            "--comment", "tulle: published ports", "-j", "ACCEPT",
        ],
    ]

    /// Once for each kind: a host without iptables needs no exception from it.
    private func fail(_ tool: String, _ status: Int32) {
        let text = status == 127
            ? "\(tool) was not found on PATH: if this host's FORWARD chain drops packets, containers have no way out"
            : "\(tool) ended with status \(status)"
        guard failures.insert(text).inserted else { return }
        log.warning("cannot accept egress in the host's FORWARD chain", metadata: ["error": "\(text)"])
    }

    /// The exit status, or 127 where there is no such program.
    private func run(_ tool: String, _ arguments: [String]) async -> Int32 {
        await withCheckedContinuation { continuation in
            // Waiting for a program must not hold one of the few threads that tasks run on.
            DispatchQueue.global().async {
                continuation.resume(returning: ChildProcess.run(tool, ["-w", "2"] + arguments))
            }
        }
    }
}

/// Starts a program and waits for its end.
package enum ChildProcess {
    /// Found on PATH and in the sbin directories; output discarded.
    package static func run(_ tool: String, _ arguments: [String]) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var words: [UnsafeMutablePointer<CChar>?] = ([tool] + arguments).map { word in strdup(word) }
        words.append(nil)
        defer { for word in words { free(word) } }
        let places: [String] = (getenv("PATH").map { value in String(cString: value) } ?? "").split(separator: ":").map(String.init).filter { $0.hasPrefix("/") }
            + ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        let candidates: [String] = places.map { "\($0)/\(tool)" }
        guard let path = candidates.first(where: { access($0, X_OK) == 0 }) else { return 127 }
        var pid: pid_t = 0
        var environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=\(places.joined(separator: ":"))"), nil]
        defer { free(environment[0]) }
        guard posix_spawn(&pid, path, &actions, nil, &words, &environment) == 0 else { return 127 }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    }
}
