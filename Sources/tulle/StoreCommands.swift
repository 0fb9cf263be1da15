/// `tulle store`: where the cluster's truth is, its backups, and what to do when it is lost.
import Agent
import ArgumentParser
import FoundationEssentials
import LocalAPI

struct StoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store", abstract: "The store of the cluster's truth.",
        subcommands: [Promote.self, Migrate.self, Export.self, Import.self, Accept.self])

    struct Promote: ReportCommand {
        static let configuration = CommandConfiguration(
            commandName: "promote", abstract: "Serve the store from here, when its host is lost.",
            discussion: """
                This node's agent takes the newest copy that any living node has, and serves it. The others follow by themselves, and \
                so does the former store when it comes back: what it took meanwhile counts no more. Changes that no living node had heard of are lost. \
                Until each node was heard or removed ('tulle node remove'), no node takes new blocks of addresses.

                Example: sudo tulle store promote
                """)
        @OptionGroup var agent: ClientOptions
        @OptionGroup var form: OutputOptions

        func ask(_ client: LocalClient) async throws(LocalError) -> StoreMoveReport { try await client.arriving(try await client.promoteStore()) }
        func text(_ report: StoreMoveReport, color: Bool) -> String {
            "this node serves the store now: epoch \(report.epoch), begun with revision \(report.revision) of \(report.source)\n"
        }
        func remark(_ report: StoreMoveReport) -> String? { report.silence }
    }

    struct Migrate: ReportCommand {
        static let configuration = CommandConfiguration(
            commandName: "migrate", abstract: "Move the store to etcd; run it where the store is served.",
            discussion: """
                Traffic goes on; what writes to the store waits for a second or two. All nodes follow. etcd may hold other things, but nothing \
                below the prefix of its address.

                Example: sudo tulle store migrate --to etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379
                """)
        @OptionGroup var agent: ClientOptions
        @OptionGroup var form: OutputOptions
        @Option(help: ArgumentHelp("etcd's address, as for 'tulle agent --store'.", valueName: "URL"))
        var to: String

        func ask(_ client: LocalClient) async throws(LocalError) -> StoreMoveReport { try await client.arriving(try await client.migrateStore(to: to)) }
        func text(_ report: StoreMoveReport, color: Bool) -> String { "the store is at \(report.place) now (epoch \(report.epoch))\n" }
        func remark(_ report: StoreMoveReport) -> String? { report.silence }
    }

    struct Export: RunnableCommand {
        static let configuration = CommandConfiguration(
            commandName: "export", abstract: "Print the whole store, as JSON: a backup.",
            discussion: """
                It is the store as it was at one moment. It has tokens only as hashes, and no key.

                Example: sudo tulle store export > tulle-$(date +%F).json
                """)
        @OptionGroup var agent: ClientOptions

        func run(in context: CommandContext) async throws {
            try context.console.write(try LocalJSON.encode(try await agent.client(context).exportStore(), pretty: true))
        }
    }

    struct Import: RunnableCommand {
        static let configuration = CommandConfiguration(
            commandName: "import", abstract: "Begin again with a backup, when the store is lost or damaged.",
            discussion: """
                Like 'promote', with the file in place of a node's copy: try that first, the nodes know more than the file. With etcd as the store, \
                an emptied etcd is filled. Living nodes add what they hold and the file lacks. Where the agent does not start for want of its \
                store, --offline makes it of the file; then start the agent.

                Example: sudo tulle store import tulle-2026-01-31.json
                """)
        @OptionGroup var agent: ClientOptions
        @OptionGroup var form: OutputOptions
        @Flag(help: "Without the agent, which does not run: its own store is made of the file.")
        var offline = false
        @Option(.config) var config: String?
        @Option(.stateDirectory) var stateDirectory: String?
        @Argument(help: "A file of 'tulle store export'.", completion: .file())
        var file: String

        private func importOffline(_ backup: StoreBackup, _ context: CommandContext) async throws -> StoreMoveReport {
            let given: [(ConfigurationOption, String?)] = [(.config, config), (.stateDirectory, stateDirectory)]
            let flags = given.reduce(into: [String: String]()) { $0[$1.0.name] = $1.1 }
            return try await ImportProgram.run(try Configuration.load(flags: flags, environment: context.environment), backup)
        }

        func run(in context: CommandContext) async throws {
            let backup: StoreBackup
            do {
                backup = try LocalJSON.decode(StoreBackup.self, from: [UInt8](try Data(contentsOf: URL(filePath: file))))
            } catch {
                throw CommandFailure(ExitStatus.usage, "cannot read \(file) as a backup of 'tulle store export': \(error)")
            }
            let report: StoreMoveReport
            if offline { report = try await importOffline(backup, context) } else {
                let client = try agent.client(context)
                report = try await client.arriving(try await client.importStore(backup))
            }
            switch form.output {
            case .json: try context.console.write(try LocalJSON.encode(report, pretty: true))
            case .table: try context.console.write("the store began again with \(backup.entries.count) objects of the file (epoch \(report.epoch))\n")
            }
        }
    }

    struct Accept: ReportCommand {
        static let configuration = CommandConfiguration(
            commandName: "accept", abstract: "Begin the store again with what the nodes know, after it lost what it had.",
            discussion: """
                An agent refuses a store that was emptied or went back in time, and changes nothing. When there is no better one, this command \
                begins its next epoch with the newest copy that a living node has; all nodes follow by themselves, and traffic goes on. Run it on one \
                node: with etcd on any, else on the host that serves the store.

                Example: sudo tulle store accept
                """)
        @OptionGroup var agent: ClientOptions
        @OptionGroup var form: OutputOptions

        func ask(_ client: LocalClient) async throws(LocalError) -> StoreMoveReport { try await client.arriving(try await client.acceptStore()) }
        func text(_ report: StoreMoveReport, color: Bool) -> String {
            report.source == "the store"
                ? "the store is believed: there was nothing to accept (epoch \(report.epoch))\n"
                : "the store began epoch \(report.epoch) with revision \(report.revision) of \(report.source)\n"
        }
        func remark(_ report: StoreMoveReport) -> String? { report.silence }
    }
}

extension StoreMoveReport {
    fileprivate var silence: String? {
        guard !silent.isEmpty else { return nil }
        return "did not answer: \(silent.joined(separator: ", ")). They follow when they are back; what is gone for good is to be removed ('tulle node remove NAME')."
    }
}

extension LocalClient {
    /// Returns when the agent, which begins anew, answers again.
    func answering() async throws(LocalError) {
        try? await Task.sleep(for: .milliseconds(400))
        for _ in 0..<150 {
            if (try? await status()) != nil { return }
            try? await Task.sleep(for: .milliseconds(100))
        }
        throw LocalError(.silent, "see the agent again", cause: "it did not answer again within 15 s", remedy: "see 'journalctl -u tulle'")
    }

    /// Returns when the agent, which begins anew, has the new store.
    fileprivate func arriving(_ report: StoreMoveReport) async throws(LocalError) -> StoreMoveReport {
        for _ in 0..<150 {
            if let status = try? await status(), status.store.epoch ?? 1 == report.epoch { return report }
            try? await Task.sleep(for: .milliseconds(100))
        }
        throw LocalError(
            .refused, "see the new store", cause: "it was made, and this node's agent does not follow it after 15 s", remedy: "see 'tulle status'")
    }
}
