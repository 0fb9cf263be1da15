import Glibc
import HTTP
import TLS
import TestKit
import Testing

/// HTTP through TLS, on real sockets.
@Suite(.timeLimit(.minutes(2)))
struct HTTPTLSTests {
    @Test("members speak HTTP through TLS, and the handler knows who asks")
    func members() async throws {
        let cluster = try SecureCluster()
        try await withSecureServer(try cluster.context(SecureCluster.server)) { (server) async throws in
            let client = HTTPClient(server.address, tls: try cluster.member())
            for _ in 0..<3 { #expect(try await client.text() == "secure \(SecureCluster.client)") }
            client.disconnect()
            #expect(try await client.text() == "secure \(SecureCluster.client)")
        }
    }

    @Test("a client without a certificate is served where none is required, as nobody")
    func strangers() async throws {
        let cluster = try SecureCluster()
        try await withSecureServer(try cluster.context(SecureCluster.server, clients: .optional)) { (server) async throws in
            #expect(try await HTTPClient(server.address, tls: cluster.stranger()).text() == "secure nobody")
            #expect(try await HTTPClient(server.address, tls: cluster.member()).text() == "secure \(SecureCluster.client)")
        }
    }

    @Test("who is refused hears why in the error of the call, and the server's owner too")
    func refused() async throws {
        let (cluster, other) = (try SecureCluster(), try SecureCluster("beta"))
        let removed = try cluster.context(
            SecureCluster.server, refusal: { $0?.node == SecureCluster.client ? "it was removed" : nil })
        for (context, tls, there, here) in [
            (try cluster.context(SecureCluster.server), try cluster.stranger(), TLSError.Code.noCertificate, TLSError.Code.refusedByPeer),
            (removed, try cluster.member(), .removed, .refusedByPeer),
            (try cluster.context(SecureCluster.server), try other.member(), .refusedByPeer, .unknownAuthority),
        ] {
            let failures = Failures()
            try await withSecureServer(context, failures: failures) { (server) async throws in
                // A large body is under way when the refusal comes: the client must still hear it.
                for size in [0, 1 << 20] {
                    let request = HTTPRequest("POST", "/", body: [UInt8](repeating: 1, count: size))
                    let error = await #expect(throws: HTTPError.self) {
                        _ = try await HTTPClient(server.address, tls: tls).send(request, timeout: .seconds(20))
                    }
                    #expect(error?.code == .notSecure && error?.tls?.code == here, "\(size): \(error as Any)")
                    #expect(error?.remedy == error?.tls?.remedy)
                }
                #expect(await failures.codes(2) == [there, there])
            }
        }
    }

    @Test("plain HTTP to a server with TLS, and TLS to a plain server, are errors that say so")
    func plainAndTLS() async throws {
        let cluster = try SecureCluster()
        let failures = Failures()
        try await withSecureServer(try cluster.context(SecureCluster.server), failures: failures) { (server) async throws in
            await #expect(throws: HTTPError.self) { _ = try await HTTPClient(server.address).text() }
            #expect(await failures.codes(1) == [.noTLS])
        }
        try await withServer(.tcp, handler: whoAmI) { server in
            let error = await #expect(throws: HTTPError.self) { _ = try await HTTPClient(server.address, tls: cluster.member()).text() }
            #expect(error?.tls?.code == .noTLS, "\(error as Any)")
        }
    }

    @Test("one port serves TLS and plain HTTP, and the handler sees which")
    func mixed() async throws {
        let cluster = try SecureCluster()
        try await withSecureServer(try cluster.context(SecureCluster.server), alsoPlain: true) { (server) async throws in
            #expect(try await HTTPClient(server.address).text() == "plain nobody")
            #expect(try await HTTPClient(server.address, tls: cluster.member()).text() == "secure \(SecureCluster.client)")
            let error = await #expect(throws: HTTPError.self) { _ = try await HTTPClient(server.address, tls: cluster.stranger()).text() }
            #expect(error?.tls?.code == .refusedByPeer)
        }
    }

