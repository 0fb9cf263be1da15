/// Why a call of the engine to us, or of us to the engine, failed. Docker shows its text to the user.
package struct DockerError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What kind of failure; more may be added, so a switch over it needs a default.
    package struct Code: Hashable, Sendable, CustomStringConvertible {
        package let description: String
        let remedy: String

        package static func == (left: Code, right: Code) -> Bool { left.description == right.description }
        package func hash(into hasher: inout Hasher) { hasher.combine(description) }

        /// The engine sent what the plugin protocol does not allow. Report it with the engine's version.
        package static let badRequest = Code("badRequest", "report it with the engine's version")
        /// The agent was restarted while the engine asked. Run the command again.
        package static let brokenOff = Code("brokenOff", "run the command again")
        /// There is no engine's socket. Start Docker, or correct `--docker-socket`.
        package static let socketMissing = Code("socketMissing", "start Docker, or correct --docker-socket")
        /// The socket exists and nobody answers. Start Docker.
        package static let notRunning = Code("notRunning", "start Docker")
        /// The user may not use the engine's socket. Run as root or as a member of the group docker.
        package static let permissionDenied = Code("permissionDenied", "run as root or as a member of the group docker")
        /// The engine did not answer in time. It is overloaded or hangs; look at its log.
        package static let timedOut = Code("timedOut", "look at the engine's log")
        /// The engine closed the connection: it was stopped or restarted. The call is made again by itself where that is safe.
        package static let closed = Code("closed", "try again; if it persists look at the engine's log")
        /// The engine does not know the object (404). It was removed meanwhile.
        package static let notFound = Code("notFound", "check the name with 'docker network ls' or 'docker ps'")
        /// The engine refuses because of its present state (403, 409): the name is taken, or the network is in use.
        package static let conflict = Code("conflict", "resolve what the engine names")
        /// The engine answered with another error, which the cause quotes with its HTTP status.
        package static let engine = Code("engine", "see the engine's own message and its log")
        /// The engine answered something that is not its API. Check that `--docker-socket` is Docker's.
        package static let unreadable = Code("unreadable", "check that --docker-socket is Docker's")

        init(_ name: String, _ remedy: String) {
            self.description = name
            self.remedy = remedy
        }
    }

    package var code: Code
    /// The call, such as "NetworkDriver.Join" or "list Docker's networks".
    package var operation: String
    package var cause: String
    /// The engine's HTTP status, when it answered with an error.
    package var status: Int?
    package var remedy: String

    /// - Parameter remedy: the code's own when nil.
    package init(_ code: Code, _ operation: String, cause: String, remedy: String? = nil, status: Int? = nil) {
        self.code = code
        self.operation = operation
        self.cause = cause
        self.remedy = remedy ?? code.remedy
        self.status = status
    }

    package var description: String { "\(operation): \(cause); \(remedy)" }
}
