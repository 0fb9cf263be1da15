/// `tulle dns`: all names, or what a container would be told about one.
import ArgumentParser
import LocalAPI

struct DNSCommand: ReportCommand {
    static let configuration = CommandConfiguration(
        commandName: "dns", abstract: "What containers are called, and what one that asks is told.",
        discussion: """
            With a name or an address: what this host's containers are told, and whether by Tulle.

            Example: tulle dns web --network shop
            """)
    @Argument(help: ArgumentHelp("Look this up.", valueName: "NAME"))
    var name: String?
    @Option(help: ArgumentHelp("Only those on this network; ask as a container of it.", valueName: "NAME"))
    var network: String?
    @Option(help: ArgumentHelp("Ask for this type of record: A, AAAA, PTR, SRV, ANY.", valueName: "TYPE"))
    var type: String?
    @OptionGroup var agent: ClientOptions
    @OptionGroup var form: OutputOptions

    enum Report: Encodable, Sendable {
        case names([NameReport])
        case answer(NameAnswerReport)

        func encode(to encoder: any Encoder) throws {
            switch self {
            case .names(let report): try report.encode(to: encoder)
            case .answer(let report): try report.encode(to: encoder)
            }
        }
    }

    func ask(_ client: LocalClient) async throws(LocalError) -> Report {
        guard let name else { return .names(try await client.names().filter { (network ?? $0.network) == $0.network }) }
        return .answer(try await client.ask(NameQuestion(name: name, type: type, network: network)))
    }

    func text(_ report: Report, color: Bool) -> String {
        switch report {
        case .names(let names): names.table.text(color: color)
        case .answer(let answer): answer.answers.isEmpty && answer.additional.isEmpty ? "" : answer.table.text(color: color)
        }
    }

    func remark(_ report: Report) -> String? {
        guard case .answer(let answer) = report else { return nil }
        if !answer.known { return "Tulle has no such name for it: Docker's resolver is asked" }
        return answer.answers.isEmpty ? "the name is known, and has no record of that type" : nil
    }
}

extension [NameReport] {
    var table: Table {
        Table(
            columns: [
                .init(title: "NAMES"), .init(title: "ADDRESSES"), .init(title: "NETWORK"), .init(title: "NODE"), .init(title: "STATE"),
                .init(title: "PORTS", isOptional: true),
            ],
            rows: map { entry in
                [
                    .init(entry.names), .init(entry.addresses), .init(entry.network), .init(entry.node),
                    .init(entry.answered ? "answered" : "withheld", entry.answered ? .good : .bad),
                    .init(entry.ports.isEmpty ? nil : entry.ports.joined(separator: ", ")),
                ]
            })
    }
}

extension NameAnswerReport {
    var table: Table {
        Table(
            columns: [.init(title: "NAME"), .init(title: "TYPE"), .init(title: "TTL", isNumber: true), .init(title: "DATA")],
            rows: (answers + additional).map { [.init($0.name), .init($0.type), .init($0.ttl), .init($0.data)] })
    }
}
