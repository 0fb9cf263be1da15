package import TLS

/// Why an HTTP exchange or a server's start failed.
package struct HTTPError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What kind of failure; more may be added, so a switch over it needs a default.
    package struct Code: Hashable, Sendable, CustomStringConvertible {
        package let description: String
        let remedy: String

        package static func == (left: Code, right: Code) -> Bool { left.description == right.description }
        package func hash(into hasher: inout Hasher) { hasher.combine(description) }

        /// The address cannot be used: a path of more than 107 bytes, a bad host or port. Correct the configuration.
        package static let badAddress = Code("badAddress", "correct the address")
        /// A live server answers at the address, or something that is no socket has its name. Stop that program or
        /// choose another address.
        package static let addressInUse = Code("addressInUse", "stop what uses it, or choose another address")
        /// The socket file does not exist: the program that serves it is not running, or the path is wrong.
        package static let noSuchSocket = Code("noSuchSocket", "start the program that serves it, or correct the path")
        /// Nothing listens there. Start the program that serves it.
        package static let refused = Code("refused", "start the program that serves it")
        /// The user may not use the socket or port. Run as root or as a member of the socket's group.
        package static let permissionDenied = Code("permissionDenied", "run as root or as a member of the socket's group")
        /// Name lookup or routing failed. Check the name, the network and the firewall.
        package static let unreachable = Code("unreachable", "check the name, the network and the firewall")
        /// No answer in time. The other side is overloaded, stopped or cut off; look at its log.
        package static let timedOut = Code("timedOut", "look at the log of the other side")
        /// The connection ended before the answer was whole. The other side was stopped or restarted; try again.
        package static let closed = Code("closed", "try again; if it persists look at the log of the other side")
        /// The answer is larger than this client accepts.
        package static let tooLarge = Code("tooLarge", "ask for less at once")
        /// The other side does not speak HTTP/1.1: it is probably another service.
        package static let malformed = Code("malformed", "check that the address is the right service")
        /// The request itself cannot be sent: a method or field with forbidden characters.
        package static let badRequest = Code("badRequest", "report this as a bug")
        /// A stream of lines was asked for and the server answered something else; `response` has it.
        package static let unexpectedStatus = Code("unexpectedStatus", "read the answer's text")
        /// TLS finds that the other side is not who it must be, or that side finds so of us; `tls` says more.
        package static let notSecure = Code("notSecure", "see the cause")
        /// The operating system refused for another reason, which `cause` names.
        package static let system = Code("system", "see the cause")

        init(_ name: String, _ remedy: String) {
            self.description = name
            self.remedy = remedy
        }
    }

    package var code: Code
    /// What was tried, such as "GET /events at unix:/run/docker.sock".
    package var operation: String
    package var cause: String
    /// Only with `unexpectedStatus`.
    package var response: HTTPResponse?
    /// Of a client's call: some of the request went out, so the server may have done what was asked.
    package var isSent = false
    /// Where TLS is the cause.
    package var tls: TLSError?

    package init(_ code: Code, _ operation: String, cause: String, response: HTTPResponse? = nil, tls: TLSError? = nil) {
        self.tls = tls
        self.code = code
        self.operation = operation
        self.cause = cause
        self.response = response
    }

    package var remedy: String { tls?.remedy ?? code.remedy }
    package var description: String { "\(operation): \(cause); \(remedy)" }
}
