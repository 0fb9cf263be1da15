/// A domain name: labels of bytes, the leftmost first, without the empty one of the root (RFC 1035 section 3.1). Names are compared
/// without regard to the case of ASCII letters (RFC 4343) by their `folded` texts; two names that differ in case are different values, for an
/// answer repeats the question as it came.
package struct DNSName: Hashable, Sendable {
    package let labels: [[UInt8]]

    package static let root = DNSName(known: [])
    /// Bytes of a label, and of a whole name on the wire with its lengths and the final zero (RFC 1035 section 2.3.4).
    package static let longestLabel = 63
    package static let longest = 255

    /// nil when a label is empty or too long, or all together are.
    package init?(labels: [[UInt8]]) {
        guard labels.allSatisfy({ (1...Self.longestLabel).contains($0.count) }),
            labels.reduce(1, { $0 + $1.count + 1 }) <= Self.longest
        else { return nil }
        self.labels = labels
    }

    private init(known labels: [[UInt8]]) { self.labels = labels }

    /// "web.shop", with or without a dot at the end; no escapes. nil for what is no name.
    package init?(_ text: some StringProtocol) {
        var bytes = Array(text.utf8)
        if bytes.last == UInt8(ascii: ".") { bytes.removeLast() }
        if bytes.isEmpty {
            guard !text.isEmpty else { return nil }
            self = .root
            return
        }
        self.init(labels: bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map(Array.init))
    }

    /// The name that is so many labels shorter.
    package func dropping(_ count: Int) -> DNSName { DNSName(known: Array(labels.dropFirst(count))) }

    /// As `description`, in lower case: what names are found by.
    package var folded: String { Self.text(labels) { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 } }
}

extension DNSName: CustomStringConvertible {
    /// Labels with dots between them; what is neither printable nor a letter of some script stands as `\DDD`, and a dot or a backslash within a
    /// label after a backslash (RFC 1035 section 5.1).
    package var description: String { labels.isEmpty ? "." : Self.text(labels) { $0 } }

    private static func text(_ labels: [[UInt8]], _ change: (UInt8) -> UInt8) -> String {
        var text: [UInt8] = []
        for (index, label) in labels.enumerated() {
            if index > 0 { text.append(UInt8(ascii: ".")) }
            for byte in label {
                switch byte {
                case UInt8(ascii: "."), UInt8(ascii: "\\"): text += [UInt8(ascii: "\\"), byte]
                case 0x21...0x7e, 0x80...: text.append(change(byte))
                default: text += [UInt8(ascii: "\\"), 0x30 + byte / 100, 0x30 + byte / 10 % 10, 0x30 + byte % 10]
                }
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
