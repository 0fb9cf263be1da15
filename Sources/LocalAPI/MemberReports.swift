/// Who may take part: tokens to join with, and the removal of nodes.

/// What a new token is to be.
package struct TokenRequest: Codable, Equatable, Sendable {
    /// Seconds until it ends.
    package var ttl: Int
    /// How many nodes may join with it; absent: any number.
    package var uses: Int?

    package init(ttl: Int, uses: Int? = nil) {
        self.ttl = ttl
        self.uses = uses
    }
}

/// A token's id, or a node's name or id.
package struct NameRequest: Codable, Equatable, Sendable {
    package var name: String

    package init(name: String) { self.name = name }
}

/// Who signs nodes' certificates.
package struct AuthorityReport: Codable, Equatable, Sendable {
    /// Its name.
    package var node: String
    /// SHA-256 of the authority's public key, in hexadecimal digits.
    package var fingerprint: String

    package init(node: String, fingerprint: String) {
        self.node = node
        self.fingerprint = fingerprint
    }
}

/// A token as it was made: the only time that its text is shown.
package struct NewTokenReport: Codable, Equatable, Sendable {
    package var token: String
    package var id: String
    package var expires: Timestamp
    /// HOST:PORT that others give to `--join`.
    package var join: String

    package init(token: String, id: String, expires: Timestamp, join: String) {
        self.token = token
        self.id = id
        self.expires = expires
        self.join = join
    }
}

/// A token in the list: it does not tell the secret.
package struct JoinTokenReport: Codable, Equatable, Sendable {
    package var id: String
    /// "valid", "expired" or "used up".
    package var state: String
    package var expires: Timestamp
    package var used: Int
    /// Absent: any number.
    package var uses: Int?

    package init(id: String, state: String, expires: Timestamp, used: Int, uses: Int? = nil) {
        self.id = id
        self.state = state
        self.expires = expires
        self.used = used
        self.uses = uses
    }
}
