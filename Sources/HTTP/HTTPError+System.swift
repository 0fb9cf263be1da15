import Glibc
import NIOCore
import NIOPosix
import TLS

/// The operating system's and NIO's errors in our words.
extension HTTPError {
    init(errno code: Int32, _ operation: String) {
        let kind: Code
        switch code {
        case ENOENT: kind = .noSuchSocket
        case ECONNREFUSED: kind = .refused
        case EACCES, EPERM: kind = .permissionDenied
        case EADDRINUSE: kind = .addressInUse
        case EADDRNOTAVAIL, ENAMETOOLONG, ENOTDIR: kind = .badAddress
        case ENETUNREACH, EHOSTUNREACH: kind = .unreachable
        case ETIMEDOUT: kind = .timedOut
        case EPIPE, ECONNRESET, ECONNABORTED: kind = .closed
        default: kind = .system
        }
        self.init(kind, operation, cause: String(cString: strerror(code)))
    }

    /// Any error that NIO reports for an address or a connection.
    init(_ error: any Error, _ operation: String) {
        switch error {
        case let error as HTTPError:
            self = error
        case let error as TLSError:
            let code: Code
            switch error.code {
            case .closed, .truncated: code = .closed
            case .timedOut: code = .timedOut
            default: code = .notSecure
            }
            self.init(code, operation, cause: error.cause, tls: error)
        case let error as IOError:
            self.init(errno: error.errnoCode, operation)
        case let error as NIOConnectionError:
            if let first = error.connectionErrors.first {
                self.init(first.error, operation)
            } else {
                self.init(.unreachable, operation, cause: "the name \(error.host) cannot be resolved")
            }
        case is SocketAddressError:
            self.init(.badAddress, operation, cause: "the address cannot be used (\(error))")
        case ChannelError.connectTimeout:
            self.init(.timedOut, operation, cause: "no connection in time")
        case is ChannelError:
            self.init(.closed, operation, cause: "the connection was closed")
        default:
            self.init(.system, operation, cause: "\(error)")
        }
    }
}
