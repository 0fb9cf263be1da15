/// What the kernel refused, or what could not be asked of it.
package import Netlink
import CLinux
import Glibc

package struct KernelError: Error, Hashable, Sendable, CustomStringConvertible {
    package struct Code: RawRepresentable, Hashable, Sendable {
        package var rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }
    }

    package var code: Code
    /// What was being done, as in "create link tulle0 in tulle-0123456789ab".
    package var operation: String
    /// The errno's name and text, and what the kernel said in its extended acknowledgement.
    package var cause: String
    package var remedy: String
    /// As the kernel gave it; 0 when the error is not the kernel's.
    package var errno: Int32

    /// - Parameter remedy: the code's own remedy when nil.
    package init(_ code: Code, _ operation: String, cause: String, errno: Int32 = 0, remedy: String? = nil) {
        self.code = code
        self.operation = operation
        self.cause = cause
        self.errno = errno
        self.remedy = remedy ?? code.remedy
    }

    package var description: String { "cannot \(operation): \(cause). \(remedy)" }
}

extension KernelError.Code {
    /// The agent lacks a capability. Run it as root, or give it CAP_NET_ADMIN and CAP_SYS_ADMIN.
    package static let permission = Self(rawValue: "permission")
    /// Something of that name or number is already there and is not what was asked for. The text names it.
    package static let exists = Self(rawValue: "exists")
    /// The link, namespace or file is not there. If somebody removed it, the agent makes it again by itself.
    package static let notFound = Self(rawValue: "not-found")
    /// This kernel lacks a feature. Load the module that the text names, or use a kernel from 6.1 on.
    package static let unsupported = Self(rawValue: "unsupported")
    /// The kernel calls the request itself wrong. A fault of the program: report it.
    package static let invalid = Self(rawValue: "invalid")
    /// The kernel lacks memory, descriptors or room in a table. Make room; the text says what is full.
    package static let exhausted = Self(rawValue: "exhausted")
    /// The kernel did not answer. Look into its log (dmesg): a driver may hold the network's lock.
    package static let timedOut = Self(rawValue: "timed-out")
    /// Answers were lost because they came faster than they were read. The agent reads everything again by itself.
    package static let overrun = Self(rawValue: "overrun")
    /// What was being listed changed too fast to be listed. The agent tries again by itself.
    package static let interrupted = Self(rawValue: "interrupted")
    /// The answer cannot be read. Report it with `tulle version` and `uname -r`.
    package static let garbled = Self(rawValue: "garbled")
    /// Another error of the kernel's; see its text.
    package static let failed = Self(rawValue: "failed")

    init(errno: Int32) {
        switch errno {
        case EPERM, EACCES: self = .permission
        case EEXIST, EADDRINUSE: self = .exists
        case ENOENT, ENODEV, ESRCH, ENXIO, EADDRNOTAVAIL: self = .notFound
        case EOPNOTSUPP, EAFNOSUPPORT, EPROTONOSUPPORT, ENOSYS: self = .unsupported
        case EINVAL, ERANGE, EMSGSIZE: self = .invalid
        case ENOMEM, EMFILE, ENFILE, ENOSPC: self = .exhausted
        case ENOBUFS: self = .overrun
        case EAGAIN, ETIMEDOUT: self = .timedOut
        default: self = .failed
        }
    }

    /// What the user can do, for a code without a more exact remedy at hand.
    var remedy: String {
        switch self {
        case .permission: "Run the agent as root, or give it CAP_NET_ADMIN and CAP_SYS_ADMIN."
        case .exists: "Remove what is there if it is not needed, or choose another name or number."
        case .notFound: "If it was removed by hand, the agent makes it again; else see the agent's log."
        case .unsupported: "Use a kernel from 6.1 on with its network modules (vxlan, veth, nf_tables) installed."
        case .exhausted: "Make room: see dmesg, `ulimit -n`, and net.ipv4.neigh.default.gc_thresh3."
        case .timedOut: "See dmesg: something may hold the kernel's network lock. The agent tries again."
        case .overrun, .interrupted: "The agent reads everything again by itself."
        case .invalid, .garbled: "Report this text with the output of `tulle version` and `uname -r`."
        default: "See the agent's log and dmesg."
        }
    }
}

extension KernelError {
    /// From an errno and, if there is one, the kernel's text.
    package init(errno: Int32, _ operation: String, text: String? = nil) {
        let said = text.map { ": \($0)" } ?? ""
        self.init(
            Code(errno: errno), operation, cause: "\(Self.name(errno)) (\(String(cString: strerror(errno))))\(said)", errno: errno)
    }

    package init(_ refusal: NetlinkAcknowledgement, _ operation: String) {
        let missing = refusal.missingAttribute.map { "attribute \($0) is missing" }
        self.init(errno: refusal.errno, operation, text: refusal.text ?? missing)
    }

    package init(_ error: NetlinkError, _ operation: String) {
        self.init(.garbled, operation, cause: error.cause)
    }

    /// Of the errno that the last call left.
    static func last(_ operation: String) -> KernelError { KernelError(errno: Glibc.errno, operation) }

    /// The kernel's own name of an errno, such as "EEXIST".
    package static func name(_ errno: Int32) -> String {
        // glibc from 2.32 on knows the names, but behind _GNU_SOURCE.
        String(cString: linux_errno_name(errno))
    }
}
