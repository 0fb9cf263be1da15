import Glibc
import HTTP
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)))
struct HTTPClientTests {
    private func code(_ client: HTTPClient, _ request: HTTPRequest = HTTPRequest("GET", "/"), timeout: Duration = .seconds(10)) async -> HTTPError.Code? {
        do {
            _ = try await client.send(request, timeout: timeout)
            return nil
        } catch {
            return (error as? HTTPError)?.code
        }
    }

    @Test("a socket that is missing, dead or forbidden, and a closed port, are told apart")
    func connectErrors() async throws {
        let directory = ScratchDirectory()
        #expect(await code(HTTPClient(directory.socket)) == .noSuchSocket)
        do { _ = try RawListener(directory.path + "/s") }
        #expect(await code(HTTPClient(directory.socket)) == .refused)
        let server = try await HTTPServer.start(on: .tcp(host: "127.0.0.1", port: 0), handler: echo)
        await server.stop()
        #expect(await code(HTTPClient(server.address)) == .refused)
        #expect(await code(HTTPClient(.unix(path: String(repeating: "x", count: 200)))) == .badAddress)
        #expect(await code(HTTPClient(directory.socket), HTTPRequest("GET /", "/")) == .badRequest)
    }

    @Test("a server that never answers is given up after the timeout")
    func timeout() async throws {
        let never = Signal()
        try await withServer { _ in
            await never.waitStubbornly()
            return .text("")
        } _: { server in
            #expect(await code(HTTPClient(server.address), timeout: .milliseconds(50)) == .timedOut)
            never.set()
        }
    }

