/// Why the local API gave no answer.
package struct LocalError: Error, Equatable, Sendable, CustomStringConvertible {
    package struct Code: RawRepresentable, Hashable, Sendable {
        package let rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }

        /// Nobody answers at the socket. Start the agent (`systemctl start tulle`), or give the socket's path.
        package static let unreachable = Code(rawValue: "unreachable")
        /// An agent has the socket and does not answer in time: it is stopped, or its host overloaded. See `journalctl -u tulle`.
        package static let silent = Code(rawValue: "silent")
        /// The socket is not for this user. Use sudo, or join the socket's group.
        package static let permission = Code(rawValue: "permission")
        /// The agent answered that it cannot: its text says why.
        package static let refused = Code(rawValue: "refused")
        /// What answered is no agent of a version that this program understands. Compare `tulle version` with the agent's.
        package static let badAnswer = Code(rawValue: "badAnswer")
    }

    package let code: Code
    /// What was asked, such as "GET /v1/status".
    package let operation: String
    package let cause: String
    package let remedy: String?

    package init(_ code: Code, _ operation: String, cause: String, remedy: String? = nil) {
        self.code = code
        self.operation = operation
        self.cause = cause
        self.remedy = remedy
    }

    package var description: String { remedy.map { "\(cause); \($0)" } ?? cause }
}
