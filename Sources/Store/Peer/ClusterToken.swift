/// The secret that every agent of a cluster knows.
///
/// Its text is `tulle1-` and 56 characters: base32 (RFC 4648 section 6, in lower case) of 32 secret bytes and the first 3
/// bytes of their SHA-256, so that a typo is told apart from another cluster's token.
package struct ClusterToken: Hashable, Sendable, CustomStringConvertible {
    let secret: [UInt8]

    private static let prefix = "tulle1-"
    private static let secretBytes = 32
    private static let checkBytes = 3
    private static let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)

    private init(secret: [UInt8]) { self.secret = secret }

    package static func new() -> ClusterToken { ClusterToken(secret: Cryptography.random(secretBytes)) }

    /// The token as users copy it. It is a secret: it belongs in no log.
    package var text: String {
        let bytes = secret + Cryptography.sha256(secret).prefix(Self.checkBytes)
        var characters: [UInt8] = []
        var buffer: UInt64 = 0
        var bits: UInt64 = 0
        for byte in bytes {
            buffer = buffer << 8 | UInt64(byte)
            bits += 8
            while bits >= 5 {
                bits -= 5
                characters.append(Self.alphabet[Int(buffer >> bits & 31)])
            }
        }
        return Self.prefix + String(decoding: characters, as: UTF8.self)
    }

    /// Tells nothing, so that a token printed by mistake stays a secret.
    package var description: String { Self.prefix + "…" }

    /// Reads a token's text; blanks around it and capitals do no harm.
    package init(parsing text: some StringProtocol) throws(StoreError) {
        func damaged(_ cause: String) -> StoreError { StoreError(.malformedToken, "read the token", cause: cause) }
        let blanks: Set<Character> = [" ", "\t", "\r", "\n", "\r\n"]
        let trimmed = text.lowercased().drop { blanks.contains($0) }.reversed().drop { blanks.contains($0) }.reversed()
        let line = String(trimmed)
        guard line.hasPrefix(Self.prefix) else { throw damaged("it does not begin with \(Self.prefix)") }
        let characters = Array(line.utf8.dropFirst(Self.prefix.utf8.count))
        let wanted = (Self.secretBytes + Self.checkBytes) * 8 / 5
        guard characters.count == wanted else {
            throw damaged("it has \(characters.count) characters after \(Self.prefix), not \(wanted)")
        }
        var bytes: [UInt8] = []
        var buffer: UInt64 = 0
        var bits: UInt64 = 0
        for (index, character) in characters.enumerated() {
            guard let value = Self.alphabet.firstIndex(of: character) else {
                throw damaged("character \(index + 1) after \(Self.prefix) is none of a…z and 2…7")
            }
            buffer = buffer << 5 | UInt64(value)
            bits += 5
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(truncatingIfNeeded: buffer >> bits))
            }
        }
        let secret = Array(bytes.prefix(Self.secretBytes))
        guard Array(bytes.dropFirst(Self.secretBytes)) == Array(Cryptography.sha256(secret).prefix(Self.checkBytes)) else {
            throw damaged("its checksum is wrong: at least one character was mistyped")
        }
        self.init(secret: secret)
    }
}
