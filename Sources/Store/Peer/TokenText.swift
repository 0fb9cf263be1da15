import TLS

/// A secret as people copy it: a prefix, and base32 (RFC 4648 section 6, in lower case) of its bytes and the first 3 bytes of their
/// SHA-256, so that a typo is told apart from another cluster's token. Bytes and checksum together are a multiple of 5, so nothing is padded.
enum TokenText {
    static let checkBytes = 3
    private static let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)

    static func encode(_ bytes: [UInt8], prefix: String) -> String {
        var characters: [UInt8] = []
        var buffer: UInt64 = 0
        var bits: UInt64 = 0
        for byte in bytes + Digest.sha256(bytes).prefix(checkBytes) {
            buffer = buffer << 8 | UInt64(byte)
            bits += 8
            while bits >= 5 {
                bits -= 5
                characters.append(alphabet[Int(buffer >> bits & 31)])
            }
        }
        return prefix + String(decoding: characters, as: UTF8.self)
    }

    /// Blanks around the text and capitals do no harm.
    static func hasPrefix(_ prefix: String, _ text: some StringProtocol) -> Bool { trimmed(text).hasPrefix(prefix) }

    /// - Throws: `malformedToken`.
    static func decode(_ text: some StringProtocol, prefix: String, count: Int) throws(StoreError) -> [UInt8] {
        func damaged(_ cause: String) -> StoreError { StoreError(.malformedToken, "read the token", cause: cause) }
        let line = trimmed(text)
        guard line.hasPrefix(prefix) else { throw damaged("it does not begin with \(prefix)") }
        let characters = Array(line.utf8.dropFirst(prefix.utf8.count))
        let wanted = (count + checkBytes) * 8 / 5
        guard characters.count == wanted else {
            throw damaged("it has \(characters.count) characters after \(prefix), not \(wanted)")
        }
        var bytes: [UInt8] = []
        var buffer: UInt64 = 0
        var bits: UInt64 = 0
        for (index, character) in characters.enumerated() {
            guard let value = alphabet.firstIndex(of: character) else {
                throw damaged("character \(index + 1) after \(prefix) is none of a…z and 2…7")
            }
            buffer = buffer << 5 | UInt64(value)
            bits += 5
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(truncatingIfNeeded: buffer >> bits))
            }
        }
        let payload = Array(bytes.prefix(count))
        guard Array(bytes.dropFirst(count)) == Array(Digest.sha256(payload).prefix(checkBytes)) else {
            throw damaged("its checksum is wrong: at least one character was mistyped")
        }
        return payload
    }

    private static func trimmed(_ text: some StringProtocol) -> String {
        let blanks: Set<Character> = [" ", "\t", "\r", "\n", "\r\n"]
        return String(text.lowercased().drop { blanks.contains($0) }.reversed().drop { blanks.contains($0) }.reversed())
    }
}
