/// What the agent refuses, in words for the person who asked: Docker shows `description` as it is.
package struct AgentError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Open: new codes may come.
    package struct Code: RawRepresentable, Hashable, Sendable {
        package var rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }

        /// The request itself is wrong: correct what the text names.
        package static let invalid = Self(rawValue: "invalid")
        /// It exists already in another form, or overlaps: choose another, or remove the first.
        package static let conflict = Self(rawValue: "conflict")
        /// No such network, endpoint or pool: create it first.
        package static let unknown = Self(rawValue: "unknown")
        /// No address left: enlarge the subnet, or remove containers.
        package static let full = Self(rawValue: "full")
        /// The store is needed and does not answer: see `tulle status`.
        package static let storeAway = Self(rawValue: "store-away")
        /// The store is not the one that this node knows: see `tulle status`, `tulle store accept`.
        package static let storeRefused = Self(rawValue: "store-refused")
        /// The kernel did not do it: the text has its words.
        package static let kernel = Self(rawValue: "kernel")
        /// A token opens nothing: unknown, ended or used up. Make a new one with `tulle token create`.
        package static let token = Self(rawValue: "token")
        /// The agent cannot start as it is set up.
        package static let setup = Self(rawValue: "setup")
    }

    package var code: Code
    /// What was attempted.
    package var operation: String
    package var cause: String
    package var remedy: String

    package init(_ code: Code, _ operation: String, cause: String, remedy: String) {
        self.code = code
        self.operation = operation
        self.cause = cause
        self.remedy = remedy
    }

    package var description: String { "tulle: cannot \(operation): \(cause); \(remedy)" }
}
