/// What the store holds about who may take part (docs/store.md): tokens to join with, and the authorities that sign nodes' certificates.
package import Addressing

/// `tokens/ID`: lets new nodes join until it ends. The store has no secret: who can read it cannot join.
package struct TokenObject: Hashable, Sendable, Codable {
    package var v = storeFormat
    /// 16 hexadecimal digits, which the token's secret gives.
    package var id: String
    /// SHA-256 of the secret, in hexadecimal digits.
    package var hash: String
    /// Seconds since 1970.
    package var created: Int
    package var expires: Int
    /// How many nodes may join with it; nil: any number.
    package var uses: Int?
    package var used: Int
    /// Whom it let in last, `mark` of each: a host whose answer was lost asks again, and takes no second use. 64 at most.
    package var admitted: [String]?
    private static let mostAdmitted = 64

    package init(id: String, hash: String, created: Int, expires: Int, uses: Int?) {
        self.id = id
        self.hash = hash
        self.created = created
        self.expires = expires
        self.uses = uses
        used = 0
    }

    package enum State: String, Sendable {
        case valid, expired, spent = "used up"
    }

    /// - Parameter mark: who asks, if it is known.
    package func state(at now: Int, for mark: String? = nil) -> State {
        if now >= expires { return isSpent ? .spent : .expired }
        return isSpent && !(mark.map(hasAdmitted) ?? false) ? .spent : .valid
    }
    private var isSpent: Bool { uses.map { used >= $0 } ?? false }

    /// One host with one key: the fingerprint of the key that it proved to have.
    package static func mark(_ node: NodeID, _ key: String) -> String { "\(node) \(key)" }
    package func hasAdmitted(_ mark: String) -> Bool { admitted?.contains(mark) ?? false }
    /// After one use more.
    package func admitting(_ mark: String) -> TokenObject {
        var spent = self
        spent.used = used == .max ? .max : used + 1
        spent.admitted = ((admitted ?? []) + [mark]).suffix(Self.mostAdmitted)
        return spent
    }
}

/// A node's word for an authority that it made: its certificate, and its key's signature of the authority's name. Whoever
/// believes the certificate believes the authority, for as long as that node is not removed.
package struct AuthorityVoucher: Hashable, Sendable, Codable {
    /// PEM.
    package var certificate: String
    /// ECDSA in DER, in hexadecimal digits.
    package var signature: String

    package init(certificate: String, signature: String) {
        self.certificate = certificate
        self.signature = signature
    }
}

/// `authorities/FINGERPRINT`: the certificate authority whose nodes are the cluster's. A node begins with the one that it joined by, and believes those
/// that the record has later.
package struct AuthorityObject: Hashable, Sendable, Codable {
    package var v = storeFormat
    /// SHA-256 of its public key, in hexadecimal digits.
    package var fingerprint: String
    /// PEM.
    package var certificate: String
    /// The node that has its key.
    package var node: NodeID
    /// Seconds since 1970.
    package var created: Int
    /// Since when another one signs, in seconds since 1970: it is believed until what it signed has ended.
    package var retired: Int?
    /// Who took the authority over, and proves it; nil: the first one, with which the cluster began.
    package var voucher: AuthorityVoucher?

    package init(fingerprint: String, certificate: String, node: NodeID, created: Int) {
        self.fingerprint = fingerprint
        self.certificate = certificate
        self.node = node
        self.created = created
    }
}