    @Test("a plain server speaks TLS too from one moment on, without a moment in which nobody listens")
    func becomesSecure() async throws {
        let cluster = try SecureCluster()
        let server = try await HTTPServer.start(on: .tcp(host: "127.0.0.1", port: 0), handler: whoAmI)
        let early = HTTPClient(server.address)
        #expect(try await early.text() == "plain nobody")
        let (silent, member) = (try RawClient(server.address), HTTPClient(server.address, tls: try cluster.member()))
        await #expect(throws: HTTPError.self) { _ = try await member.text() }
        // New connections all the while: not one is refused. (One whose request has not arrived yet when the idle ones end, ends with them.)
        let knocking = Task {
            var count = 0
            while !Task.isCancelled {
                do { _ = try await HTTPClient(server.address).text() } catch is CancellationError { break } catch let error as HTTPError where error.code == .closed { continue }
                count += 1
            }
            return count
        }
        for _ in 0..<20 { _ = try await HTTPClient(server.address).text() }
        await server.secure(HTTPServerTLS(TLSContextSlot(try cluster.context(SecureCluster.server)), alsoPlain: true))
        #expect(try await member.text() == "secure \(SecureCluster.client)")
        #expect(try await early.text() == "plain nobody")
        #expect(await silent.readToEnd() != nil, "a connection without a request is made anew")
        knocking.cancel()
        #expect(try await knocking.value > 0)
        await server.stop()
    }

    @Test("a unix socket stays without TLS")
    func unix() async throws {
        let cluster = try SecureCluster()
        let directory = ScratchDirectory()
        let tls = HTTPServerTLS(TLSContextSlot(try cluster.context(SecureCluster.server)))
        let server = try await HTTPServer.start(on: directory.socket, tls: tls, handler: whoAmI)
        #expect(try await HTTPClient(server.address, tls: cluster.member()).text() == "plain nobody")
        await server.stop()
    }

    @Test("64 MB go up and down through TLS unchanged")
    func largeBodies() async throws {
        let cluster = try SecureCluster()
        var limits = HTTPLimits()
        (limits.bodyBytes, limits.allBodiesBytes) = (65 << 20, 80 << 20)
        let body = [UInt8](unsafeUninitializedCapacity: 64 << 20) { room, count in
            var value: UInt32 = 1
            for index in 0..<64 << 20 {
                value = value &* 1_664_525 &+ 1_013_904_223
                room[index] = UInt8(value >> 24)
            }
            count = 64 << 20
        }
        try await withSecureServer(try cluster.context(SecureCluster.server), limits: limits, handler: echo) { (server) async throws in
            let client = HTTPClient(server.address, tls: try cluster.member())
            let answer = try await client.send(HTTPRequest("POST", "/", body: body), timeout: .seconds(60))
            #expect(answer.body == body)
        }
    }

    @Test("200 requests at once, on connections of their own, are all answered")
    func concurrent() async throws {
        let cluster = try SecureCluster()
        try await withSecureServer(try cluster.context(SecureCluster.server), handler: echo) { (server) async throws in
            let client = HTTPClient(server.address, tls: try cluster.member())
            let right = try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<200 {
                    group.addTask {
                        let body = [UInt8](repeating: UInt8(number), count: number * 100)
                        return try await client.send(HTTPRequest("POST", "/", body: body), timeout: .seconds(30)).body == body
                    }
                }
                return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(right == 200)
        }
    }

    @Test("lines are read through TLS as they come")
    func lines() async throws {
        let cluster = try SecureCluster()
        let text = (0..<20_000).map { "line \($0) " + String(repeating: "x", count: 100) }.joined(separator: "\n")
        try await withSecureServer(try cluster.context(SecureCluster.server), handler: { _ in .text(text) }) { (server) async throws in
            var next = 0
            let client = HTTPClient(server.address, tls: try cluster.member())
            for try await line in try await client.lines(HTTPRequest("GET", "/"), timeout: .seconds(20)) {
                if !line.starts(with: Array("line \(next) ".utf8)) { Issue.record("line \(next) is wrong") }
                next += 1
            }
            #expect(next == 20_000)
        }
    }

