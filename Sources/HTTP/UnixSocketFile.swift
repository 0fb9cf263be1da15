import Glibc

/// The file by which clients find a listening unix socket.
///
/// A socket is bound under a private name in the same directory, given its mode, set to listen, and only then renamed to its
/// own name. So there is no moment in which a client could find it with a wider mode or not listening, and a stale file
/// of a server that died is replaced without a gap. A file behind which a live server answers is left alone.
struct UnixSocketFile: Sendable {
    let path: String
    private let device: dev_t
    private let inode: ino_t

    /// A listening socket whose file has the path and mode, and that file. The caller owns the descriptor.
    static func listen(at path: String, mode: UInt32) throws(HTTPError) -> (descriptor: Int32, file: UnixSocketFile) {
        let operation = "listen on unix:\(path)"
        let slash = path.lastIndex(of: "/")
        let directory = slash.map { String(path[..<$0]) } ?? "."
        try withAddress(path, operation) { _, _ in 0 }
        try makeDirectory(directory, operation)
        try checkNobodyAnswers(at: path, operation)

        let name = "\(directory)/.\(getpid()).\(String(UInt16.random(in: 0...0xffff), radix: 16))"
        let descriptor = try openSocket(operation)
        do throws(HTTPError) {
            // bind takes the file's mode from the socket's, less the umask; chmod gives back what the umask took.
            _ = fchmod(descriptor, mode)
            try withAddress(name, operation) { bind(descriptor, $0, $1) }
            do throws(HTTPError) {
                try check(chmod(name, mode), operation)
                try check(Glibc.listen(descriptor, 512), operation)
                let status = try status(of: name, operation)
                try check(rename(name, path), operation)
                return (descriptor, UnixSocketFile(path: path, device: status.st_dev, inode: status.st_ino))
            } catch {
                unlink(name)
                throw error
            }
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// Removes the file, unless another server has taken its name since.
    func remove() {
        guard let now = try? UnixSocketFile.status(of: path, ""), now.st_dev == device, now.st_ino == inode else { return }
        unlink(path)
    }

    private static func makeDirectory(_ path: String, _ operation: String) throws(HTTPError) {
        var built = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            built += (built.isEmpty || built.hasSuffix("/") ? "" : "/") + part
            if mkdir(built, 0o755) != 0, errno != EEXIST {
                throw HTTPError(errno: errno, "\(operation): make the directory \(built)")
            }
        }
    }

    private static func checkNobodyAnswers(at path: String, _ operation: String) throws(HTTPError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw HTTPError(.addressInUse, operation, cause: "a file of that name exists and is no socket")
        }
        let descriptor = try openSocket(operation)
        defer { close(descriptor) }
        do throws(HTTPError) {
            try withAddress(path, operation) { connect(descriptor, $0, $1) }
        } catch {
            switch error.code {
            case .refused, .noSuchSocket: return
            case .system: break  // its queue is full (EAGAIN), or it is of another type
            default: throw error
            }
        }
        throw HTTPError(.addressInUse, operation, cause: "another program answers on that socket")
    }

    private static func openSocket(_ operation: String) throws(HTTPError) -> Int32 {
        let kind = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
        let descriptor = socket(AF_UNIX, Int32(kind), 0)
        guard descriptor >= 0 else { throw HTTPError(errno: errno, operation) }
        return descriptor
    }

    private static func status(of path: String, _ operation: String) throws(HTTPError) -> stat {
        var status = stat()
        try check(lstat(path, &status), operation)
        return status
    }

    private static func check(_ result: Int32, _ operation: String) throws(HTTPError) {
        if result != 0 { throw HTTPError(errno: errno, operation) }
    }

    /// Calls `body` with the `sockaddr_un` of a path (`man 7 unix`).
    private static func withAddress(
        _ path: String, _ operation: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) throws(HTTPError) {
        var address = sockaddr_un()
        let room = MemoryLayout.size(ofValue: address.sun_path)
        guard path.utf8.count < room, !path.utf8.contains(0) else {
            throw HTTPError(.badAddress, operation, cause: "the path is longer than \(room - 1) bytes")
        }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        try check(result, operation)
    }
}
