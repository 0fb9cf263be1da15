/// What can go wrong in telling the outside how we are.
package struct TelemetryError: Error, Sendable, CustomStringConvertible {
    package struct Code: RawRepresentable, Hashable, Sendable {
        package let rawValue: String
        package init(rawValue: String) { self.rawValue = rawValue }

        /// NOTIFY_SOCKET names no unix socket. Start the agent from its unit, or without that variable.
        package static let badNotifySocket = Code(rawValue: "badNotifySocket")
        /// The service manager did not take a notification. If it was READY=1, the unit's start times out: look at the
        /// manager (`systemctl status`), and check that nothing of the unit hides its socket, such as a mount namespace.
        package static let notifyFailed = Code(rawValue: "notifyFailed")
    }

    package let code: Code
    /// What was tried.
    package let operation: String
    package let cause: String

    package var description: String { "\(operation): \(cause)" }
}
