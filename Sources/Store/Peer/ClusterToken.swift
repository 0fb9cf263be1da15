/// The secret that every agent of a cluster of version 0.1 knows.
///
/// Its text is `tulle1-` and 56 characters (`TokenText`): 32 secret bytes.
package struct ClusterToken: Hashable, Sendable, CustomStringConvertible {
    let secret: [UInt8]

    private static let prefix = "tulle1-"
    private static let secretBytes = 32

    private init(secret: [UInt8]) { self.secret = secret }

    package static func new() -> ClusterToken { ClusterToken(secret: Cryptography.random(secretBytes)) }

    /// The token as users copy it. It is a secret: it belongs in no log.
    package var text: String { TokenText.encode(secret, prefix: Self.prefix) }

    /// Tells nothing, so that a token printed by mistake stays a secret.
    package var description: String { Self.prefix + "…" }

    /// Reads a token's text; blanks around it and capitals do no harm.
    package init(parsing text: some StringProtocol) throws(StoreError) {
        self.init(secret: try TokenText.decode(text, prefix: Self.prefix, count: Self.secretBytes))
    }
}
