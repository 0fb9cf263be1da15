/// The agent's directory: it exists, is ours alone to read, and is on this host.
import Glibc

package struct StateDirectory: Sendable {
    private let directory: String

    package init(_ path: String) throws {
        directory = path
        var built = ""
        for part in path.split(separator: "/") {
            built += "/" + part
            if mkdir(built, built == path ? 0o700 : 0o755) != 0, errno != EEXIST {
                throw Self.failure(path, errno)
            }
        }
        guard access(path, R_OK | W_OK | X_OK) == 0 else { throw Self.failure(path, errno) }
    }

    package func path(_ name: String) -> String { "\(directory)/\(name)" }

    private static func failure(_ path: String, _ code: Int32) -> AgentError {
        AgentError(
            .setup, "use the state directory \(path)", cause: String(cString: strerror(code)),
            remedy: code == EACCES ? "run the agent as root" : "create it, or choose another with --state-dir")
    }
}