    @Test("a renewed certificate and a new authority are used by the next connections, and the others go on")
    func renewed() async throws {
        let (old, new) = (try SecureCluster(), try SecureCluster())
        func context(_ own: TLSContext.Own, _ authorities: [CertificateAuthority]) throws -> TLSContext {
            try TLSContext(
                own: own, trust: .cluster("alpha", authorities: authorities.map(\.certificate)), now: { [now = old.now] in now })
        }
        let serverSlot = TLSContextSlot(try context(try old.own(SecureCluster.server), [old.authority]))
        let clientSlot = TLSContextSlot(try context(try old.own(SecureCluster.client), [old.authority]))
        let server = try await HTTPServer.start(
            on: .tcp(host: "127.0.0.1", port: 0), tls: HTTPServerTLS(serverSlot), handler: { .text($0.peer?.serial ?? "none") })
        let client = HTTPClient(server.address, tls: clientSlot)
        let first = try await client.text()

        // Both trust both authorities, then both use the new one, then both forget the old.
        for authorities in [[old.authority, new.authority], [new.authority]] {
            let (serverOwn, clientOwn) = (try new.own(SecureCluster.server), try new.own(SecureCluster.client))
            serverSlot.current = try context(serverOwn, authorities)
            clientSlot.current = try context(clientOwn, authorities)
            if authorities.count == 2 { #expect(try await client.text() == first, "the connection that is open stays") }
            client.disconnect()
            #expect(try await client.text() == clientOwn.certificate.serial)
        }
        // A node that slept through it is refused.
        let sleeper = TLSContextSlot(try context(try old.own(SecureCluster.client), [old.authority]))
        let error = await #expect(throws: HTTPError.self) { _ = try await HTTPClient(server.address, tls: sleeper).text() }
        #expect(error?.tls?.code == .unknownAuthority)
        await server.stop()
    }

    @Test("a flood of connections that do nothing, or stop within the handshake, leaves members their place")
    func flood() async throws {
        let cluster = try SecureCluster()
        var limits = HTTPLimits()
        (limits.connections, limits.strangers) = (100, 20)
        try await withSecureServer(try cluster.context(SecureCluster.server), alsoPlain: true, limits: limits) { (server) async throws in
            let early = HTTPClient(server.address, tls: try cluster.member())
            #expect(try await early.text() == "secure \(SecureCluster.client)")
            var flood: [RawClient] = []
            for number in 0..<300 {
                let client = try RawClient(server.address)
                if number % 3 == 1 { await client.write([22, 3, 1, 0, 200, 1]) }
                if number % 3 == 2 { await client.write("GET / HTTP/1.1\r\n") }
                flood.append(client)
                if number % 50 == 49 {
                    #expect(try await early.text() == "secure \(SecureCluster.client)")
                    #expect(try await HTTPClient(server.address, tls: cluster.member()).text() == "secure \(SecureCluster.client)")
                }
            }
            #expect(await flood[0].readToEnd() != nil, "the oldest of them was closed")
        }
    }

    @Test("a plain client that proves who it is by its request is no stranger")
    func proven() async throws {
        let cluster = try SecureCluster()
        var limits = HTTPLimits()
        limits.strangers = 2
        try await withSecureServer(
            try cluster.context(SecureCluster.server), alsoPlain: true, limits: limits,
            handler: { request in
                var response = HTTPResponse.text(request.path)
                response.provesClient = request.path == "/signed"
                return response
            }
        ) { (server) async throws in
            let clients = [try RawClient(server.address), try RawClient(server.address)]
            for (client, path) in zip(clients, ["/signed", "/unsigned"]) {
                await client.write("GET \(path) HTTP/1.1\r\n\r\n")
                #expect(await client.read(until: path) != nil)
            }
            let flood = try (0..<4).map { _ in try RawClient(server.address) }
            #expect(await clients[1].readToEnd() == "")
            await clients[0].write("GET /again HTTP/1.1\r\n\r\n")
            #expect(await clients[0].read(until: "/again") != nil)
            withExtendedLifetime(flood) {}
        }
    }
}
