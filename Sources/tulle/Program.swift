/// From arguments to an exit status.
import ArgumentParser
import Agent
import LocalAPI

/// What a command runs with.
struct CommandContext: Sendable {
    let environment: [String: String]
    let console: Console
}

/// A command that does something; those that only group others do not conform.
protocol RunnableCommand: ParsableCommand {
    func run(in context: CommandContext) async throws
}

enum Program {
    static func run(_ arguments: [String], environment: [String: String], console: Console) async -> Int32 {
        do {
            switch parse(arguments) {
            case .command(let command): try await command.run(in: CommandContext(environment: environment, console: console))
            case .text(let text): try console.write(text)
            case .wrong(let message):
                console.say(message)
                return ExitStatus.usage
            }
            return ExitStatus.success
        } catch {
            let failure = CommandFailure(any: error)
            if !failure.message.isEmpty { console.say(failure.message.hasPrefix("tulle: ") ? failure.message : "tulle: \(failure.message)") }
            return failure.status
        }
    }

    enum Parsed {
        case command(any RunnableCommand)
        /// Help, the version or a completion script: data that was asked for.
        case text(String)
        /// No command, or a wrong one: what to tell the person.
        case wrong(String)
    }

    static func parse(_ arguments: [String]) -> Parsed {
        do {
            var command = try Tulle.parseAsRoot(arguments)
            if let command = command as? any RunnableCommand { return .command(command) }
            if type(of: command).configuration.subcommands.isEmpty {
                try command.run()  // ArgumentParser's own, such as `help`: it ends by throwing its text
            }
            return .wrong(Tulle.helpMessage(for: type(of: command)))
        } catch {
            let message = Tulle.fullMessage(for: error)
            if Tulle.exitCode(for: error) == .success { return .text(message.hasSuffix("\n") ? message : message + "\n") }
            return .wrong(unknownCommand(arguments) ?? message)
        }
    }

    /// ArgumentParser calls a mistyped command an unexpected argument; this names the nearest one.
    private static func unknownCommand(_ arguments: [String]) -> String? {
        var group: any ParsableCommand.Type = Tulle.self
        var path = "tulle"
        for argument in arguments {
            let commands = group.configuration.subcommands
            guard !commands.isEmpty, !argument.hasPrefix("-") else { return nil }
            if let next = commands.first(where: { $0._commandName == argument }) {
                (group, path) = (next, "\(path) \(argument)")
            } else {
                let hint = ConfigurationHint.suffix(argument, among: commands.map { $0._commandName })
                return "Error: no such command '\(argument)'\(hint)\n  See '\(path) --help' for more information."
            }
        }
        return nil
    }
}
