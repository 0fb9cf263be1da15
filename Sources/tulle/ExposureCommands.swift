/// The commands by which the host itself joins a network and leaves it.
import ArgumentParser
import LocalAPI

struct ExposeCommand: ReportCommand {
    static let configuration = CommandConfiguration(
        commandName: "expose", abstract: "Let this host itself take part in a network.",
        discussion: """
            The host gets an address of the network: it reaches all containers there, and they reach it by that address. This lasts over restarts, \
            until 'tulle hide'. Each host does it for itself.

            Example: sudo tulle expose shop --address 10.32.0.9
            """)
    @OptionGroup var agent: ClientOptions
    @OptionGroup var form: OutputOptions
    @Option(help: ArgumentHelp("The host's address there (default: any free one); once for IPv4 and once for IPv6.", valueName: "A"))
    var address: [String] = []
    @Argument(help: "The network's name or id, as 'tulle networks' shows it.")
    var network: String

    func ask(_ client: LocalClient) async throws(LocalError) -> EndpointReport {
        try await client.expose(ExposureRequest(network: network, addresses: address))
    }
    func text(_ report: EndpointReport, color: Bool) -> String { report.addresses.joined(separator: "\n") + "\n" }
}

struct HideCommand: ReportCommand {
    static let configuration = CommandConfiguration(
        commandName: "hide", abstract: "Take this host out of a network again.", discussion: "Example: sudo tulle hide shop")
    @OptionGroup var agent: ClientOptions
    @OptionGroup var form: OutputOptions
    @Argument(help: "The network's name or id.")
    var network: String

    func ask(_ client: LocalClient) async throws(LocalError) -> EndpointReport { try await client.hide(network) }
    func text(_ report: EndpointReport, color: Bool) -> String { "" }
    func remark(_ report: EndpointReport) -> String? { "this host is not on network \(report.network) any more" }
}
