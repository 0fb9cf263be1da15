import ArgumentParser
import LocalAPI

struct VersionCommand: RunnableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Print this program's version.", discussion: "Example: tulle version --output json")
    @OptionGroup var form: OutputOptions

    private struct Report: Encodable {
        var version = tulleVersion
    }

    func run(in context: CommandContext) async throws {
        switch form.output {
        case .table: try context.console.write("tulle \(tulleVersion)\n")
        case .json: try context.console.write(try LocalJSON.encode(Report(), pretty: true))
        }
    }
}
