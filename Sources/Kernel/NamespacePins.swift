/// The pins of network namespaces: files below /run/netns on which a namespace is bind-mounted, as `ip netns add` makes them, so
/// that it lives without a process in it and `ip netns` shows it (ip-netns(8)). The directory is made a shared mount, so that
/// other mount namespaces see pins come and go. After a reboot, or when its mount was taken away, a pin is left as a
/// plain empty file: that counts as no pin, and is mounted over again.
import CLinux
import Glibc

package struct NamespacePins: Sendable {
    package let directory: String

    package init(directory: String = "/run/netns") { self.directory = directory }

    private func path(_ name: String) -> String { "\(directory)/\(name)" }

    /// Names of pinned namespaces and of leftover files, that begin so.
    func names(prefix: String) throws(KernelError) -> [String] {
        guard let stream = opendir(directory) else {
            if errno == ENOENT { return [] }
            throw .last("list \(directory)")
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if name.hasPrefix(prefix) { names.append(name) }
        }
        return names.sorted()
    }

    /// An open descriptor of the namespace; nil when there is none of that name.
    package func open(_ name: String) throws(KernelError) -> Int32? {
        try Self.open(path: path(name))
    }

    /// An open descriptor of the network namespace that this file is; nil when the file is absent or something else.
    static func open(path: String) throws(KernelError) -> Int32? {
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw .last("open the network namespace \(path)")
        }
        guard linux_is_network_namespace(descriptor) == 1 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }

    /// A new, empty namespace under that name.
    func create(_ name: String) throws(KernelError) -> Int32 {
        try prepareDirectory()
        let descriptor = try Thread.run("tulle-newns") { () throws(KernelError) in
            guard linux_unshare(Int32(LINUX_CLONE_NEWNET)) == 0 else { throw .last("make a network namespace") }
            return try NamespacePins.current()
        }
        do throws(KernelError) {
            try pin(descriptor, as: name)
        } catch {
            close(descriptor)
            throw error
        }
        return descriptor
    }

    /// The calling thread's.
    package static func current() throws(KernelError) -> Int32 {
        // /proc/self is the main thread's view.
        let descriptor = Glibc.open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .last("open this thread's network namespace") }
        return descriptor
    }

    /// Puts an open namespace under that name, over a file that may be there.
    func pin(_ descriptor: Int32, as name: String) throws(KernelError) {
        try prepareDirectory()
        let file = Glibc.open(path(name), O_RDONLY | O_CREAT | O_CLOEXEC, 0o444)
        guard file >= 0 else { throw .last("make \(path(name))") }
        close(file)
        guard linux_bind_mount("/proc/thread-self/fd/\(descriptor)", path(name), 0) == 0 else {
            let error = KernelError.last("mount the network namespace on \(path(name))")
            unlink(path(name))
            throw error
        }
    }

    /// Whether exactly that namespace is under that name.
    func isPinned(_ descriptor: Int32, as name: String) -> Bool {
        var held = stat()
        var pinned = stat()
        return fstat(descriptor, &held) == 0 && stat(path(name), &pinned) == 0 && held.st_dev == pinned.st_dev
            && held.st_ino == pinned.st_ino
    }

    func remove(_ name: String) throws(KernelError) {
        // Pins can be stacked; each detach takes the topmost. The bound is only against surprises.
        for _ in 0..<16 where linux_detach_mount(path(name)) != 0 { break }
        guard unlink(path(name)) == 0 || errno == ENOENT else { throw .last("remove \(path(name))") }
    }

    private func prepareDirectory() throws(KernelError) {
        guard mkdir(directory, 0o755) == 0 || errno == EEXIST else { throw .last("make \(directory)") }
        if linux_share_mount(directory, UInt(LINUX_MS_REC)) == 0 { return }
        // No mount point yet: it becomes one by being mounted on itself.
        guard errno == EINVAL, linux_bind_mount(directory, directory, UInt(LINUX_MS_REC)) == 0,
            linux_share_mount(directory, UInt(LINUX_MS_REC)) == 0
        else { throw .last("make \(directory) a shared mount") }
    }
}
