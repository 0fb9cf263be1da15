import ArgumentParser
import LocalAPI

/// The root: names the commands.
struct Tulle: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tulle",
        abstract: "Containers on many Docker hosts share one network.",
        discussion: """
            On the first host:   sudo tulle agent
            On the others, once: sudo tulle agent --join HOST1 --token T
            On any one of them:  docker network create -d tulle --ipam-driver tulle --subnet 10.32.0.0/16 shop
            """,
        version: tulleVersion,
        subcommands: [
            AgentCommand.self, StatusCommand.self, NetworksCommand.self, EndpointsCommand.self, NodesCommand.self, DNSCommand.self, PlanCommand.self,
            ExposeCommand.self, HideCommand.self, NodeCommand.self, TokenCommand.self, AuthorityCommand.self, StoreCommand.self, ResetCommand.self, VersionCommand.self,
        ])
}
