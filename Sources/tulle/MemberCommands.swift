/// The commands about who may take part.
import Agent
import ArgumentParser
import LocalAPI

struct TokenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "What lets other hosts join the cluster.", subcommands: [Create.self, List.self, Revoke.self, Show.self])

    struct Create: ReportCommand {
        static let configuration = CommandConfiguration(
            commandName: "create", abstract: "Make a token with which other hosts join, for a while.",
            discussion: "Whoever has it can join until it ends. It is shown once.\n\nExample: sudo tulle token create --ttl 1h --uses 3")
        @OptionGroup var agent: ClientOptions
        @OptionGroup var form: OutputOptions
        @Option(help: ArgumentHelp("How long it is good for.", valueName: "DURATION"))
        var ttl = "1h"
        @Option(help: ArgumentHelp("How many nodes may join with it (default: any number).", valueName: "N"))
        var uses: Int?

        func validate() throws {
            guard Configuration.seconds(ttl) != nil else {
                throw ValidationError("--ttl \(ttl) is no duration from 1s to 365d, such as 90s, 1h30m or 7d")
            }
            if let uses, uses < 1 { throw ValidationError("--uses must be a number from 1 on") }
        }

        func ask(_ client: LocalClient) async throws(LocalError) -> NewTokenReport {
            try await client.createToken(TokenRequest(ttl: Configuration.seconds(ttl) ?? 3600, uses: uses))
        }
        func text(_ report: NewTokenReport, color: Bool) -> String { report.token + "\n" }
        func remark(_ report: NewTokenReport) -> String? {
            "On another host: sudo tulle agent --join \(report.join) --token TOKEN"
        }
    }

    struct List: ReportCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "The tokens, without their secrets.", discussion: "Example: tulle token list")
        @OptionGroup var agent: ClientOptions
        @OptionGroup var form: OutputOptions

        func ask(_ client: LocalClient) async throws(LocalError) -> [JoinTokenReport] { try await client.tokens() }
        func text(_ report: [JoinTokenReport], color: Bool) -> String { report.table(now: .now()).text(color: color) }
    }

    struct Revoke: ReportCommand {
        static let configuration = CommandConfiguration(
            commandName: "revoke", abstract: "End a token at once. Nodes that joined with it stay.",
            discussion: "Example: sudo tulle token revoke 3f9a0c1d2b4e5f60")
        @OptionGroup var agent: ClientOptions
        @OptionGroup var form: OutputOptions
        @Argument(help: "The token's id, as 'tulle token list' shows it.")
        var id: String

        func ask(_ client: LocalClient) async throws(LocalError) -> [JoinTokenReport] { try await client.revokeToken(id) }
        func text(_ report: [JoinTokenReport], color: Bool) -> String { report.table(now: .now()).text(color: color) }
    }

    struct Show: ReportCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Print the shared secret with which other hosts join.",
            discussion: "Whoever has it can join: keep it secret.\n\nExample: sudo tulle token show")
        @OptionGroup var agent: ClientOptions
        @OptionGroup var form: OutputOptions

        func ask(_ client: LocalClient) async throws(LocalError) -> TokenReport { try await client.token() }
        func text(_ report: TokenReport, color: Bool) -> String { report.token + "\n" }
        func remark(_ report: TokenReport) -> String? {
            report.join.map { "On another host: sudo tulle agent --join \($0) --token TOKEN" }
        }
    }
}

struct AuthorityCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "authority", abstract: "The cluster's certificate authority.", subcommands: [Take.self])

    struct Take: ReportCommand {
        static let configuration = CommandConfiguration(
            commandName: "take", abstract: "Sign certificates from here on, when the host that does is lost.",
            discussion: """
                Certificates of the authority before are good until they end, and are renewed by this one. Only needed with etcd as the store: \
                'tulle store promote' does it too.

                Example: sudo tulle authority take
                """)
        @OptionGroup var agent: ClientOptions
        @OptionGroup var form: OutputOptions

        func ask(_ client: LocalClient) async throws(LocalError) -> AuthorityReport {
            let report = try await client.takeAuthority()
            try await client.answering()
            return report
        }
        func text(_ report: AuthorityReport, color: Bool) -> String { "node \(report.node) has the authority now (\(report.fingerprint.prefix(16))…)\n" }
    }
}

struct NodeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node", abstract: "Changes to the cluster's hosts; 'tulle nodes' lists them.", subcommands: [Remove.self])

    struct Remove: ReportCommand {
        static let configuration = CommandConfiguration(
            commandName: "remove", abstract: "Take a host out of the cluster for ever.",
            discussion: """
                Its addresses are free for others at once, and its containers are cut off from the cluster's networks, whether it \
                runs or not. It may come back as a new node: 'tulle reset' there, then join. With etcd as the store it still \
                knows etcd's address: change etcd's password and give the other nodes the new one (--store).

                Example: sudo tulle node remove host7
                """)
        @OptionGroup var agent: ClientOptions
        @OptionGroup var form: OutputOptions
        @Argument(help: "Its name or id, as 'tulle nodes' shows it.")
        var node: String

        func ask(_ client: LocalClient) async throws(LocalError) -> NodeReport { try await client.removeNode(node) }
        func text(_ report: NodeReport, color: Bool) -> String { "removed node \(report.name) (\(report.id))\n" }
    }
}
