/// `tulle reset`: takes every trace of Tulle from this host: namespaces with the veths of running containers, links, filter, state; and takes this
/// node out of its cluster, if the store answers.
import Fabric
import Glibc
import HTTP
import Kernel
import LocalAPI
import Logging
import Store

package enum ResetProgram {
    private static let operation = "reset this host"

    /// Refuses while an agent runs: it would put everything back; and where other nodes need this one, unless forced.
    /// - Parameter out: is told each thing done.
    package static func run(_ configuration: Configuration, isForced: Bool, out: (String) -> Void) async throws {
        try await expectNoAgent(configuration)
        let files = try StateDirectory(configuration.stateDirectory)
        // Held to the end, so that none starts meanwhile.
        let table = try holdTable(files.path("agent.db"))
        if let table, !isForced { try expectNoDependents(table, files) }
        let kernel = try LinuxKernel()
        var failures: [StepFailure] = []
        for namespace in try await kernel.namespaces().sorted() {
            failures += await kernel.apply([.deleteNamespace(namespace)])
            out("removed namespace \(namespace)")
        }
        let steps = Planner.plan(
            .host, desired: NamespaceState(), observed: try await kernel.observe(.host, fresh: true))
        failures += await kernel.apply(steps)
        if !steps.isEmpty { out("removed \(steps.count) objects from the host's namespace") }
        await ForwardAccept(log: Logger(label: "reset")).remove()
        guard failures.isEmpty else {
            throw AgentError(
                .kernel, operation, cause: failures.map { "\($0.step): \($0.reason)" }.joined(separator: "; "),
                remedy: "mend that and run 'tulle reset' again; the state files were kept")
        }
        if let table { await leave(table, files, configuration, out) }
        removeFiles(configuration)
        out("removed the state in \(configuration.stateDirectory)")
    }

    private static func expectNoAgent(_ configuration: Configuration) async throws {
        let client = LocalClient(socket: configuration.localSocket, timeout: .seconds(2))
        do { _ = try await client.status() } catch {
            // One that does not answer in time lives as well.
            guard error.code == .silent else { return }
        }
        throw AgentError(.setup, operation, cause: "its agent runs", remedy: "stop it first, for instance with 'systemctl stop tulle'")
    }

    /// nil where there is none, or none that can be read.
    private static func holdTable(_ path: String) throws -> LocalTable? {
        do { return try LocalTable(path: path, create: false) } catch let error as StoreError {
            guard error.code == .locked else { return nil }
            throw AgentError(
                .setup, operation, cause: "an agent runs that has \(path)", remedy: "stop it first, for instance with 'systemctl stop tulle'")
        }
    }

    /// Without its authority no certificate of the cluster is renewed, and without its store nothing is.
    private static func expectNoDependents(_ table: LocalTable, _ files: StateDirectory) throws {
        let servesStore = try Membership.load(table)?.servesStore ?? false
        guard let me = try? NodeID.kept(in: table) else { return }
        let hasAuthority = try files.read(Signer.file) != nil
        guard servesStore || hasAuthority else { return }
        var view = ClusterView()
        _ = try? Replica(path: files.path("replica.db"), log: Logger(label: "reset")).load(into: &view)
        // Another one may have taken its place.
        let signs = hasAuthority && (view.authority.map { $0.node == me } ?? true)
        guard servesStore || signs else { return }
        let what = servesStore && signs ? "store and its certificate authority" : servesStore ? "store" : "certificate authority"
        let others = view.nodes.values.filter { $0.id != me }.map(\.name).sorted()
        guard !others.isEmpty else { return }
        let names = others.prefix(5).joined(separator: ", ") + (others.count > 5 ? " and \(others.count - 5) more" : "")
        throw AgentError(
            .setup, operation, cause: "this host has the cluster's \(what), which \(others.count) other node\(others.count == 1 ? "" : "s") need\(others.count == 1 ? "s" : "") (\(names))",
            remedy: "reset those first; or, to leave them without it for ever, add --force")
    }

    /// The store that this host itself serves goes with its file.
    private static func leave(
        _ table: LocalTable, _ files: StateDirectory, _ configuration: Configuration, _ out: (String) -> Void
    ) async {
        guard let membership = try? Membership.load(table), membership.storeAddress != nil || membership.storeURL != nil,
            let node = try? NodeID.kept(in: table)
        else { return }
        do {
            let keys = PeerKeys(try Credentials.load(files)?.contexts(membership.cluster), token: try membership.secret)
            let access = try await StoreAccess.open(
                membership, configuration, keys: keys, table: table, files: files, log: Logger(label: "reset"))
            try await Leaving.leave(access.store, as: node, now: wallSeconds())
            out("left cluster \(membership.cluster)")
        } catch {
            out("the cluster could not be told (\(error)): run 'tulle node remove \(node)' on another of its hosts")
        }
    }

    /// Only files of ours: the directories may be somebody's mount.
    private static func removeFiles(_ configuration: Configuration) {
        for name in [Credentials.file, Signer.file] { unlink("\(configuration.stateDirectory)/\(name)") }
        for name in ["agent.db", "store.db", StoreAccess.formerStore, "replica.db"] {
            for suffix in ["", "-wal", "-shm", "-journal"] { unlink("\(configuration.stateDirectory)/\(name)\(suffix)") }
        }
        rmdir(configuration.stateDirectory)
        unlink(configuration.localSocket)
        rmdir(configuration.runDirectory)
        unlink("\(configuration.pluginDirectory)/tulle.sock")
    }
}
