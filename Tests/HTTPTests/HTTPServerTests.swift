import Glibc
import HTTP
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)))
struct HTTPServerTests {
    @Test("a request and its answer arrive whole", arguments: Place.allCases)
    func roundTrip(place: Place) async throws {
        try await withServer(place) { request in
            #expect(request.method == "POST")
            #expect(request.path == "/a b/ü%")
            #expect(request.query == ["x": "1&2", "leer": "", "plus": "a+b"])
            #expect(request.fields["x-MARK"] == "yes")
            return HTTPResponse(status: 201, fields: ["X-Answer": "no"], body: request.body.reversed())
        } _: { server in
            let request = HTTPRequest(
                "POST", "/a b/ü%", query: ["x": "1&2", "leer": "", "plus": "a+b"], fields: ["X-Mark": "yes"], body: [1, 2, 3])
            let response = try await HTTPClient(server.address).send(request, timeout: .seconds(10))
            #expect(response.status == 201)
            #expect(response.fields["x-answer"] == "no")
            #expect(response.body == [3, 2, 1])
        }
    }

    @Test("bodies of 8 MB go both ways", arguments: Place.allCases)
    func bigBodies(place: Place) async throws {
        let body = (0..<8 << 20).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        try await withServer(place, handler: echo) { server in
            let response = try await HTTPClient(server.address).send(HTTPRequest("POST", "/", body: body), timeout: .seconds(30))
            #expect(response.body == body)
        }
    }

    @Test("a request that comes byte by byte is answered")
    func splitWrites() async throws {
        try await withServer(handler: echo) { server in
            let client = try RawClient(server.address)
            for byte in "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".utf8 { await client.write([byte]) }
            let answer = try #require(await client.read(until: "abc"))
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(answer.contains("Content-Length: 3\r\n"))
        }
    }

    @Test("a chunked body is put together")
    func chunked() async throws {
        try await withServer(handler: echo) { server in
            let client = try RawClient(server.address)
            await client.write("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n there\r\n0\r\nT: 1\r\n\r\n")
            #expect(await client.read(until: "hello there") != nil)
        }
    }

    @Test("pipelined requests are answered in order, one at a time")
    func pipelining() async throws {
        let running = Mutex(0)
        try await withServer { request in
            running.withLock { $0 += 1 }
            #expect(running.withLock { $0 } == 1)
            await Task.yield()
            running.withLock { $0 -= 1 }
            return .text(request.path)
        } _: { server in
            let client = try RawClient(server.address)
            await client.write((0..<50).map { "GET /\($0) HTTP/1.1\r\n\r\n" }.joined() + "GET /end HTTP/1.1\r\nConnection: close\r\n\r\n")
            let answers = try #require(await client.readToEnd()).split(separator: "\r\n\r\n").map { $0.prefix { $0 != "H" } }
            #expect(answers == [""] + (0..<50).map { "/\($0)" } + ["/end"])
        }
    }

    @Test("a client that sends requests and never reads costs one answer, and is soon not read any more")
    func neverReads() async throws {
        let greedy = Mutex(0)
        let large = [UInt8](repeating: 7, count: 2 << 20)
        try await withServer { request in
            if request.path == "/large" { greedy.withLock { $0 += 1 } }
            return HTTPResponse(status: 200, body: request.path == "/large" ? large : [])
        } _: { server in
            let client = try RawClient(server.address)
            let requests = Array(String(repeating: "GET /large HTTP/1.1\r\n\r\n", count: 200_000).utf8)
            #expect(await client.fill(requests) < 1 << 20)
            _ = try await HTTPClient(server.address).send(HTTPRequest("GET", "/"), timeout: .seconds(10))
            #expect(greedy.withLock { $0 } == 1)
        }
    }

    @Test("HEAD gets the length without the body, and the connection stays in step")
    func head() async throws {
        try await withServer(handler: { _ in .text("seven b") }) { server in
            let client = HTTPClient(server.address)
            let response = try await client.send(HTTPRequest("HEAD", "/"), timeout: .seconds(10))
            #expect(response.fields["Content-Length"] == "7")
            #expect(response.body == [])
            #expect(try await client.send(HTTPRequest("GET", "/"), timeout: .seconds(10)).body == Array("seven b".utf8))
            let raw = try RawClient(server.address)
            await raw.write("HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n")
            #expect(try #require(await raw.readToEnd()).hasSuffix("\r\n\r\n"))
        }
    }

