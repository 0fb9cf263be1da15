/// A message that cannot be read. It comes from bytes that are not what the kernel's headers promise: the codec has no other
/// way to fail.
package struct NetlinkError: Error, Hashable, Sendable, CustomStringConvertible {
    package struct Code: RawRepresentable, Hashable, Sendable {
        package var rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }

        /// Something is shorter than its kind asks for. A fault of the program or of the kernel: report it with `tulle version`
        /// and `uname -r`.
        package static let truncated = Self(rawValue: "truncated")
        /// Something is there but cannot be meant so. Report it with `tulle version` and `uname -r`.
        package static let malformed = Self(rawValue: "malformed")
        /// The message is of another kind than its reader's. A fault of the program: report it.
        package static let wrongKind = Self(rawValue: "wrong-kind")
    }
    package var code: Code
    package var cause: String

    package init(_ code: Code, _ cause: String) {
        self.code = code
        self.cause = cause
    }
    package var operation: String { "read a netlink message" }
    package var remedy: String { "Report this text with the output of `tulle version` and `uname -r`." }
    package var description: String { "cannot \(operation): \(cause). \(remedy)" }
}
