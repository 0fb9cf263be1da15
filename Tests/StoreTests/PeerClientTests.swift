/// Which way a request to another agent goes: through TLS with the node's certificate, or, while there are agents of version 0.1, by the shared secret.
import Glibc
import HTTP
@testable import Store
import Synchronization
import TLS
import Testing

@Suite(.timeLimit(.minutes(1)))
struct PeerClientTests {
    /// An authority and what its nodes show.
    private struct Realm {
        static let server = "11111111-1111-4111-8111-111111111111", client = "22222222-2222-4222-8222-222222222222"
        let authority: CertificateAuthority
        let now = Int64(time(nil))

        init() throws { authority = try .make(cluster: "alpha", now: now) }

        func context(_ node: String) throws -> TLSContext {
            let key = try PrivateKey.generate()
            let certificate = try authority.issue(for: try key.publicKey(), node: node, name: "host", lifetime: 3600, now: now)
            return try TLSContext(
                own: .init(certificate: certificate, key: key, chain: [authority.certificate]),
                trust: .cluster("alpha", authorities: [authority.certificate]), clientCertificate: .optional, now: { [now] in now })
        }
    }

    /// How requests came.
    private final class Ways: Sendable {
        private let seen = Mutex<[String]>([])
        var all: [String] { seen.withLock { $0 } }

        /// Behind TLS and, where there is a token, behind its proof.
        func handler(_ token: ClusterToken?) -> HTTPHandler {
            let note: HTTPHandler = { request in
                let way = request.isSecure ? request.peer?.node ?? "stranger" : "secret"
                self.seen.withLock { $0.append(way) }
                return .text(way)
            }
            let plain = token.map { PeerAuthenticator(token: $0).protecting(note) }
            return { request in
                guard !request.isSecure else { return await note(request) }
                guard let plain else { return .text("certificates only", status: 403) }
                return await plain(request)
            }
        }
    }

    private func withServer(
        _ tls: TLSContext?, token: ClusterToken?, _ body: (HTTPAddress, Ways) async throws -> Void
    ) async throws {
        let ways = Ways()
        let secure = tls.map { HTTPServerTLS(TLSContextSlot($0), alsoPlain: true) }
        let server = try await HTTPServer.start(on: .tcp(host: "127.0.0.1", port: 0), tls: secure, handler: ways.handler(token))
        do { try await body(server.address, ways) } catch {
            await server.stop()
            throw error
        }
        await server.stop()
    }

    private func ask(_ client: PeerClient) async throws -> HTTPResponse {
        try await client.send(HTTPRequest("POST", "/v1/anything", body: Array("{}".utf8)), timeout: .seconds(10), isRepeatable: false)
    }

