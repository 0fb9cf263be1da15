import Docker
import Glibc
import HTTP
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)))
struct EngineClientTests {
    /// Plays an engine: answers by "METHOD /path", and writes down the requests.
    final class Engine: Sendable {
        let answers: [String: HTTPResponse]
        let requests = Mutex<[HTTPRequest]>([])

        init(_ answers: [String: HTTPResponse]) { self.answers = answers }

        func answer(_ request: HTTPRequest) -> HTTPResponse {
            requests.withLock { $0.append(request) }
            return answers["\(request.method) \(request.path)"]
                ?? .json(Array(#"{"message":"page not found"}"#.utf8), status: 404)
        }

        var last: HTTPRequest? { requests.withLock { $0.last } }
    }

    private static func json(_ text: String, status: Int = 200) -> HTTPResponse { .json(Array(text.utf8), status: status) }

    private func withEngine(
        _ answers: [String: HTTPResponse], _ body: (EngineClient, Engine) async throws -> Void
    ) async throws {
        let engine = Engine(answers)
        let path = "/tmp/tulle-docker-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
        let server = try await HTTPServer.start(on: .unix(path: path)) { engine.answer($0) }
        do {
            try await body(EngineClient(socket: path), engine)
            await server.stop()
        } catch {
            await server.stop()
            throw error
        }
    }

    @Test("the version is read", arguments: [(EngineAnswers.version20, "20.10.24+dfsg1", "1.41"), (EngineAnswers.version28, "28.5.2", "1.51")])
    func version(answer: String, version: String, api: String) async throws {
        try await withEngine(["GET /version": Self.json(answer)]) { client, _ in
            let got = try await client.version()
            #expect(got.version == version && got.api == api)
        }
    }

    @Test("networks are listed alike from old and new engines", arguments: [EngineAnswers.networks20, EngineAnswers.networks28])
    func networks(answer: String) async throws {
        try await withEngine(["GET /networks": Self.json(answer)]) { client, engine in
            let networks = try await client.networks(driver: "tulle")
            #expect(engine.last?.query == ["filters": #"{"driver":["tulle"]}"#])
            let shop = try #require(networks.first)
            #expect(shop.id == EngineAnswers.network && shop.name == "shop" && shop.driver == "tulle" && shop.scope == "local")
            #expect(shop.isAttachable && shop.enablesIPv6 && !shop.isInternal)
            #expect(shop.labels == ["team": "el"] && shop.options == ["tulle.mtu": "1400"])
            #expect(
                shop.ipam
                    == EngineIPAM(
                        driver: "tulle", options: ["tulle.network": "k1"],
                        subnets: [
                            .init(subnet: "10.32.0.0/16", ipRange: "10.32.8.0/24", gateway: "10.32.0.1", auxiliaryAddresses: ["router": "10.32.0.9"]),
                            .init(subnet: "fd32::/64"),
                        ]))
            let none = try #require(networks.last)
            #expect(none.name == "none" && none.options.isEmpty && none.ipam.subnets.isEmpty)
            _ = try await client.networks()
            #expect(engine.last?.query == [:])
        }
    }

    @Test("an inspected network has its endpoints")
    func network() async throws {
        try await withEngine(["GET /networks/shop": Self.json(EngineAnswers.inspectedNetwork)]) { client, _ in
            let network = try await client.network("shop")
            #expect(network.isInternal)
            #expect(
                network.endpoints == [
                    EngineAnswers.endpoint: EngineNetworkEndpoint(
                        containerID: EngineAnswers.container, name: "web", macAddress: "02:00:0a:20:00:02", ipv4Address: "10.32.0.2/32",
                        ipv6Address: "")
                ])
        }
    }

