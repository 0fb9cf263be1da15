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

    /// nil if there is no such file. Files here are small.
    func read(_ name: String) throws -> String? { try Self.readFile(path(name)) }

    static func readFile(_ path: String) throws -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw Self.failure(path, errno)
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = Glibc.read(descriptor, &part, part.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Self.failure(path, errno) }
            if count == 0 || bytes.count > 1 << 20 { break }
            bytes += part.prefix(count)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    func remove(_ name: String) { unlink(path(name)) }

    /// Whole or not at all, also after a loss of power; for root's eyes only.
    func write(_ name: String, _ text: String) throws {
        let target = path(name), draft = path("." + name)
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw Self.failure(draft, errno) }
        defer { close(descriptor) }
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw Self.failure(draft, errno) }
            rest = rest.dropFirst(count)
        }
        guard fsync(descriptor) == 0, rename(draft, target) == 0 else { throw Self.failure(target, errno) }
        let place = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if place >= 0 {
            fsync(place)
            close(place)
        }
    }

    private static func failure(_ path: String, _ code: Int32) -> AgentError {
        AgentError(
            .setup, "use \(path)", cause: String(cString: strerror(code)),
            remedy: code == EACCES ? "run the agent as root" : "create it, or choose another with --state-dir")
    }
}
