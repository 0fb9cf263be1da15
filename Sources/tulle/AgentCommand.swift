import Agent
import ArgumentParser

struct AgentCommand: RunnableCommand {
    static let configuration = CommandConfiguration(
        commandName: "agent",
        abstract: "Run the agent on this host.",
        discussion: """
            Every option can also be a variable (TULLE_NODE_NAME for --node-name) or a line of the settings file \
            (node-name: web-1). A flag counts before a variable, a variable before the file.

            Example: sudo tulle agent --underlay 192.0.2.0/24 --join host1 --token T
            """)

    @Option(.config) var config: String?
    @Option(.nodeName) var nodeName: String?
    @Option(.stateDirectory) var stateDirectory: String?
    @Option(.runDirectory) var runDirectory: String?
    @Option(.underlay) var underlay: String?
    @Option(.store) var store: String?
    @Option(.listen) var listen: String?
    @Option(.join) var join: String?
    @Option(.token) var token: String?
    @Option(.dockerSocket) var dockerSocket: String?
    @Option(.pluginDirectory) var pluginDirectory: String?
    @Option(.logLevel) var logLevel: String?
    @Option(.logFormat) var logFormat: String?
    @Option(.vxlanPort) var vxlanPort: String?
    @Option(.vniBase) var vniBase: String?
    @Option(.scope) var scope: String?
    @Option(.certificateLifetime) var certificateLifetime: String?
    @Option(.forgetAfter) var forgetAfter: String?
    @Option(.lease) var lease: String?

    /// What was given, by setting's name.
    var flags: [String: String] {
        let given: [(ConfigurationOption, String?)] = [
            (.config, config), (.nodeName, nodeName), (.stateDirectory, stateDirectory), (.runDirectory, runDirectory),
            (.underlay, underlay), (.store, store), (.listen, listen), (.join, join), (.token, token),
            (.dockerSocket, dockerSocket), (.pluginDirectory, pluginDirectory), (.logLevel, logLevel), (.logFormat, logFormat),
            (.vxlanPort, vxlanPort), (.vniBase, vniBase), (.scope, scope), (.certificateLifetime, certificateLifetime),
            (.forgetAfter, forgetAfter), (.lease, lease),
        ]
        return given.reduce(into: [:]) { $0[$1.0.name] = $1.1 }
    }

    func run(in context: CommandContext) async throws {
        let settings = try Configuration.load(flags: flags, environment: context.environment)
        let status = await AgentProgram.run(settings)
        // The agent has said why in its log.
        if status != ExitStatus.success { throw CommandFailure(status, "") }
    }
}
