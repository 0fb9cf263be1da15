import Agent
import Glibc
import HTTP
import LocalAPI
import Testing

@testable import tulle

@Suite struct ProgramTests {
    @Test("version prints the version, as data")
    func version() async throws {
        #expect(try await tulle("version") == Outcome(status: 0, printed: "tulle \(tulleVersion)\n", said: ""))
        #expect(try await tulle("--version") == Outcome(status: 0, printed: "\(tulleVersion)\n", said: ""))
        #expect(
            try await tulle("version", "--output", "json") == Outcome(status: 0, printed: "{\n  \"version\" : \"\(tulleVersion)\"\n}\n", said: ""))
    }

    @Test(
        "a wrong command line ends with 64, says why and names the nearest",
        arguments: [
            (["statu"], "no such command 'statu'; did you mean 'status'?"), (["token", "shw"], "no such command 'shw'; did you mean 'show'?"),
            (["status", "--sock", "x"], "Unknown option '--sock'. Did you mean '--socket'?"),
            (["agent", "--node-nam", "x"], "Unknown option '--node-nam'. Did you mean '--node-name'?"),
            (["nodes", "extra"], "Unexpected argument 'extra'"), (["nodes", "-o", "xml"], "The value 'xml' is invalid"),
            (["agent", "--lease"], "Missing value for '--lease <DURATION>'"), ([], "USAGE: tulle <subcommand>"),
            (["store"], "USAGE: tulle store <subcommand>"),
            (["agent", "--lease", "ten"], "tulle: --lease: 'ten' is not allowed; give a duration from 1s to 7d, such as 90s or 1h30m"),
            (["agent", "--config", "/nonexistent"], "tulle: --config: there is no file '/nonexistent'"),
            (["status", "--run-dir", "x"], "tulle: --run-dir: 'x' is not allowed; give an absolute path of at most 96 bytes"),
        ])
    func usage(arguments: [String], message: String) async throws {
        let terminal = try Terminal()
        let status = await Program.run(arguments, environment: [:], console: terminal.console)
        #expect(status == 64)
        #expect(terminal.printed() == "")
        #expect(terminal.said().contains(message))
    }

    @Test("help that was asked for is data", arguments: [["--help"], ["help", "agent"], ["agent", "-h"], ["--generate-completion-script", "bash"]])
    func help(arguments: [String]) async throws {
        let terminal = try Terminal()
        #expect(await Program.run(arguments, environment: [:], console: terminal.console) == 0)
        #expect(terminal.printed().count > 100)
        #expect(terminal.said() == "")
    }

    @Test("the agent's flags are the table of settings, no more and no fewer")
    func flags() async throws {
        let help = try await tulle("agent", "--help").printed
        for option in ConfigurationOption.all {
            #expect(help.contains("--\(option.name) <\(option.placeholder)>"))
            guard case .command(let command as AgentCommand) = Program.parse(["agent", "--\(option.name)", "v"]) else {
                Issue.record("--\(option.name) is no flag of the agent")
                continue
            }
            #expect(command.flags == [option.name: "v"])
        }
        let shown = help.split(separator: "\n").filter { $0.hasPrefix("  --") }.count
        #expect(shown == ConfigurationOption.all.count + 1)  // and --version
    }

    @Test("tables and JSON come from the agent's answers")
    func reports() async throws {
        try await withAgent([
            .status: .report(Sample.status), .networks: .report(Sample.networks), .endpoints: .report(Sample.endpoints),
            .nodes: .report(Sample.nodes), .plan: .report(Sample.plan), .token: .report(TokenReport(token: "t0k", join: "192.0.2.1:7940")),
            .storeAccept: .report(StoreMoveReport(cluster: "c", epoch: 1, revision: 7, source: "h2", place: "this node")),
        ]) { agent async throws in
            #expect(try await tulle("networks", "--socket", agent.socket) == Outcome(status: 0, printed: Sample.networks.table.text(color: false), said: ""))
            #expect(try await tulle("networks", "--run-dir", agent.directory).status == 0)
            #expect(try await tulle("nodes", environment: ["TULLE_RUN_DIR": agent.directory]).printed.hasPrefix("NAME    ADDRESS "))
            #expect(try await tulle("status", "--socket", agent.socket).printed.hasPrefix("NODE      web-1 "))
            let filtered = try await tulle("endpoints", "--network", "shop", "--node", "web-2", "--socket", agent.socket, "-o", "json")
            #expect(try LocalJSON.decode([EndpointReport].self, from: Array(filtered.printed.utf8)) == [Sample.endpoints[1]])
            #expect(
                try await tulle("plan", "--socket", agent.socket).printed
                    == "NAMESPACE           STEP\ntulle-0123456789ab  add route 10.32.1.0/24\ntulle-0123456789ab  set MTU 1450\n")
            #expect(
                try await tulle("token", "show", "--socket", agent.socket)
                    == Outcome(status: 0, printed: "t0k\n", said: "On another host: sudo tulle agent --join 192.0.2.1:7940 --token TOKEN\n"))
            #expect(
                try await tulle("store", "accept", "--socket", agent.socket)
                    == Outcome(status: 0, printed: "the store began epoch 1 with revision 7 of h2\n", said: ""))
        }
    }

    @Test("a host at rest has nothing to change")
    func rest() async throws {
        try await withAgent([.plan: .report([PlanReport]())]) { agent async throws in
            #expect(try await tulle("plan", "--socket", agent.socket) == Outcome(status: 0, printed: "", said: "nothing to change\n"))
            #expect(try await tulle("plan", "--socket", agent.socket, "-o", "json") == Outcome(status: 0, printed: "[\n\n]\n", said: ""))
        }
    }

    @Test("an absent agent ends with 69 and says how to start it")
    func absent() async throws {
        #expect(
            try await tulle("status", "--socket", "/nonexistent/tulle.sock")
                == Outcome(
                    status: 69, printed: "",
                    said: "tulle: the agent does not answer at /nonexistent/tulle.sock: No such file or directory; "
                        + "start it with: systemctl start tulle\n"))
        #expect(try await tulle("status", "--socket", "/" + String(repeating: "x", count: 200)).status == 69)
    }

    @Test("an agent that refuses ends with 1, one that forbids with 77, one that is no agent with 1")
    func refusals() async throws {
        try await withAgent([
            .storeAccept: .report(ErrorReport(error: "the store does not answer; start its agent"), status: 503),
            .token: .report(ErrorReport(error: "only root may see the token"), status: 403), .nodes: .text("<html>"),
        ]) { agent async throws in
            #expect(
                try await tulle("store", "accept", "--socket", agent.socket)
                    == Outcome(status: 1, printed: "", said: "tulle: the store does not answer; start its agent\n"))
            #expect(try await tulle("token", "show", "--socket", agent.socket).status == 77)
            let strange = try await tulle("nodes", "--socket", agent.socket)
            #expect(strange.status == 1)
            #expect(strange.said.contains("compare the versions"))
            #expect(try await tulle("plan", "--socket", agent.socket).said.contains("answered GET /v1/plan with status 404"))
        }
    }

    @Test("a socket that is not for this user is 77")
    func permission() {
        let error = LocalError(.permission, "GET /v1/status", cause: "no permission", remedy: "use sudo")
        #expect(CommandFailure(any: error) == CommandFailure(77, "no permission; use sudo"))
    }

    @Test("a reader that went away is no failure, a full disk is")
    func output() async throws {
        signal(SIGPIPE, SIG_IGN)
        let terminal = try Terminal()
        terminal.closeReader()
        #expect(await Program.run(["version"], environment: [:], console: terminal.console) == 0)
        #expect(terminal.said() == "")
        let full = open("/dev/full", O_WRONLY)
        defer { close(full) }
        let console = Console(output: full, talk: -1, input: -1, environment: [:])
        #expect(await Program.run(["version"], environment: [:], console: console) == 1)
        #expect(await Program.run(["--help"], environment: [:], console: console) == 1)
    }

    @Test("colour is for terminals only, and NO_COLOR turns it off")
    func color() throws {
        #expect(try !Terminal().console.hasColor)
        #expect(Console.allowsColor(isTerminal: true, environment: ["NO_COLOR": "", "TERM": "xterm"]))
        #expect(!Console.allowsColor(isTerminal: false, environment: ["TERM": "xterm"]))
        #expect(!Console.allowsColor(isTerminal: true, environment: ["NO_COLOR": "1"]))
        #expect(!Console.allowsColor(isTerminal: true, environment: ["TERM": "dumb"]))
    }
}
