/// What would be changed in one network namespace, from `GET /v1/plan`.
package struct PlanReport: Codable, Equatable, Sendable {
    /// Its name below /run/netns; "host" for the host's own.
    package var namespace: String
    /// In the order in which they would be done.
    package var steps: [String]

    package init(namespace: String, steps: [String]) {
        self.namespace = namespace
        self.steps = steps
    }
}

/// The cluster's shared secret, from `GET /v1/token`.
package struct TokenReport: Codable, Equatable, Sendable {
    package var token: String
    /// HOST:PORT that others give to `--join`; absent while no underlay is found.
    package var join: String?

    package init(token: String, join: String? = nil) {
        self.token = token
        self.join = join
    }
}

/// The body of every answer that is not a success.
package struct ErrorReport: Codable, Equatable, Sendable {
    /// A sentence with cause and remedy.
    package var error: String

    package init(error: String) { self.error = error }
}
