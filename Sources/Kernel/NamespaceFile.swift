/// A question about a container's namespace file.
import Glibc

package enum NamespaceFile {
    /// Whether the path is a network namespace now, and not the plain file that a dead one leaves.
    @Sendable
    package static func isMounted(_ path: String) -> Bool {
        guard let descriptor = try? NamespacePins.open(path: path) else { return false }
        close(descriptor)
        return true
    }
}
