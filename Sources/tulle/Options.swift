/// Options that several commands share.
import Agent
import ArgumentParser
import LocalAPI

enum OutputForm: String, ExpressibleByArgument, CaseIterable, Sendable {
    case table, json
}

struct OutputOptions: ParsableArguments {
    @Option(name: [.long, .short], help: ArgumentHelp("How data is printed.", valueName: "table|json"))
    var output = OutputForm.table
}

/// Which agent is asked.
struct ClientOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The agent's socket (default: tulle.sock in its run directory).", valueName: "PATH"), completion: .file())
    var socket: String?

    @Option(.runDirectory)
    var runDirectory: String?

    func client(_ context: CommandContext) throws(ConfigurationError) -> LocalClient {
        if let socket { return LocalClient(socket: socket) }
        let flags = runDirectory.map { [ConfigurationOption.runDirectory.name: $0] } ?? [:]
        return LocalClient(socket: try Configuration.localSocket(flags: flags, environment: context.environment))
    }
}

extension Option where Value == String? {
    /// A flag as the table of settings describes it; the text is parsed with all other sources, in `Configuration.load`.
    init(_ row: ConfigurationOption) {
        self.init(
            name: .customLong(row.name),
            help: ArgumentHelp("\(row.help) (default: \(row.standard)).", valueName: row.placeholder),
            completion: row.completion)
    }
}

extension ConfigurationOption {
    fileprivate var completion: CompletionKind {
        switch placeholder {
        case "FILE", "PATH|none": .file()
        case "DIR": .directory
        case "LEVEL": .list(["trace", "debug", "info", "notice", "warning", "error", "critical"])
        default: placeholder == placeholder.lowercased() ? .list(placeholder.split(separator: "|").map(String.init)) : .default
        }
    }
}