    @Test("an inspected container has its names on each network, and the ports that are published")
    func container() async throws {
        try await withEngine(["GET /containers/web/json": Self.json(EngineAnswers.inspectedContainer)]) { client, _ in
            let container = try await client.container("web")
            #expect(container.id == EngineAnswers.container && container.name == "web" && container.hostname == "front")
            #expect(container.ports == ["53/udp", "80/tcp"])
            #expect(
                container.attachments == [
                    "shop": .init(endpointID: EngineAnswers.endpoint, aliases: ["www", "*.cdn", "c0ffee00c0ff"], dnsNames: ["web", "www"]),
                    "bridge": .init(endpointID: ""),
                ])
        }
    }

    @Test("a network is made with everything that was asked for")
    func create() async throws {
        try await withEngine(["POST /networks/create": Self.json(#"{"Id":"\#(EngineAnswers.network)","Warning":""}"#, status: 201)]) { client, engine in
            let spec = EngineNetworkSpec(
                name: "shop", driver: "tulle",
                ipam: EngineIPAM(
                    driver: "tulle", options: ["tulle.network": "k1"],
                    subnets: [
                        .init(subnet: "10.32.0.0/16", ipRange: "10.32.8.0/24", gateway: "10.32.0.1", auxiliaryAddresses: ["router": "10.32.0.9"]),
                        .init(subnet: "fd32::/64"),
                    ]),
                options: ["tulle.mtu": "1400"], labels: ["team": "el"], isInternal: true, isAttachable: true, enablesIPv6: true)
            let id = try await client.createNetwork(spec)
            #expect(id == EngineAnswers.network)
            #expect(engine.last?.fields["Content-Type"] == "application/json")
            #expect(
                String(decoding: engine.last?.body ?? [], as: UTF8.self)
                    == #"{"Attachable":true,"CheckDuplicate":true,"Driver":"tulle","EnableIPv4":true,"EnableIPv6":true,"IPAM":{"Config":["#
                    + #"{"AuxiliaryAddresses":{"router":"10.32.0.9"},"Gateway":"10.32.0.1","IPRange":"10.32.8.0/24","Subnet":"10.32.0.0/16"},"#
                    + #"{"Subnet":"fd32::/64"}],"Driver":"tulle","Options":{"tulle.network":"k1"}},"Internal":true,"Labels":{"team":"el"},"#
                    + #""Name":"shop","Options":{"tulle.mtu":"1400"}}"#)
        }
    }

    @Test("a network is removed")
    func remove() async throws {
        try await withEngine(["DELETE /networks/abc": HTTPResponse(status: 204)]) { client, engine in
            try await client.removeNetwork("abc")
            #expect(engine.last?.method == "DELETE")
        }
    }

    @Test("events are typed, and can be asked for from a time on")
    func events() async throws {
        try await withEngine(["GET /events": Self.json(EngineAnswers.events)]) { client, engine in
            var events: [EngineEvent] = []
            for try await event in try await client.events(since: 1_767_607_872_000_000_009) { events.append(event) }
            #expect(engine.last?.query == ["filters": #"{"type":["network","container"]}"#, "since": "1767607872.000000009"])
            #expect(
                events == [
                    EngineEvent(
                        type: "network", action: "create", id: EngineAnswers.network, name: "shop", attributes: ["name": "shop", "type": "tulle"],
                        time: 1_767_607_872_123_456_789),
                    EngineEvent(
                        type: "container", action: "start", id: EngineAnswers.container, name: "web",
                        attributes: ["app": "web", "image": "busybox", "name": "web"], time: 1_767_607_873_000_000_001),
                ])
        }
    }

    @Test("an event that cannot be read ends the stream with an error")
    func badEvent() async throws {
        try await withEngine(["GET /events": Self.json("{\"Type\":\"network\"}\nnonsense\n")]) { client, _ in
            var events = try await client.events().makeAsyncIterator()
            #expect(try await events.next()?.type == "network")
            let error = await #expect(throws: DockerError.self) { try await events.next() }
            #expect(error?.code == .unreadable)
        }
    }

    @Test(
        "the engine's refusals keep its message and status",
        arguments: [
            (404, #"{"message":"network x not found"}"#, DockerError.Code.notFound, "network x not found"),
            (409, #"{"message":"network with name x already exists"}"#, .conflict, "already exists"),
            (403, #"{"message":"x has active endpoints"}"#, .conflict, "active endpoints"),
            (500, #"{"message":"remote: no pool for you"}"#, .engine, "500: remote: no pool for you"),
            (502, "<html>", .engine, "502: <html>"), (200, "<html>", .unreadable, "not JSON"), (200, "[]", .unreadable, "must be an object"),
            (200, #"{"Name":"x"}"#, .unreadable, "the field Id is missing"),
            (200, #"{"Id":"x","Name":"x","Labels":7}"#, .unreadable, "the field Labels must be an object"),
        ])
    func refusals(status: Int, body: String, code: DockerError.Code, text: String) async throws {
        try await withEngine(["GET /networks/x": Self.json(body, status: status)]) { client, _ in
            let error = await #expect(throws: DockerError.self) { _ = try await client.network("x") }
            #expect(error?.code == code)
            #expect(error?.status == (status == 200 ? nil : status))
            #expect(error?.description.contains(text) == true)
            #expect(error?.operation == "inspect Docker's network x")
        }
    }

    @Test("no socket and a dead socket are told apart, with the path")
    func noEngine() async throws {
        let path = "/tmp/tulle-docker-\(getpid())-none.sock"
        let client = EngineClient(socket: path)
        let missing = await #expect(throws: DockerError.self) { _ = try await client.networks() }
        #expect(missing?.code == .socketMissing && missing?.description.contains(path) == true)
        let events = await #expect(throws: DockerError.self) { _ = try await client.events() }
        #expect(events?.code == .socketMissing)

        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        close(descriptor)
        defer { unlink(path) }
        let dead = await #expect(throws: DockerError.self) { _ = try await client.networks() }
        #expect(dead?.code == .notRunning)
    }

    @Test("the plugin service answers over a real socket")
    func pluginOverSocket() async throws {
        let path = "/tmp/tulle-docker-\(getpid())-plugin.sock"
        let service = PluginService(RecordingDriver())
        let server = try await HTTPServer.start(on: .unix(path: path)) { await service.answer($0) }
        let response = try await HTTPClient(.unix(path: path)).send(HTTPRequest("POST", "/Plugin.Activate"), timeout: .seconds(10))
        #expect(response.body == Array(#"{"Implements":["NetworkDriver","IpamDriver"]}"#.utf8))
        await server.stop()
    }
}
