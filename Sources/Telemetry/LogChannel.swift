/// A descriptor that is written without ever waiting for its reader.
///
/// O_NONBLOCK belongs to the open file description, which a shell shares with us: setting it on stderr would break the
/// shell's other programs. So sockets are written with MSG_DONTWAIT; pipes and terminals are opened anew through /proc
/// (`man 5 proc`, /proc/pid/fd), which gives a description of our own; and files, which never wait, are written as they
/// are (a second description would have a position of its own). Where opening anew is not allowed, poll(2) is asked before
/// each write, and at most PIPE_BUF bytes are written, for which a pipe that polls writable has room.
import Glibc

final class LogChannel: Sendable {
    enum Outcome {
        case taken(Int)
        case full
        case broken
    }

    private enum Kind {
        case socket, file, reopened, shared
    }

    private let descriptor: Int32
    private let kind: Kind

    init(_ given: Int32) {
        var status = stat()
        guard fstat(given, &status) == 0 else {
            (descriptor, kind) = (given, .file)
            return
        }
        switch status.st_mode & S_IFMT {
        case S_IFSOCK: (descriptor, kind) = (given, .socket)
        case S_IFIFO, S_IFCHR:
            let own = open("/proc/self/fd/\(given)", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
            (descriptor, kind) = own >= 0 ? (own, .reopened) : (given, .shared)
        default: (descriptor, kind) = (given, .file)
        }
    }

    deinit {
        if kind == .reopened { close(descriptor) }
    }

    func write(_ bytes: ArraySlice<UInt8>) -> Outcome {
        while true {
            if kind == .shared, !waitForRoom(atMost: .zero) { return .full }
            let count = bytes.withUnsafeBytes { buffer in
                switch kind {
                case .socket: send(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
                case .file, .reopened: Glibc.write(descriptor, buffer.baseAddress, buffer.count)
                case .shared: Glibc.write(descriptor, buffer.baseAddress, min(buffer.count, Int(PIPE_BUF)))
                }
            }
            if count >= 0 { return .taken(count) }
            switch errno {
            case EINTR: continue
            case EAGAIN, ENOBUFS: return .full
            default: return .broken
            }
        }
    }

    /// True also when the descriptor broke: the next write tells.
    func waitForRoom(atMost limit: Duration) -> Bool {
        let (seconds, attoseconds) = limit.components
        let milliseconds = Int32(clamping: seconds * 1000 + attoseconds / 1_000_000_000_000_000)
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        return poll(&entry, 1, milliseconds) > 0
    }
}
