/// The commands that ask the agent.
import ArgumentParser
import LocalAPI

struct StatusCommand: ReportCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "How this node is, and what is wrong.", discussion: "Example: tulle status --output json")
    @OptionGroup var agent: ClientOptions
    @OptionGroup var form: OutputOptions

    func ask(_ client: LocalClient) async throws(LocalError) -> StatusReport { try await client.status() }
    func text(_ report: StatusReport, color: Bool) -> String { report.text(now: .now(), color: color) }
}

struct NetworksCommand: ReportCommand {
    static let configuration = CommandConfiguration(
        commandName: "networks", abstract: "The cluster's networks.",
        discussion: "BLOCKS are this node's; ENDPOINTS are here/everywhere.\n\nExample: tulle networks")
    @OptionGroup var agent: ClientOptions
    @OptionGroup var form: OutputOptions

    func ask(_ client: LocalClient) async throws(LocalError) -> [NetworkReport] { try await client.networks() }
    func text(_ report: [NetworkReport], color: Bool) -> String { report.table.text(color: color) }
}

struct EndpointsCommand: ReportCommand {
    static let configuration = CommandConfiguration(
        commandName: "endpoints", abstract: "The containers on the networks, of all nodes.",
        discussion: "Example: tulle endpoints --network shop")
    @OptionGroup var agent: ClientOptions
    @OptionGroup var form: OutputOptions
    @Option(help: ArgumentHelp("Only those on this network.", valueName: "NAME"))
    var network: String?
    @Option(help: ArgumentHelp("Only those on this node.", valueName: "NAME"))
    var node: String?

    func ask(_ client: LocalClient) async throws(LocalError) -> [EndpointReport] {
        try await client.endpoints().filter { (network ?? $0.network) == $0.network && (node ?? $0.node) == $0.node }
    }
    func text(_ report: [EndpointReport], color: Bool) -> String { report.table(now: .now()).text(color: color) }
}

struct NodesCommand: ReportCommand {
    static let configuration = CommandConfiguration(
        commandName: "nodes", abstract: "The hosts of the cluster; * marks this one.", discussion: "Example: tulle nodes")
    @OptionGroup var agent: ClientOptions
    @OptionGroup var form: OutputOptions

    func ask(_ client: LocalClient) async throws(LocalError) -> [NodeReport] { try await client.nodes() }
    func text(_ report: [NodeReport], color: Bool) -> String { report.table(now: .now()).text(color: color) }
}

struct PlanCommand: ReportCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "What the agent would change in the kernel now.",
        discussion: "Nothing, on a host at rest.\n\nExample: tulle plan")
    @OptionGroup var agent: ClientOptions
    @OptionGroup var form: OutputOptions

    func ask(_ client: LocalClient) async throws(LocalError) -> [PlanReport] { try await client.plan() }
    func text(_ report: [PlanReport], color: Bool) -> String { isEmpty(report) ? "" : report.table.text(color: color) }
    func remark(_ report: [PlanReport]) -> String? { isEmpty(report) ? "nothing to change" : nil }
    private func isEmpty(_ report: [PlanReport]) -> Bool { report.allSatisfy(\.steps.isEmpty) }
}
