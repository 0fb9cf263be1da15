/// Why the settings cannot be used: where the fault is, what it is, what would be right.
package struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
    package struct Code: RawRepresentable, Hashable, Sendable {
        package let rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }

        /// No setting has that name. Use the one that the text names, or look into docs/configuration.md.
        package static let unknownName = Code(rawValue: "unknownName")
        /// The value is not one of those that the text lists.
        package static let badValue = Code(rawValue: "badValue")
        /// The file is no YAML, or not of the simple kind that is read: lines of `key: value`.
        package static let badFile = Code(rawValue: "badFile")
        /// The named file is absent or cannot be read. Correct the path.
        package static let unreadableFile = Code(rawValue: "unreadableFile")
        /// The user may not read the file. Use sudo, or change its mode.
        package static let permission = Code(rawValue: "permission")
        /// Two settings contradict each other. Change one of them.
        package static let contradiction = Code(rawValue: "contradiction")
    }

    package let code: Code
    /// "--lease", "TULLE_LEASE" or "/etc/tulle/tulle.yaml:3".
    package let place: String
    package let cause: String
    package let remedy: String?

    init(_ code: Code, _ place: String, _ cause: String, remedy: String? = nil) {
        self.code = code
        self.place = place
        self.cause = cause
        self.remedy = remedy
    }

    package var description: String { remedy.map { "\(place): \(cause); \($0)" } ?? "\(place): \(cause)" }
}

extension String {
    /// For a message: at most 80 characters, without control characters.
    var shown: String {
        let printable = unicodeScalars.prefix(81).map { scalar in
            scalar.properties.generalCategory == .control || scalar.properties.generalCategory == .format ? "?" : String(scalar)
        }
        return printable.prefix(80).joined() + (printable.count > 80 ? "…" : "")
    }
}