    @Test("a status without a body is answered without one")
    func noContent() async throws {
        try await withServer(handler: { _ in HTTPResponse(status: 204) }) { server in
            let client = try RawClient(server.address)
            await client.write("GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            #expect(await client.readToEnd() == "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        }
    }

    @Test("Expect: 100-continue is answered before the body is sent")
    func expectContinue() async throws {
        try await withServer(handler: echo) { server in
            let client = try RawClient(server.address)
            await client.write("POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            #expect(await client.read(until: "\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n")
            await client.write("ok")
            #expect(try #require(await client.read(until: "ok")).hasPrefix("HTTP/1.1 200 OK"))
        }
    }

    @Test("HTTP/1.0 is answered and closed, unless it asks to be kept")
    func oldVersion() async throws {
        try await withServer(handler: { _ in .text("x") }) { server in
            let client = try RawClient(server.address)
            await client.write("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            #expect(try #require(await client.read(until: "x")).lowercased().contains("connection: keep-alive"))
            await client.write("GET / HTTP/1.0\r\n\r\n")
            #expect(try #require(await client.readToEnd()).hasSuffix("x"))
        }
    }

    @Test(
        "what is no HTTP gets 400 and the connection ends",
        arguments: [
            "garbage\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}", "GET / HTTP/9.9\r\n\r\n", "GET /%zz HTTP/1.1\r\n\r\n", "GET /%ff HTTP/1.1\r\n\r\n",
            "GET nowhere HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", "GET / HTTP/1.1\r\nA B: c\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ])
    func garbage(text: String) async throws {
        try await withServer(handler: echo) { server in
            let client = try RawClient(server.address)
            await client.write(text)
            let answer = try #require(await client.readToEnd())
            #expect(answer.hasPrefix("HTTP/1.1 400 "), "\(answer)")
        }
    }

    @Test("too large a body gets 413, with and without a declared length, and the client can read it")
    func bodyLimit() async throws {
        var limits = HTTPLimits()
        limits.bodyBytes = 1000
        try await withServer(limits: limits, handler: echo) { server in
            let client = HTTPClient(server.address)
            let fits = HTTPRequest("POST", "/", body: Array(repeating: 7, count: 1000))
            let large = HTTPRequest("POST", "/", body: Array(repeating: 7, count: 4 << 20))
            #expect(try await client.send(large, timeout: .seconds(10)).status == 413)
            #expect(try await client.send(fits, timeout: .seconds(10)).status == 200)

            let raw = try RawClient(server.address)
            await raw.write("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + String(repeating: "x", count: 1001))
            #expect(try #require(await raw.read(until: "bytes\n")).hasPrefix("HTTP/1.1 413 "))
        }
    }

    @Test("a refusal reaches a client that sends its whole body before it reads")
    func refusalArrives() async throws {
        var limits = HTTPLimits()
        limits.bodyBytes = 1000
        try await withServer(.tcp, limits: limits, handler: echo) { server in
            let client = try RawClient(server.address)
            let request = Array("POST / HTTP/1.1\r\nContent-Length: 8388608\r\n\r\n".utf8) + [UInt8](repeating: 7, count: 8 << 20)
            #expect(await client.fill(request) == request.count)
            #expect(try #require(await client.readToEnd()).hasPrefix("HTTP/1.1 413 "))
        }
    }

    @Test("too large a head gets 431", arguments: ["GET /\(String(repeating: "a", count: 9000)) HTTP/1.1\r\n", "GET / HTTP/1.1\r\nX: \(String(repeating: "a", count: 9000))"])
    func headLimit(text: String) async throws {
        var limits = HTTPLimits()
        limits.headerBytes = 8000
        try await withServer(limits: limits, handler: echo) { server in
            let client = try RawClient(server.address)
            await client.write(text)
            #expect(try #require(await client.readToEnd()).hasPrefix("HTTP/1.1 431 "))
        }
    }

    @Test("half a request gets 408 when its time is over")
    func slowRequest() async throws {
        var limits = HTTPLimits()
        limits.request = .milliseconds(50)
        try await withServer(limits: limits, handler: echo) { server in
            for half in ["GET", "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"] {
                let client = try RawClient(server.address)
                await client.write(half)
                #expect(try #require(await client.readToEnd()).hasPrefix("HTTP/1.1 408 "))
            }
        }
    }

    @Test("a connection without a request is closed after the idle time, before and after a request")
    func idleTimeout() async throws {
        var limits = HTTPLimits()
        limits.idle = .milliseconds(50)
        try await withServer(limits: limits, handler: { _ in .text("x") }) { server in
            #expect(try await RawClient(server.address).readToEnd() == "")
            let client = try RawClient(server.address)
            await client.write("GET / HTTP/1.1\r\n\r\n")
            #expect(try #require(await client.readToEnd()).hasSuffix("x"))
        }
    }

    @Test("a client that ends its side is answered if its request was whole, else gets 400", arguments: Place.allCases)
    func halfClosed(place: Place) async throws {
        try await withServer(place, handler: { _ in .text("x") }) { server in
            let whole = try RawClient(server.address)
            await whole.write("GET / HTTP/1.1\r\n\r\n")
            whole.endWriting()
            #expect(try #require(await whole.readToEnd()).hasSuffix("x"))

            let half = try RawClient(server.address)
            await half.write("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
            half.endWriting()
            let answer = try #require(await half.readToEnd())
            #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 400 "))
        }
    }

    @Test("200 idle connections do not hinder another, and one beyond the limit is closed")
    func manyConnections() async throws {
        var limits = HTTPLimits()
        limits.connections = 201
        try await withServer(limits: limits, handler: { _ in .text("x") }) { server in
            let idle = try (0..<200).map { _ in try RawClient(server.address) }
            for client in idle { await client.write("GET / HTTP/1.1\r\n\r\n") }
            for client in idle { #expect(await client.read(until: "x") != nil) }
            let client = HTTPClient(server.address)
            for _ in 0..<20 { #expect(try await client.send(HTTPRequest("GET", "/"), timeout: .seconds(10)).status == 200) }
            #expect(try await RawClient(server.address).readToEnd() == "")
            await idle[17].write("GET / HTTP/1.1\r\n\r\n")
            #expect(await idle[17].read(until: "x") != nil)
        }
    }

    @Test("the handler of a client that is gone is cancelled")
    func clientGone() async throws {
        let started = Signal()
        let cancelled = Signal()
        try await withServer { _ in
            await withTaskCancellationHandler {
                started.set()
                await cancelled.waitStubbornly()
            } onCancel: {
                cancelled.set()
            }
            return .text("")
        } _: { server in
            let request = Task { [address = server.address] in
                try await HTTPClient(address).send(HTTPRequest("GET", "/"), timeout: .seconds(30))
            }
            await started.wait()
            request.cancel()
            await cancelled.wait()
            await #expect(throws: CancellationError.self) { try await request.value }
        }
    }
}
