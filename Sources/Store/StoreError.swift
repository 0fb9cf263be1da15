/// What went wrong in a store, in its file, or between two agents: a code, what was being done, the cause, and what
/// the user can do. The code survives the way from the serving agent to a remote one.
package struct StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// An open set: a newer agent may answer with codes this one does not know.
    package struct Code: RawRepresentable, Hashable, Sendable {
        package var rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }
    }

    package var code: Code
    /// What was being done, as in "open the store /var/lib/tulle/store.db".
    package var operation: String
    package var cause: String
    package var remedy: String

    /// - Parameter remedy: the code's own remedy when nil.
    package init(_ code: Code, _ operation: String, cause: String, remedy: String? = nil) {
        self.code = code
        self.operation = operation
        self.cause = cause
        self.remedy = remedy ?? code.remedy
    }

    package var description: String { "cannot \(operation): \(cause). \(remedy)" }
}

extension StoreError.Code {
    // What the caller asked for.

    /// A key, value, prefix, transaction or lease term breaks the store's rules. This is a fault of the program: report it.
    package static let invalid = Self(rawValue: "invalid")
    /// The lease has ended. Its keys are gone: take a new lease and put them again.
    package static let leaseNotFound = Self(rawValue: "lease-not-found")
    /// More requests or leases wait than the store keeps. Try again after a pause.
    package static let overloaded = Self(rawValue: "overloaded")
    /// The store was closed because its agent ends. Start the agent again.
    package static let closed = Self(rawValue: "closed")

    // The store's file.

    /// The file is not there, or has no store in it. Restore it from a copy, or start a new cluster on purpose.
    package static let missing = Self(rawValue: "missing")
    /// The file was damaged. Restore it from a copy; the agent leaves it as it is.
    package static let corrupt = Self(rawValue: "corrupt")
    /// The file is something else than this store. Check the path, or move that file away.
    package static let foreign = Self(rawValue: "foreign")
    /// The file was written by a newer tulle. Install that version or a later one.
    package static let newerFormat = Self(rawValue: "newer-format")
    /// The agent may not read and write the file or its directory. Run it as root, or correct owner and mode.
    package static let permission = Self(rawValue: "permission")
    /// The file or its file system is read-only. Remount it writable, or choose another state directory.
    package static let readOnly = Self(rawValue: "read-only")
    /// Another process holds the file. Only one agent may run on one state directory: stop the other.
    package static let locked = Self(rawValue: "locked")
    /// No room is left on the file system, or the store has its largest size. Nothing was written; make room.
    package static let full = Self(rawValue: "full")
    /// The disk or file system failed. Look into the kernel's log (dmesg).
    package static let inputOutput = Self(rawValue: "input-output")

    // Between agents.

    /// The other agent cannot be reached, or the connection broke. Check that it runs, its address, and firewalls on the
    /// way. Whether it did what was asked is unknown: read, then decide again.
    package static let unreachable = Self(rawValue: "unreachable")
    /// The other agent did not answer in time. Whether it did what was asked is unknown: read, then decide again.
    package static let timedOut = Self(rawValue: "timed-out")
    /// The answer is not one of the store protocol. Check that the address is an agent's, and compare versions.
    package static let badAnswer = Self(rawValue: "bad-answer")
    /// The token's text is damaged (a typo). Copy it again, whole, as `tulle token create` printed it.
    package static let malformedToken = Self(rawValue: "malformed-token")
    /// The shared secret of version 0.1 is another cluster's.
    package static let wrongToken = Self(rawValue: "wrong-token")
    /// The other agent has seen this very request before and did nothing now; it may have done it then: read, then decide
    /// again. If it happens often, something on the way repeats requests.
    package static let replayed = Self(rawValue: "replayed")
    /// The answer is not from an agent of this cluster. Check the address; something on the way may alter traffic.
    package static let notAuthentic = Self(rawValue: "not-authentic")
    /// This node was removed from the cluster. Run `tulle reset` and join again, as a new node.
    package static let removed = Self(rawValue: "removed")
    /// The system's libcrypto refuses HMAC-SHA-256. Repair the OpenSSL installation or its configuration.
    package static let noCryptography = Self(rawValue: "no-cryptography")

    /// What the user can do, for a code without a more exact remedy at hand.
    var remedy: String {
        switch self {
        case .invalid: return "This is a fault in tulle: please report it with this text."
        case .leaseNotFound: return "The agent takes a new lease by itself; if this repeats, check the load of both hosts."
        case .overloaded: return "Try again in a moment; if it repeats, the serving agent's disk may be too slow."
        case .closed: return "Start the agent again."
        case .missing: return "Restore the file from a copy, or run `tulle reset` to leave this cluster on purpose."
        case .corrupt: return "Restore the file from a copy; it was left as it is."
        case .foreign: return "Check the path, or move that file away; it was left as it is."
        case .newerFormat: return "Install the newer version of tulle again; the file was left as it is."
        case .permission: return "Run the agent as root, or correct the owner and mode of the file and its directory."
        case .readOnly: return "Make the file and its file system writable, or choose another --state-dir."
        case .locked: return "Stop the other process first: one state directory serves one agent."
        case .full: return "Make room on the file system; later writes then work again."
        case .inputOutput: return "Look into the kernel's log (dmesg) for faults of the disk or file system."
        case .unreachable: return "Check that the agent there runs, its address, and that no firewall drops its port."
        case .timedOut: return "Check the load and the network of both hosts; the outcome is unknown until the store is read again."
        case .badAnswer: return "Check that the address is a tulle agent's, and that its version fits this one."
        case .malformedToken: return "Copy the token again, whole, as `tulle token create` printed it."
        case .wrongToken: return "Make a token with `tulle token create` on a host of the cluster you want to join."
        case .replayed: return "If it repeats, a proxy on the way repeats requests: connect the agents directly."
        case .notAuthentic: return "Check the address: what answers there lacks this cluster's token, or traffic is altered."
        case .removed: return "Remove the containers on its networks, run `tulle reset` and join again, as a new node."
        case .noCryptography: return "Repair the system's OpenSSL 3 (libcrypto) or its openssl.cnf."
        default: return "See the serving agent's log."
        }
    }
}
