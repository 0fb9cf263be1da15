import Glibc
import HTTP
import Synchronization
import TLS
import TestKit
import Testing

/// A cluster of two nodes, at the real time, because the `openssl` program knows no other.
struct SecureCluster: Sendable {
    static let server = "11111111-1111-4111-8111-111111111111"
    static let client = "22222222-2222-4222-8222-222222222222"
    let authority: CertificateAuthority
    let now: Int64

    init(_ name: String = "alpha") throws {
        now = Int64(time(nil))
        authority = try CertificateAuthority.make(cluster: name, now: now)
    }

    func own(_ node: String) throws -> TLSContext.Own {
        let key = try PrivateKey.generate()
        let certificate = try authority.issue(for: try key.publicKey(), node: node, name: "host", lifetime: 86_400, now: now)
        return TLSContext.Own(certificate: certificate, key: key, chain: [authority.certificate])
    }

    func context(
        _ node: String?, clients: TLSContext.ClientCertificate = .required, refusal: @escaping @Sendable (PeerIdentity?) -> String? = { _ in nil }
    ) throws -> TLSContext {
        try TLSContext(
            own: try node.map(own), trust: .cluster(authority.cluster, authorities: [authority.certificate]), clientCertificate: clients,
            now: { [now] in now }, refusal: refusal)
    }

    /// What a client needs that is no member: it trusts the authority, and shows nothing.
    func stranger() throws -> TLSContextSlot { TLSContextSlot(try context(nil)) }
    func member() throws -> TLSContextSlot { TLSContextSlot(try context(Self.client)) }
}

/// Says who the server thinks that the client is.
let whoAmI: HTTPHandler = { request in
    .text("\(request.isSecure ? "secure" : "plain") \(request.peer?.node ?? "nobody")")
}

/// Runs a server with TLS on a free port for the time of `body`.
func withSecureServer<Result>(
    _ context: TLSContext, alsoPlain: Bool = false, limits: HTTPLimits = HTTPLimits(), failures: Failures = Failures(),
    handler: @escaping HTTPHandler = whoAmI, _ body: (HTTPServer) async throws -> Result
) async throws -> Result {
    var tls = HTTPServerTLS(TLSContextSlot(context), alsoPlain: alsoPlain)
    tls.failed = { error, _ in failures.add(error) }
    let server = try await HTTPServer.start(on: .tcp(host: "127.0.0.1", port: 0), limits: limits, tls: tls, handler: handler)
    do {
        let result = try await body(server)
        await server.stop()
        return result
    } catch {
        await server.stop()
        throw error
    }
}

/// What TLS has told a server.
final class Failures: Sendable {
    private struct State { var errors: [TLSError] = []; var waiters: [(count: Int, signal: Signal)] = [] }
    private let state = Mutex(State())

    func add(_ error: TLSError) {
        let due = state.withLock { state in
            state.errors.append(error)
            return state.waiters.filter { $0.count <= state.errors.count }
        }
        for waiter in due { waiter.signal.set() }
    }

    /// Waits until there are that many, or the test's time is over.
    func codes(_ count: Int) async -> [TLSError.Code] {
        let signal = Signal()
        let isThere = state.withLock { state in
            state.waiters.append((count, signal))
            return state.errors.count >= count
        }
        if !isThere { await signal.wait() }
        return state.withLock { $0.errors.map(\.code) }
    }
}

extension HTTPClient {
    func text(_ path: String = "/") async throws -> String {
        String(decoding: try await send(HTTPRequest("GET", path), timeout: .seconds(20)).body, as: UTF8.self)
    }
}

/// Files of one test, removed with the object.
final class ScratchFiles: Sendable {
    let path: String

    init() {
        path = "/tmp/tulle-http-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        mkdir(path, 0o700)
    }

    func write(_ name: String, _ text: String) -> String {
        let descriptor = open("\(path)/\(name)", O_CREAT | O_WRONLY | O_TRUNC, 0o600)
        _ = Glibc.write(descriptor, Array(text.utf8), text.utf8.count)
        close(descriptor)
        return "\(path)/\(name)"
    }

    deinit {
        for name in ["ca", "crt", "key"] { unlink("\(path)/\(name)") }
        rmdir(path)
    }
}