    @Test("a node with a certificate speaks TLS, though it has the secret too")
    func secure() async throws {
        let (realm, token) = (try Realm(), ClusterToken.new())
        try await withServer(try realm.context(Realm.server), token: token) { address, ways in
            let client = PeerClient(address, keys: PeerKeys(try realm.context(Realm.client), token: token))
            for _ in 0..<3 { #expect(try await ask(client).status == 200) }
            #expect(ways.all == [Realm.client, Realm.client, Realm.client])
        }
    }

    @Test("a server that speaks no TLS is asked with the secret, until the secret is forgotten")
    func fallback() async throws {
        let (realm, token) = (try Realm(), ClusterToken.new())
        try await withServer(nil, token: token) { address, ways in
            let keys = PeerKeys(try realm.context(Realm.client), token: token)
            let client = PeerClient(address, keys: keys)
            for _ in 0..<3 { #expect(try await ask(client).status == 200) }
            #expect(ways.all == ["secret", "secret", "secret"])
            // At once, for clients in use as well as new ones.
            keys.forgetToken()
            for client in [client, PeerClient(address, keys: keys)] {
                let error = await expectError(.notAuthentic) { _ = try await ask(client) }
                #expect(error?.operation.contains("127.0.0.1") == true)
            }
            #expect(ways.all.count == 3)
        }
    }

    @Test("a node without certificate and secret says so and sends nothing")
    func bare() async throws {
        try await withServer(nil, token: nil) { address, ways in
            let error = await expectError(.notAuthentic) { _ = try await ask(PeerClient(address, keys: PeerKeys())) }
            #expect(error?.cause == "this node has no certificate")
            #expect(ways.all.isEmpty)
        }
    }

    @Test("the first certificate is used from the next request on")
    func certified() async throws {
        let (realm, token) = (try Realm(), ClusterToken.new())
        try await withServer(try realm.context(Realm.server), token: token) { address, ways in
            let keys = PeerKeys(token: token)
            let client = PeerClient(address, keys: keys)
            _ = try await ask(client)
            let context = try realm.context(Realm.client)
            try keys.set { _ in context }
            _ = try await ask(client)
            keys.forgetToken()
            _ = try await ask(client)
            #expect(ways.all == ["secret", Realm.client, Realm.client])
        }
    }

    @Test("a server with another cluster's certificate gets no request, not by the secret either")
    func noDowngrade() async throws {
        let (realm, other, token) = (try Realm(), try Realm(), ClusterToken.new())
        try await withServer(try other.context(Realm.server), token: token) { address, ways in
            let client = PeerClient(address, keys: PeerKeys(try realm.context(Realm.client), token: token))
            for _ in 0..<2 {
                let error = await expectError(.notAuthentic) { _ = try await ask(client) }
                #expect(error?.remedy.first?.isUppercase == true && error?.remedy.hasSuffix(".") == true)
            }
            #expect(ways.all.isEmpty)
        }
    }

    @Test("a server of a cluster that is sealed refuses the secret, and the error does not call it authentic")
    func sealed() async throws {
        let (realm, token) = (try Realm(), ClusterToken.new())
        try await withServer(try realm.context(Realm.server), token: nil) { address, ways in
            await expectError(.notAuthentic) { _ = try await ask(PeerClient(address, token: token)) }
            #expect(ways.all.isEmpty)
        }
    }

    /// Two servers, the second being the first one after a restart, behind a proxy that loses the answer to the second request of a connection.
    private func askOverLoss(_ keys: PeerKeys, tls: TLSContext?, token: ClusterToken, isRepeatable: Bool) async throws -> (Ways, StoreError?) {
        let ways = Ways()
        var servers: [HTTPServer] = []
        for _ in 0..<2 {
            let secure = tls.map { HTTPServerTLS(TLSContextSlot($0), alsoPlain: true) }
            servers.append(try await HTTPServer.start(on: .tcp(host: "127.0.0.1", port: 0), tls: secure, handler: ways.handler(token)))
        }
        let proxy = try LossyProxy(to: servers[0].address)
        let client = PeerClient(proxy.address, keys: keys)
        _ = try await ask(client)
        try proxy.loseNext(then: servers[1].address)
        var failure: StoreError?
        do {
            _ = try await client.send(HTTPRequest("POST", "/v1/store/commit"), timeout: .seconds(10), isRepeatable: isRepeatable)
        } catch let error as StoreError { failure = error }
        proxy.stop()
        for server in servers { await server.stop() }
        return (ways, failure)
    }

    @Test("what may be done once only is not sent again when its answer is lost, not by the secret either", arguments: [true, false])
    func unrepeated(isSecure: Bool) async throws {
        let (realm, token) = (try Realm(), ClusterToken.new())
        let keys = isSecure ? PeerKeys(try realm.context(Realm.client)) : PeerKeys(token: token)
        let (ways, failure) = try await askOverLoss(keys, tls: isSecure ? try realm.context(Realm.server) : nil, token: token, isRepeatable: false)
        #expect(failure?.code == .unreachable || failure?.code == .notAuthentic, "\(String(describing: failure))")
        #expect(ways.all.count == 2, "the first request, and the one whose answer was lost")
    }

    @Test("what may be done twice is sent again")
    func repeated() async throws {
        let (realm, token) = (try Realm(), ClusterToken.new())
        let keys = PeerKeys(try realm.context(Realm.client))
        let (ways, failure) = try await askOverLoss(keys, tls: try realm.context(Realm.server), token: token, isRepeatable: true)
        #expect(failure == nil)
        #expect(ways.all.count == 3)
    }
}

extension PeerKeys {
    /// With a context that refuses nobody by itself.
    fileprivate convenience init(_ context: TLSContext, token: ClusterToken? = nil) { self.init({ _ in context }, token: token) }
}