    @Test("one connection serves calls in a row, several serve calls at once")
    func reuse() async throws {
        let heads = Mutex<[String]>([])
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
        try await withScript([
            { peer in
                for _ in 0..<3 {
                    let head = await peer.readHead()
                    heads.withLock { $0.append(head) }
                    peer.write(answer)
                }
                _ = await peer.readHead()
            }
        ]) { address in
            let client = HTTPClient(address)
            for index in 0..<3 { #expect(await code(client, HTTPRequest("GET", "/\(index)")) == nil) }
            #expect(heads.withLock { $0.count } == 3)
        }
        let both = Signal()
        let count = Mutex(0)
        try await withServer { _ in
            if count.withLock({ $0 += 1; return $0 == 2 }) { both.set() }
            await both.wait()
            return .text("")
        } _: { server in
            let client = HTTPClient(server.address)
            async let first = client.send(HTTPRequest("GET", "/"), timeout: .seconds(10))
            async let second = client.send(HTTPRequest("GET", "/"), timeout: .seconds(10))
            _ = try await (first, second)
        }
    }

    @Test("calls go on after the server was restarted", arguments: 0..<5)
    func restart(_: Int) async throws {
        let directory = ScratchDirectory()
        let client = HTTPClient(directory.socket)
        for _ in 0..<3 {
            let server = try await HTTPServer.start(on: directory.socket, handler: echo)
            #expect(await code(client) == nil)
            await server.stop()
        }
        #expect(await code(client) == .noSuchSocket)
    }

    @Test("a client that gives its connections up fails the call under way and makes the next on a new one")
    func disconnect() async throws {
        let arrived = Signal()
        let count = Mutex(0)
        try await withServer { request in
            count.withLock { $0 += 1 }
            guard request.path == "/slow" else { return .text("") }
            arrived.set()
            try? await Task.sleep(for: .seconds(60))
            return .text("late")
        } _: { server in
            let client = HTTPClient(server.address)
            // The connection that the slow call takes is one that was used before.
            _ = try await client.send(HTTPRequest("GET", "/"), timeout: .seconds(10))
            let slow = Task { try await client.send(HTTPRequest("GET", "/slow"), timeout: .seconds(50)) }
            await arrived.wait()
            client.disconnect()
            let error = await #expect(throws: HTTPError.self) { try await slow.value }
            #expect(error?.code == .closed)
            #expect(try await client.send(HTTPRequest("GET", "/"), timeout: .seconds(10)).status == 200)
            #expect(count.withLock { $0 } == 3, "what may have been done is not asked for again")
        }
    }

    @Test("a reused connection that closes without an answer is replaced once; a new one is not")
    func retry() async throws {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        try await withScript([
            { peer in
                _ = await peer.readHead()
                peer.write(answer)
                _ = await peer.readHead()  // the second call is read, and the connection ends
            },
            { peer in
                _ = await peer.readHead()
                peer.write(answer)
            },
            { peer in _ = await peer.readHead() },
        ]) { address in
            let client = HTTPClient(address)
            #expect(await code(client) == nil)
            #expect(await code(client) == nil)
            #expect(await code(HTTPClient(address)) == .closed)
        }
    }

    @Test("a call that may be made once only is not made again, and its error tells whether it went out")
    func onceOnly() async throws {
        try await withScript([
            { peer in
                _ = await peer.readHead()
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                _ = await peer.readHead()  // the second call is read, and the connection ends
            }
        ]) { address in
            let client = HTTPClient(address)
            let request = HTTPRequest("POST", "/")
            _ = try await client.send(request, timeout: .seconds(10), isRepeatable: false)
            let lost = await #expect(throws: HTTPError.self) {
                try await client.send(request, timeout: .seconds(10), isRepeatable: false)
            }
            #expect(lost?.code == .closed && lost?.isSent == true)
        }
        let refused = await #expect(throws: HTTPError.self) {
            try await HTTPClient(.tcp(host: "127.0.0.1", port: 1)).send(HTTPRequest("POST", "/"), timeout: .seconds(10))
        }
        #expect(refused?.code == .refused && refused?.isSent == false)
    }

    @Test("a call is not made again when the answer had begun")
    func noRetryAfterBytes() async throws {
        try await withScript([
            { peer in
                _ = await peer.readHead()
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                _ = await peer.readHead()
                peer.write("HTTP/1.1 2")
            }
        ]) { address in
            let client = HTTPClient(address)
            #expect(await code(client) == nil)
            #expect(await code(client) == .closed)
        }
    }

    @Test("an answer that breaks off, is no HTTP or is too large is an error")
    func badAnswers() async throws {
        func play(_ text: String, limits: HTTPClient.Limits = .init()) async throws -> HTTPError.Code? {
            try await withScript([{ peer in
                _ = await peer.readHead()
                peer.write(text)
            }]) { await code(HTTPClient($0, limits: limits)) }
        }
        var limits = HTTPClient.Limits()
        limits.bodyBytes = 10
        #expect(try await play("") == .closed)
        #expect(try await play("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") == .closed)
        #expect(try await play("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n") == .closed)
        #expect(try await play("SSH-2.0-OpenSSH\r\n") == .malformed)
        #expect(try await play("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", limits: limits) == .tooLarge)
        #expect(try await play("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n", limits: limits) == .tooLarge)
        #expect(try await play("HTTP/1.1 200 OK\r\n\r\nuntil the end") == nil)
    }

    @Test("a cancelled call ends at once, before and while it waits")
    func cancel() async throws {
        let started = Signal()
        let never = Signal()
        try await withServer { _ in
            started.set()
            await never.waitStubbornly()
            return .text("")
        } _: { server in
            let client = HTTPClient(server.address)
            let call = Task { try await client.send(HTTPRequest("GET", "/"), timeout: .seconds(30)) }
            await started.wait()
            call.cancel()
            await #expect(throws: CancellationError.self) { try await call.value }
            never.set()
        }
    }

    @Test("lines come as they are written, and the stream ends with the body")
    func lines() async throws {
        let first = Signal()
        try await withScript([{ peer in
            _ = await peer.readHead()
            peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
            await first.wait()
            peer.write("2\r\ntw\r\n3\r\no\n\n\r\n5\r\nthree\r\n0\r\n\r\n")
        }]) { address in
            var got: [String] = []
            for try await line in try await HTTPClient(address).lines(HTTPRequest("GET", "/"), timeout: .seconds(10)) {
                got.append(String(decoding: line, as: UTF8.self))
                first.set()
            }
            #expect(got == ["one", "two", "", "three"])
        }
    }

    @Test("a stream that breaks throws, after the lines that came")
    func brokenLines() async throws {
        try await withScript([{ peer in
            _ = await peer.readHead()
            peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
        }]) { address in
            var lines = try await HTTPClient(address).lines(HTTPRequest("GET", "/"), timeout: .seconds(10)).makeAsyncIterator()
            #expect(try await lines.next() == Array("one".utf8))
            let error = await #expect(throws: HTTPError.self) { try await lines.next() }
            #expect(error?.code == .closed)
        }
    }

    @Test("lines of a refused request throw the server's answer")
    func refusedLines() async throws {
        try await withServer(handler: { _ in .text("no such thing", status: 404) }) { server in
            let error = await #expect(throws: HTTPError.self) {
                _ = try await HTTPClient(server.address).lines(HTTPRequest("GET", "/"), timeout: .seconds(10))
            }
            #expect(error?.code == .unexpectedStatus)
            #expect(error?.response?.status == 404)
            #expect(error?.cause.contains("no such thing") == true)
        }
    }

    @Test("a slow consumer gets every line of a large body")
    func slowConsumer() async throws {
        let text = (0..<60_000).map { "line \($0) " + String(repeating: "x", count: 100) }.joined(separator: "\n")
        try await withServer(handler: { _ in .text(text) }) { server in
            var next = 0
            for try await line in try await HTTPClient(server.address).lines(HTTPRequest("GET", "/"), timeout: .seconds(10)) {
                if next % 1000 == 0 { await Task.yield() }
                if !line.starts(with: Array("line \(next) ".utf8)) { Issue.record("line \(next) is wrong") }
                next += 1
            }
            #expect(next == 60_000)
        }
    }

    @Test("a server is not read further than a few MB ahead of the consumer, who gets all in the end")
    func backPressure() async throws {
        let line = Array((String(repeating: "x", count: 1023) + "\n").utf8)
        let all = Array(repeatElement(line, count: 32 << 10).joined())
        let consume = Signal()
        try await withScript([{ peer in
            _ = await peer.readHead()
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: \(all.count)\r\n\r\n")
            let ahead = await peer.fill(all)
            #expect(ahead < 8 << 20)
            consume.set()
            #expect(await peer.fill(Array(all[ahead...])) == all.count - ahead)
        }]) { address in
            let lines = try await HTTPClient(address).lines(HTTPRequest("GET", "/"), timeout: .seconds(10))
            await consume.wait()
            var count = 0
            for try await got in lines { count += got.count == 1023 ? 1 : 0 }
            #expect(count == 32 << 10)
        }
    }

    @Test("too long a line is an error")
    func longLine() async throws {
        var limits = HTTPClient.Limits()
        limits.lineBytes = 10
        try await withServer(handler: { _ in .text("short\n01234567890") }) { server in
            let client = HTTPClient(server.address, limits: limits)
            var lines = try await client.lines(HTTPRequest("GET", "/"), timeout: .seconds(10)).makeAsyncIterator()
            let error = await #expect(throws: HTTPError.self) { while try await lines.next() != nil {} }
            #expect(error?.code == .tooLarge)
        }
    }

    @Test("a consumer that stops or is cancelled closes the connection")
    func abandonedLines() async throws {
        for cancels in [false, true] {
            let gone = Signal()
            try await withScript([{ peer in
                _ = await peer.readHead()
                peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
                _ = await peer.readHead()  // returns when the client closes
                gone.set()
            }]) { address in
                let came = Signal()
                let consumer = Task {
                    for try await _ in try await HTTPClient(address).lines(HTTPRequest("GET", "/"), timeout: .seconds(10)) {
                        came.set()
                        if !cancels { break }
                    }
                }
                await came.wait()
                if cancels { consumer.cancel() }
                await gone.wait()
            }
        }
    }

    @Test("no descriptor is left when clients and servers are gone")
    func noLeaks() async throws {
        func round() async throws {
            try await withServer(.tcp, handler: echo) { server in
                let client = HTTPClient(server.address)
                for _ in 0..<3 { _ = try await client.send(HTTPRequest("GET", "/"), timeout: .seconds(10)) }
            }
        }
        try await round()
        // Other tests run beside this one and use a few hundred descriptors, so many rounds make one's leak stand out.
        for _ in 0..<1000 { try await round() }
        var open = 0
        for descriptor in 0..<4096 where fcntl(Int32(descriptor), F_GETFD) >= 0 { open += 1 }
        #expect(open < 1000)
    }
}
