import Glibc
import HTTP
import Testing

/// Starting, stopping and the socket file.
@Suite(.timeLimit(.minutes(1)))
struct HTTPServerLifeTests {
    private func mode(of path: String) -> mode_t? {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_mode & 0o777 : nil
    }

    @Test("the socket file has the mode asked for whatever the umask, and goes with the server", arguments: [0o660, 0o600, 0o666])
    func socketMode(mode wanted: UInt32) async throws {
        let directory = ScratchDirectory()
        let path = directory.path + "/new/deep/s"
        var limits = HTTPLimits()
        limits.socketMode = wanted
        let server = try await HTTPServer.start(on: .unix(path: path), limits: limits, handler: echo)
        #expect(mode(of: path) == wanted)
        await server.stop()
        #expect(mode(of: path) == nil)
        #expect(rmdir(directory.path + "/new/deep") == 0, "nothing else was left in the directory")
        rmdir(directory.path + "/new")
    }

    @Test("a stale socket file is taken over, a live one refused with its path")
    func staleAndLive() async throws {
        let directory = ScratchDirectory()
        do { _ = try RawListener(directory.path + "/s") }  // closed at once: the file stays
        #expect(mode(of: directory.path + "/s") != nil)
        let server = try await HTTPServer.start(on: directory.socket, handler: echo)
        let error = await #expect(throws: HTTPError.self) { _ = try await HTTPServer.start(on: directory.socket, handler: echo) }
        #expect(error?.code == .addressInUse)
        #expect(error?.description.contains(directory.path + "/s") == true)
        #expect(try await HTTPClient(server.address).send(HTTPRequest("GET", "/"), timeout: .seconds(10)).status == 200)
        await server.stop()
    }

    @Test("a file that is no socket is left alone")
    func ordinaryFile() async throws {
        let directory = ScratchDirectory()
        close(open(directory.path + "/s", O_CREAT | O_WRONLY, 0o644))
        let error = await #expect(throws: HTTPError.self) { _ = try await HTTPServer.start(on: directory.socket, handler: echo) }
        #expect(error?.code == .addressInUse)
        #expect(mode(of: directory.path + "/s") == 0o644)
    }

    @Test("a server leaves the socket file of its successor")
    func successor() async throws {
        let directory = ScratchDirectory()
        let first = try await HTTPServer.start(on: directory.socket, handler: { _ in .text("1") })
        unlink(directory.path + "/s")
        let second = try await HTTPServer.start(on: directory.socket, handler: { _ in .text("2") })
        await first.stop()
        #expect(try await HTTPClient(directory.socket).send(HTTPRequest("GET", "/"), timeout: .seconds(10)).body == Array("2".utf8))
        await second.stop()
    }

    @Test("a path of more than 107 bytes is refused")
    func longPath() async throws {
        let directory = ScratchDirectory()
        let path = directory.path + "/" + String(repeating: "x", count: 107 - directory.path.utf8.count)
        let error = await #expect(throws: HTTPError.self) { _ = try await HTTPServer.start(on: .unix(path: path), handler: echo) }
        #expect(error?.code == .badAddress)
        #expect(rmdir(directory.path) == 0, "nothing was left in the directory")
    }

    @Test("a taken TCP port is refused, and port 0 becomes a real one")
    func takenPort() async throws {
        let server = try await HTTPServer.start(on: .tcp(host: "127.0.0.1", port: 0), handler: echo)
        #expect(server.address != .tcp(host: "127.0.0.1", port: 0))
        let error = await #expect(throws: HTTPError.self) { _ = try await HTTPServer.start(on: server.address, handler: echo) }
        #expect(error?.code == .addressInUse)
        await server.stop()
    }

    @Test("stop lets a running request finish")
    func stopWaits() async throws {
        let directory = ScratchDirectory()
        let started = Signal()
        let finish = Signal()
        var limits = HTTPLimits()
        limits.drain = .seconds(30)
        let server = try await HTTPServer.start(on: directory.socket, limits: limits) { _ in
            started.set()
            await finish.waitStubbornly()
            return .text("done")
        }
        let idle = try RawClient(server.address)
        async let answer = HTTPClient(server.address).send(HTTPRequest("GET", "/"), timeout: .seconds(20))
        await started.wait()
        async let stopped: Void = server.stop()
        #expect(await idle.readToEnd() == "", "an idle connection is closed at once")
        finish.set()
        #expect(try await answer.body == Array("done".utf8))
        await stopped
    }

    @Test("stop returns though a handler never does, and may be called again")
    func stopWithStuckHandler() async throws {
        let directory = ScratchDirectory()
        let started = Signal()
        let never = Signal()
        var limits = HTTPLimits()
        limits.drain = .milliseconds(50)
        let server = try await HTTPServer.start(on: directory.socket, limits: limits) { _ in
            started.set()
            await never.waitStubbornly()
            return .text("")
        }
        let request = Task { try await HTTPClient(directory.socket).send(HTTPRequest("GET", "/"), timeout: .seconds(30)) }
        await started.wait()
        let begin = ContinuousClock.now
        await server.stop()
        await server.stop()
        #expect(ContinuousClock.now - begin < .seconds(10))
        let error = await #expect(throws: HTTPError.self) { try await request.value }
        #expect(error?.code == .closed)
        never.set()
    }
}
