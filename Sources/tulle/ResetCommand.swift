import Agent
import ArgumentParser
import Glibc
import LocalAPI
import Synchronization

struct ResetCommand: RunnableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset",
        abstract: "Remove every trace of the agent from this host.",
        discussion: """
            Stop the agent first. The networks' namespaces, links, rules and files go; containers that are still attached lose \
            their tulle networks. On a terminal it asks first.

            Example: sudo systemctl stop tulle && sudo tulle reset --yes
            """)

    @Flag(name: [.long, .short], help: "Do not ask.")
    var yes = false

    @Flag(help: "Also on the host that has the cluster's authority while other nodes need it.")
    var force = false

    @Option(.config) var config: String?
    @Option(.stateDirectory) var stateDirectory: String?
    @Option(.runDirectory) var runDirectory: String?
    @Option(.dockerSocket) var dockerSocket: String?
    @Option(.pluginDirectory) var pluginDirectory: String?
    @OptionGroup var form: OutputOptions

    private var flags: [String: String] {
        let given: [(ConfigurationOption, String?)] = [
            (.config, config), (.stateDirectory, stateDirectory), (.runDirectory, runDirectory), (.dockerSocket, dockerSocket),
            (.pluginDirectory, pluginDirectory),
        ]
        return given.reduce(into: [:]) { $0[$1.0.name] = $1.1 }
    }

    private struct Report: Encodable {
        var steps: [String]
    }

    func run(in context: CommandContext) async throws {
        let settings = try Configuration.load(flags: flags, environment: context.environment)
        guard geteuid() == 0 else {
            throw CommandFailure(ExitStatus.permission, "only root may reset this host; use sudo")
        }
        let console = context.console
        if !yes, console.isInteractive, !console.confirm("Remove every trace of tulle from this host?") {
            throw CommandFailure(ExitStatus.failure, "nothing was changed")
        }
        let steps = Mutex<[String]>([])
        let isTable = form.output == .table
        // A reader that went away does not stop the removal half-way.
        try await ResetProgram.run(settings, isForced: force) { step in
            if isTable { try? console.write(step + "\n") } else { steps.withLock { $0.append(step) } }
        }
        if !isTable { try console.write(try LocalJSON.encode(Report(steps: steps.withLock { $0 }), pretty: true)) }
    }
}
