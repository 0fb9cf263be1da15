import Glibc
import Telemetry
import Testing

/// A service manager's end: a bound datagram socket.
private final class Manager {
    let name: String
    private let descriptor: Int32
    private let directory: String?

    init(abstract: Bool) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var bytes: [UInt8]
        if abstract {
            name = "@tulle-test-\(UInt64.random(in: 0 ... .max))"
            directory = nil
            bytes = [0] + name.utf8.dropFirst()
        } else {
            var template = Array("/tmp/tulle-notify-XXXXXX".utf8CString)
            try #require(mkdtemp(&template) != nil)
            let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
            directory = path
            name = path + "/notify"
            bytes = name.utf8 + [0]
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let length = socklen_t(2 + bytes.count)
        let bound = withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
        }
        try #require(bound == 0)
    }
    deinit {
        close(descriptor)
        if let directory {
            unlink(name)
            rmdir(directory)
        }
    }
    func received() -> String? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT))
        return count < 0 ? nil : String(decoding: buffer[..<count], as: UTF8.self)
    }
}

@Suite struct ServiceNotifierTests {
    private func notifier(_ environment: [String: String]) -> ServiceNotifier {
        ServiceNotifier(processID: 42) { environment[$0] }
    }

    @Test("the manager is told, through a path and through an abstract name", arguments: [false, true])
    func told(abstract: Bool) throws {
        let manager = try Manager(abstract: abstract)
        let notifier = notifier(["NOTIFY_SOCKET": manager.name])
        #expect(notifier.isSupervised)
        try notifier.ready(status: "serving\n2 networks")
        #expect(manager.received() == "READY=1\nSTATUS=serving 2 networks")
        try notifier.status("busy")
        #expect(manager.received() == "STATUS=busy")
        try notifier.watchdog()
        #expect(manager.received() == "WATCHDOG=1")
        try notifier.stopping()
        #expect(manager.received() == "STOPPING=1")
        #expect(manager.received() == nil)
    }

    @Test("without a manager nothing is sent and nothing fails")
    func alone() throws {
        for environment in [[:], ["NOTIFY_SOCKET": ""]] {
            let notifier = notifier(environment)
            #expect(!notifier.isSupervised)
            try notifier.ready()
        }
    }

    @Test("a manager that is gone, or a socket of another kind, is an error that names it")
    func gone() {
        let gone = #expect(throws: TelemetryError.self) { try notifier(["NOTIFY_SOCKET": "/tmp/tulle-no-such"]).ready() }
        #expect(gone?.code == .notifyFailed)
        #expect(gone?.description == "notifying the service manager at /tmp/tulle-no-such: No such file or directory")
        for bad in ["vsock:2:1", "@", "/" + String(repeating: "x", count: 107)] {
            #expect(throws: TelemetryError.self) { try notifier(["NOTIFY_SOCKET": bad]).ready() }
        }
    }

    @Test("the watchdog is due twice in the time granted, for the process that is meant")
    func watchdog() {
        #expect(notifier(["NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000"]).watchdogInterval == .seconds(15))
        #expect(notifier(["NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"]).watchdogInterval == .seconds(15))
        #expect(notifier(["NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"]).watchdogInterval == nil)
        #expect(notifier(["NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "x"]).watchdogInterval == nil)
        #expect(notifier(["WATCHDOG_USEC": "30000000"]).watchdogInterval == nil)
    }
}
