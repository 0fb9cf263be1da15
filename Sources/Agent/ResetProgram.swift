/// `tulle reset`: takes every trace of Tulle from this host: namespaces with the veths of running containers, links, filter, state.
import Fabric
import Glibc
import HTTP
import Kernel
import LocalAPI
import Logging

package enum ResetProgram {
    /// Refuses while an agent runs: it would put everything back.
    /// - Parameter out: is told each thing done.
    package static func run(_ configuration: Configuration, out: (String) -> Void) async throws {
        let operation = "reset this host"
        let client = LocalClient(socket: configuration.localSocket, timeout: .seconds(2))
        if (try? await client.status()) != nil {
            throw AgentError(
                .setup, operation, cause: "its agent runs", remedy: "stop it first, for instance with 'systemctl stop tulle'")
        }
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
        removeFiles(configuration)
        out("removed the state in \(configuration.stateDirectory)")
    }

    /// Only files of ours: the directories may be somebody's mount.
    private static func removeFiles(_ configuration: Configuration) {
        for name in ["agent.db", "store.db", "replica.db"] {
            for suffix in ["", "-wal", "-shm", "-journal"] { unlink("\(configuration.stateDirectory)/\(name)\(suffix)") }
        }
        rmdir(configuration.stateDirectory)
        unlink(configuration.localSocket)
        rmdir(configuration.runDirectory)
        unlink("\(configuration.pluginDirectory)/tulle.sock")
    }
}
