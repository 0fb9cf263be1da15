/// An etcd of a test's own: one member on free ports of 127.0.0.1, its data in a directory that vanishes with it.
///
/// `EtcdProcess.cluster` starts three that know each other by a static list, or by etcd's own discovery service, which is another etcd.
/// Each ends with the object, or by `stop`.
import FoundationEssentials
import Glibc
package import HTTP

package final class EtcdProcess {
    package let name: String
    package let clientPort: Int
    package let peerPort: Int
    private let directory: String
    private var flags: [String] = []
    /// Of one with TLS: a client that it believes.
    private let secure: (@Sendable (HTTPAddress) -> HTTPClient)?
    private var process: LabProcess?

    package static let isAvailable: Bool = {
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        return path.split(separator: ":").contains { access("\($0)/etcd", X_OK) == 0 }
    }()

    private init(name: String, secure: (@Sendable (HTTPAddress) -> HTTPClient)? = nil) throws {
        self.name = name
        self.secure = secure
        (clientPort, peerPort) = try Self.freePorts()
        var template = Array("/tmp/tulle-etcd-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { $0.baseAddress.flatMap { mkdtemp($0) } }
        guard made != nil else { throw LabFailure("cannot make a directory for etcd") }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        process?.signal(SIGCONT)
        process = nil
        try? FileManager.default.removeItem(atPath: directory)
    }

    package var address: HTTPAddress { .tcp(host: "127.0.0.1", port: clientPort) }
    package var peerURL: String { "http://127.0.0.1:\(peerPort)" }
    package var log: String { (try? String(contentsOfFile: directory + "/log", encoding: .utf8)) ?? "" }

    // MARK: Start and end

    /// One member that is a cluster of its own.
    ///
    /// - Parameter secure: makes a client, if its flags have it serve clients with TLS only.
    package static func single(
        _ flags: [String] = [], secure: (@Sendable (HTTPAddress) -> HTTPClient)? = nil
    ) async throws -> EtcdProcess {
        // Between finding a port and using it another may take it.
        for _ in 0..<3 {
            let member = try EtcdProcess(name: "one", secure: secure)
            try member.start(flags + ["--initial-cluster=one=\(member.peerURL)"])
            if await member.becomesReady() { return member }
        }
        throw LabFailure("etcd does not start")
    }

    /// How three members find each other.
    package enum Bootstrap: CaseIterable, Sendable { case list, discovery }

    package static func cluster(_ bootstrap: Bootstrap = .list, _ flags: [String] = []) async throws -> [EtcdProcess] {
        let members = try ["one", "two", "three"].map { try EtcdProcess(name: $0) }
        var registry: EtcdProcess?
        let common: [String]
        switch bootstrap {
        case .list:
            common = ["--initial-cluster=" + members.map { "\($0.name)=\($0.peerURL)" }.joined(separator: ",")]
        case .discovery:
            let serving = try await single(["--enable-v2=true"])
            registry = serving
            let path = "/v2/keys/_etcd/registry/tulle"
            let answer = try await HTTPClient(serving.address).send(
                HTTPRequest(
                    "PUT", path + "/_config/size", fields: ["Content-Type": "application/x-www-form-urlencoded"],
                    body: Array("value=3".utf8)), timeout: .seconds(5))
            guard (200...299).contains(answer.status) else { throw LabFailure("etcd's discovery service answers \(answer.status)") }
            common = ["--discovery=http://\(serving.address)\(path)"]
        }
        for member in members { try member.start(flags + common) }
        for member in members {
            guard await member.becomesReady() else { throw LabFailure("etcd's member \(member.name) does not start: \(member.log.suffix(2_000))") }
        }
        registry?.stop()
        return members
    }

    /// Once more, with the data it has.
    package func restart() async throws {
        try start(flags)
        guard await becomesReady() else { throw LabFailure("etcd's member \(name) does not start again: \(log.suffix(2_000))") }
    }

    private func start(_ flags: [String]) throws {
        self.flags = flags
        let client = "\(secure == nil ? "http" : "https")://127.0.0.1:\(clientPort)"
        process = try LabProcess(
            ["sh", "-c", "log=$1; shift; exec etcd \"$@\" >>\"$log\" 2>&1", "sh", directory + "/log"] + [
                "--name=\(name)", "--data-dir=\(directory)/data", "--listen-client-urls=\(client)", "--advertise-client-urls=\(client)",
                "--listen-peer-urls=\(peerURL)", "--initial-advertise-peer-urls=\(peerURL)",
                // Elections in a fifth of the usual time.
                "--heartbeat-interval=20", "--election-timeout=200",
            ] + flags)
    }

    /// kill -9, and waits for its end.
    package func stop() {
        process?.signal(SIGCONT)
        process = nil
    }

    /// SIGSTOP, and waits until it answers no more.
    package func freeze() async throws {
        signal(SIGSTOP)
        let client = HTTPClient(address)
        try await eventually("etcd stands still") {
            let request = HTTPRequest("GET", "/version")
            return (try? await client.send(request, timeout: .milliseconds(200))) == nil
        }
    }

    package func signal(_ number: Int32) { process?.signal(number) }

    private func becomesReady() async -> Bool {
        let client = secure?(address) ?? HTTPClient(address)
        let ready: Void? = try? await eventually("etcd answers", within: .seconds(20)) {
            let request = HTTPRequest("POST", "/v3/kv/range", body: Array(#"{"key":"AA=="}"#.utf8))
            let status = try await client.send(request, timeout: .seconds(2)).status
            // With authentication on it refuses, and is ready.
            return status == 200 || status == 400
        }
        return ready != nil
    }

    private static func freePorts() throws -> (Int, Int) {
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        let ports = try (0..<2).map { _ in
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            sockets.append(descriptor)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let isBound = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0 }
            }
            guard isBound else { throw LabFailure("no free port") }
            return Int(UInt16(bigEndian: address.sin_port))
        }
        return (ports[0], ports[1])
    }
}
