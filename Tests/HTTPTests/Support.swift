import Dispatch
import Glibc
import HTTP
import Synchronization
import Testing

/// A directory for one test's sockets, removed with the object.
final class ScratchDirectory: Sendable {
    let path: String

    init() {
        path = "/tmp/tulle-http-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        mkdir(path, 0o700)
    }

    deinit {
        for name in ["s", ".s"] { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    var socket: HTTPAddress { .unix(path: path + "/s") }
}

/// Both kinds of address that a server is tried on.
enum Place: CaseIterable, Sendable { case unix, tcp }

/// Runs a server for the time of `body`.
func withServer<Result>(
    _ place: Place = .unix, limits: HTTPLimits = HTTPLimits(), handler: @escaping HTTPHandler,
    _ body: (HTTPServer) async throws -> Result
) async throws -> Result {
    let directory = ScratchDirectory()
    let address = place == .unix ? directory.socket : .tcp(host: "127.0.0.1", port: 0)
    let server = try await HTTPServer.start(on: address, limits: limits, handler: handler)
    do {
        let result = try await body(server)
        await server.stop()
        return result
    } catch {
        await server.stop()
        throw error
    }
}

/// Answers the request's own parts, so that a test sees what arrived.
let echo: HTTPHandler = { request in
    HTTPResponse(status: 200, fields: ["X-Method": request.method, "X-Path": request.path], body: request.body)
}

/// A condition that tasks wait for, in place of sleeping.
final class Signal: Sendable {
    private struct State { var isSet = false; var waiters: [CheckedContinuation<Void, Never>] = [] }
    private let state = Mutex(State())

    func set() {
        let waiters = state.withLock { state in
            state.isSet = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    var isSet: Bool { state.withLock { $0.isSet } }

    /// Returns when it is set, or when the task is cancelled, as a test is whose time is over.
    func wait() async {
        await withTaskCancellationHandler { await waitStubbornly() } onCancel: { set() }
    }

    /// Returns only when it is set: a handler that ignores its cancellation.
    func waitStubbornly() async {
        await withCheckedContinuation { continuation in
            let isSet = state.withLock { state in
                if !state.isSet { state.waiters.append(continuation) }
                return state.isSet
            }
            if isSet { continuation.resume() }
        }
    }
}

/// A socket without any HTTP in it; its blocking calls run on Dispatch's threads and end after 10 s.
final class RawClient: Sendable {
    struct Failure: Error { let cause: String }
    private let descriptor: Int32

    init(_ address: HTTPAddress) throws {
        switch address {
        case .unix(let path):
            descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            try RawClient.connect(descriptor, &address)
        case .tcp(_, let port):
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(UInt16(port).bigEndian)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            try RawClient.connect(descriptor, &address)
        }
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    private static func connect<Address>(_ descriptor: Int32, _ address: inout Address) throws {
        let size = socklen_t(MemoryLayout<Address>.size)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, size) }
        }
        guard result == 0 else { throw Failure(cause: String(cString: strerror(errno))) }
    }

    private func blocking<Result: Sendable>(_ body: @escaping @Sendable (Int32) -> Result) async -> Result {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(returning: body(self.descriptor)) }
        }
    }

    func write(_ text: String) async {
        await write(Array(text.utf8))
    }

    func write(_ bytes: [UInt8]) async {
        await blocking { descriptor in
            var sent = 0
            while sent < bytes.count {
                let count = bytes[sent...].withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                if count <= 0 { return }
                sent += count
            }
        }
    }

    func fill(_ bytes: [UInt8]) async -> Int { await fillSocket(descriptor, bytes) }

    func endWriting() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// All that comes until the other side closes; nil when it does not within 10 s.
    func readToEnd() async -> String? {
        await read { _ in false }
    }

    /// What comes until the text ends so; nil when the other side closes before or stays silent.
    func read(until end: String) async -> String? {
        await read { $0.hasSuffix(end) }
    }

    private func read(_ isEnough: @escaping @Sendable (String) -> Bool) async -> String? {
        await blocking { descriptor in
            var text = ""
            var buffer = [UInt8](repeating: 0, count: 65536)
            while true {
                let count = recv(descriptor, &buffer, buffer.count, 0)
                if count == 0 { return text }
                if count < 0 { return errno == ECONNRESET ? text : nil }
                text += String(decoding: buffer[..<count], as: UTF8.self)
                if isEnough(text) { return text }
            }
        }
    }
}

/// A server that plays a written part on one connection after the other, to show a client what no good server does.
func withScript<Result>(_ parts: [@Sendable (RawPeer) async -> Void], _ body: (HTTPAddress) async throws -> Result) async throws -> Result {
    let directory = ScratchDirectory()
    let listener = try RawListener(directory.path + "/s")
    let playing = Task {
        for part in parts {
            guard let peer = await listener.accept() else { return }
            await part(peer)
            peer.end()
        }
    }
    defer {
        playing.cancel()
        listener.end()
    }
    return try await body(directory.socket)
}

final class RawListener: Sendable {
    private let descriptor: Int32

    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard bound == 0, listen(descriptor, 16) == 0 else { throw RawClient.Failure(cause: String(cString: strerror(errno))) }
    }

    deinit { close(descriptor) }

    func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }

    func accept() async -> RawPeer? {
        let accepted = await withCheckedContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(returning: Glibc.accept(self.descriptor, nil, nil)) }
        }
        return accepted < 0 ? nil : RawPeer(accepted)
    }
}

final class RawPeer: Sendable {
    private let descriptor: Int32

    init(_ descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }

    /// The head of one request.
    func readHead() async -> String {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                var text = ""
                var byte: UInt8 = 0
                while !text.hasSuffix("\r\n\r\n"), recv(self.descriptor, &byte, 1, 0) == 1 {
                    text.unicodeScalars.append(Unicode.Scalar(byte))
                }
                continuation.resume(returning: text)
            }
        }
    }

    func write(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    }

    func fill(_ bytes: [UInt8]) async -> Int { await fillSocket(descriptor, bytes) }
}

/// Sends as much of the bytes as is taken, until nothing is for half a second; how many that were.
private func fillSocket(_ descriptor: Int32, _ bytes: [UInt8]) async -> Int {
    await withCheckedContinuation { continuation in
        DispatchQueue.global().async {
            var limit = timeval(tv_sec: 0, tv_usec: 500_000)
            setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            var sent = 0
            while sent < bytes.count {
                let count = bytes[sent...].withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                if count <= 0 { break }
                sent += count
            }
            continuation.resume(returning: sent)
        }
    }
}
