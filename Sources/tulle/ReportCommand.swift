/// A command that asks the agent once and prints its answer.
import ArgumentParser
import LocalAPI

protocol ReportCommand: RunnableCommand {
    associatedtype Report: Encodable & Sendable
    var agent: ClientOptions { get }
    var form: OutputOptions { get }

    func ask(_ client: LocalClient) async throws(LocalError) -> Report
    /// The data for people.
    func text(_ report: Report, color: Bool) -> String
    /// A line for the person beside the data, if any.
    func remark(_ report: Report) -> String?
}

extension ReportCommand {
    func remark(_ report: Report) -> String? { nil }

    func run(in context: CommandContext) async throws {
        let report = try await ask(try agent.client(context))
        switch form.output {
        case .json: try context.console.write(try LocalJSON.encode(report, pretty: true))
        case .table:
            try context.console.write(text(report, color: context.console.hasColor))
            if let remark = remark(report) { context.console.say(remark) }
        }
    }
}
