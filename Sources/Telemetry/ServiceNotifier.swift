/// Tells systemd how the service is (`man 3 sd_notify`, the protocol of section "Notes"), without libsystemd: one datagram of
/// `NAME=value` lines to the unix socket that NOTIFY_SOCKET names. Without that variable nothing is sent.
import Glibc

package struct ServiceNotifier: Sendable {
    /// As NOTIFY_SOCKET gives it: "/path", or "@name" in the abstract namespace.
    private let socketName: String?
    /// How often `watchdog()` is due: half of what WATCHDOG_USEC grants. Nil when no watchdog looks at this process.
    package let watchdogInterval: Duration?

    /// - Parameter variable: a look-up in the environment.
    package init(processID: Int32 = getpid(), environment variable: (String) -> String? = Self.inherited) {
        socketName = variable("NOTIFY_SOCKET").flatMap { $0.isEmpty ? nil : $0 }
        let isOurs = variable("WATCHDOG_PID").map { Int32($0) == processID } ?? true
        if isOurs, socketName != nil, let microseconds = variable("WATCHDOG_USEC").flatMap({ Int64($0) }), microseconds > 0 {
            watchdogInterval = .microseconds(max(microseconds / 2, 1))
        } else {
            watchdogInterval = nil
        }
    }

    /// The process's own environment.
    package static func inherited(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }

    package var isSupervised: Bool { socketName != nil }

    /// The service answers; `Type=notify` units have started now.
    package func ready(status: String? = nil) throws(TelemetryError) {
        try send(["READY=1"] + statusLine(status))
    }
    /// One line that `systemctl status` shows.
    package func status(_ text: String) throws(TelemetryError) { try send(statusLine(text)) }
    package func stopping(status: String? = nil) throws(TelemetryError) { try send(["STOPPING=1"] + statusLine(status)) }
    package func watchdog() throws(TelemetryError) { try send(["WATCHDOG=1"]) }

    private func statusLine(_ text: String?) -> [String] {
        guard let text else { return [] }
        return ["STATUS=" + text.split(whereSeparator: \.isNewline).joined(separator: " ").prefix(512)]
    }

    /// Waits at most a second for a manager that is busy.
    private func send(_ lines: [String]) throws(TelemetryError) {
        guard let socketName else { return }
        let operation = "notifying the service manager at \(socketName)"
        guard let (address, length) = Self.address(socketName) else {
            throw TelemetryError(
                code: .badNotifySocket, operation: operation,
                cause: "not a path or an abstract name (@…) of at most 107 bytes")
        }
        let datagram = Array(lines.joined(separator: "\n").utf8)
        let result = Self.deliver(datagram, to: address, length)
        guard result == 0 else {
            throw TelemetryError(code: .notifyFailed, operation: operation, cause: String(cString: strerror(result)))
        }
    }

    /// Zero, or the errno.
    private static func deliver(_ datagram: [UInt8], to address: sockaddr_un, _ length: socklen_t) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return errno }
        defer { close(descriptor) }
        var second = timeval(tv_sec: 1, tv_usec: 0)
        guard setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &second, socklen_t(MemoryLayout<timeval>.size)) == 0 else {
            return errno
        }
        let sent = withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, datagram, datagram.count, Int32(MSG_NOSIGNAL), $0, length)
            }
        }
        return sent == datagram.count ? 0 : errno
    }

    /// A leading "@" stands for the NUL byte of an abstract name, whose length is exact (`man 7 unix`).
    private static func address(_ name: String) -> (sockaddr_un, socklen_t)? {
        var bytes = Array(name.utf8)
        guard (2...107).contains(bytes.count), bytes[0] == UInt8(ascii: "/") || bytes[0] == UInt8(ascii: "@") else { return nil }
        if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 } else { bytes.append(0) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return (address, socklen_t(MemoryLayout<sa_family_t>.size + bytes.count))
    }
}
