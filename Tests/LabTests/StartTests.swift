import LocalAPI
import TestKit
import Testing

/// Starts that cannot succeed, and what they say. h3 has its own agent; those of the tests come beside it.
@Suite("an agent that cannot start", .serialized, .needsLab, .lab("start"))
struct StartTests {
    private func refused(_ arguments: String, status: Int32 = 1) throws -> String {
        let result = try h3.tulleAttempt("agent \(arguments)")
        #expect(result.status == status, "\(result.talk)")
        return result.talk
    }

    @Test("another cluster's token is refused, and the message says where to find the right one")
    func wrongToken() async throws {
        let founder = SecondAgent("founder", on: h3)
        try await founder.start()
        let other = try #require(try h3.tulle("token create --run-dir /run/founder").lines.first)
        try founder.stop()
        let talk = try SecondAgent("apart", on: h3, "--join 192.168.99.1 --token \(other)").refused()
        #expect(talk.contains("join the cluster at 192.168.99.1"), "\(talk)")
        #expect(talk.contains("which is not the one with the fingerprint"), "\(talk)")
        #expect(talk.contains("take a new token from that cluster"), "\(talk)")
        #expect(!talk.contains(other), "no message prints a token")
        #expect(try await h1.agent.nodes().count == 3)
    }

    @Test("a malformed token is refused", arguments: [("short", Int32(64)), ("this-is-no-token-of-ours-but-long", 1)])
    func malformedToken(token: String, status: Int32) throws {
        let talk = try SecondAgent("apart", on: h3, "--join 192.168.99.1 --token \(token)").refused(status: status)
        #expect(talk.contains("token"), "\(talk)")
        #expect(!talk.contains(token), "no message prints a token")
    }

    @Test("joining without a token, or where nobody answers, says so", arguments: [
        ("--join 192.168.99.1", "no token was given"), ("--join 192.168.99.77 --token tulle-0123456789abcdef", "192.168.99.77"),
    ])
    func join(arguments: String, expected: String) throws {
        #expect(try SecondAgent("apart", on: h3, arguments).refused().contains(expected))
    }

    @Test("a second agent on the same state directory is refused")
    func sameState() async throws {
        let talk = try SecondAgent("apart", on: h3, stateDirectory: "/var/lib/tulle").refused()
        #expect(talk.contains("/var/lib/tulle"), "\(talk)")
        #expect(talk.contains("one state directory serves one agent"), "\(talk)")
        #expect(try await h3.agent.status().store.reachable)
    }

    @Test("a second agent on the same sockets is refused, and the first one keeps them")
    func sameSockets() async throws {
        let talk = try refused("--state-dir /var/lib/apart --listen 192.168.99.3:7950")
        #expect(talk.contains(".sock"), "\(talk)")
        #expect(try await h3.agent.status().store.reachable)
        let answer = try h3.sh("curl -fsS -m 2 --unix-socket /run/docker/plugins/tulle.sock -X POST http://x/Plugin.Activate")
        #expect(answer.contains("IpamDriver"))
    }

    @Test("a test's clock that was set by mistake is refused")
    func clock() throws {
        let agent = "\(try lab.program()) agent --state-dir /var/lib/apart --run-dir /run/apart --docker-socket none"
        for file in ["/etc/hostname", "/run/no-such-file"] {
            let result = try h3.attempt("TULLE_TEST_CLOCK=\(file) timeout 10 \(agent)")
            #expect(result.status == 1)
            #expect(result.talk.contains("TULLE_TEST_CLOCK") && result.talk.contains(file) && result.talk.contains("unset"), "\(result.talk)")
        }
    }

    @Test("a TCP port that another program has is named, with its holder")
    func port() throws {
        try h3.spawn("holder", ["socat", "TCP-LISTEN:7966,fork,reuseaddr", "PIPE"])
        let talk = try SecondAgent("apart", on: h3, listen: "192.168.99.3:7966").refused()
        #expect(talk.contains("7966"), "\(talk)")
        #expect(talk.contains("socat"), "\(talk)")
        try h3.stop("holder")
    }

    @Test("a UDP port that another program has fails the container's start, and names the holder")
    func tunnelPort() async throws {
        try h1.createNetwork("shop", "--subnet 10.32.0.0/16")
        try await networkIsEverywhere("shop")
        try h2.spawn("holder", ["socat", "-u", "UDP-RECV:7941", "OPEN:/dev/null"])
        let answer = try h2.dockerRefuses("run -d --name held --network shop lab sleep 60")
        #expect(answer.contains("7941") && answer.contains("socat"), "\(answer)")
        try h2.stop("holder")
        try h2.docker("start held")
    }

    @Test("a damaged state file is left as it is and named", arguments: ["agent.db", "store.db", "replica.db"])
    func corrupt(file: String) async throws {
        // A node of its own: first sound, then damaged. Those that join have a replica.
        let join = try await "--join 192.168.99.1 --token \(h1.agent.joinToken())"
        let agent = SecondAgent("broken\(file.prefix(3))", on: h3, file == "replica.db" ? join : "")
        try await agent.start()
        try agent.stop()
        let path = agent.path(file)
        try lab.shell("rm -f \(path)-wal; head -c 20000 /dev/urandom >\(path); cp \(path) \(path).copy")
        let talk = try agent.refused()
        #expect(talk.contains("/var/lib/\(agent.name)/\(file)"), "\(talk)")
        try lab.shell("cmp \(path) \(path).copy")
    }

    @Test("an unknown flag or key ends with 64 and names the nearest one")
    func unknown() throws {
        #expect(try refused("--nod-name x", status: 64).contains("--node-name"))
        try h3.sh("echo 'node-nam: x' >/run/bad.yaml")
        #expect(try refused("--config /run/bad.yaml", status: 64).contains("did you mean 'node-name'"))
        #expect(try h3.tulleAttempt("statsu").status == 64)
        #expect(try h3.tulleAttempt("statsu").talk.contains("status"))
    }

    @Test("a command finds no agent: status 69, and what to do")
    func noAgent() throws {
        let result = try h3.tulleAttempt("status --run-dir /run/nowhere")
        #expect(result.status == 69)
        #expect(result.talk.contains("start"), "\(result.talk)")
        #expect(result.output.isEmpty)
    }

    @Test("a user who is not root may neither ask nor reset: status 77")
    func notRoot() throws {
        let binary = try lab.program()
        for command in ["status", "reset --yes"] {
            let result = try h3.attempt("setpriv --reuid 65534 --regid 65534 --clear-groups \(binary) \(command)")
            #expect(result.status == 77, "\(command): \(result.talk)")
            #expect(result.talk.contains("sudo"), "\(result.talk)")
        }
    }
}
