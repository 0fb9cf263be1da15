import TLS

/// What lets a host join a cluster for a while (`tulle token create`): a secret that the store knows the hash of, and the fingerprint of the
/// authority that the joiner is to believe.
///
/// Its text is `tulle2-` and 88 characters (`TokenText`): 20 secret bytes, and the SHA-256 of the authority's public key.
package struct JoinToken: Hashable, Sendable, CustomStringConvertible {
    private static let prefix = "tulle2-"
    private static let secretBytes = 20
    private static let fingerprintBytes = 32

    let secret: [UInt8]
    /// SHA-256 of the authority's DER SubjectPublicKeyInfo.
    package let fingerprint: [UInt8]

    /// A new one; nil for what is no fingerprint (64 hexadecimal digits).
    package init?(authority fingerprint: String) {
        guard let bytes = bytes(hexadecimal: fingerprint), bytes.count == Self.fingerprintBytes else { return nil }
        secret = Cryptography.random(Self.secretBytes)
        self.fingerprint = bytes
    }

    package init(parsing text: some StringProtocol) throws(StoreError) {
        let payload = try TokenText.decode(text, prefix: Self.prefix, count: Self.secretBytes + Self.fingerprintBytes)
        secret = Array(payload.prefix(Self.secretBytes))
        fingerprint = Array(payload.dropFirst(Self.secretBytes))
    }

    /// A token of this kind, perhaps a damaged one.
    package static func looksLike(_ text: some StringProtocol) -> Bool { TokenText.hasPrefix(prefix, text) }

    /// The token as users copy it. It is a secret: it belongs in no log.
    package var text: String { TokenText.encode(secret + fingerprint, prefix: Self.prefix) }
    /// Tells nothing, so that a token printed by mistake stays a secret.
    package var description: String { Self.prefix + "…" }

    /// What the joiner shows to the cluster: the secret, in hexadecimal digits.
    package var proof: String { Digest.hexadecimal(secret) }
    /// Names the token: 16 hexadecimal digits that do not tell the secret.
    package var id: String { Self.id(ofProof: proof) }
    /// What the store keeps of the secret.
    package var hash: String { Self.hash(ofProof: proof) }

    package static func id(ofProof proof: String) -> String {
        String(Digest.hexadecimal(Digest.sha256(Array("tulle token id ".utf8) + proof.utf8)).prefix(16))
    }
    package static func hash(ofProof proof: String) -> String {
        Digest.hexadecimal(Digest.sha256(Array("tulle token ".utf8) + proof.utf8))
    }
}
