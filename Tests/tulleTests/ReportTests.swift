import Glibc
import HTTP
import LocalAPI
import Testing

@Suite struct ReportTests {
    private func json(_ value: some Encodable) throws -> String { String(decoding: try LocalJSON.encode(value), as: UTF8.self) }

    @Test("reports survive JSON, with or without what is optional")
    func roundTrip() throws {
        #expect(try LocalJSON.decode(StatusReport.self, from: LocalJSON.encode(Sample.status)) == Sample.status)
        #expect(try LocalJSON.decode([NetworkReport].self, from: LocalJSON.encode(Sample.networks)) == Sample.networks)
        #expect(try LocalJSON.decode([EndpointReport].self, from: LocalJSON.encode(Sample.endpoints)) == Sample.endpoints)
        #expect(try LocalJSON.decode([NodeReport].self, from: LocalJSON.encode(Sample.nodes)) == Sample.nodes)
        #expect(try LocalJSON.decode([PlanReport].self, from: LocalJSON.encode(Sample.plan)) == Sample.plan)
    }

    @Test("names in JSON are camelCase, keys sorted, unknown fields ignored")
    func names() throws {
        #expect(
            try json(Sample.nodes[1])
                == #"{"alive":false,"blocks":0,"id":"5f0d","name":"web-2","networks":0,"self":false}"#)
        #expect(
            try json(Sample.networks[0].subnets[0])
                == #"{"blockLength":24,"blocksOwned":2,"family":4,"gateway":"10.32.0.1","prefix":"10.32.0.0/16"}"#)
        #expect(
            try LocalJSON.decode(TokenReport.self, from: Array(#"{"token":"t","later":[1]}"#.utf8)) == TokenReport(token: "t"))
    }

    @Test("a timestamp is RFC 3339 with milliseconds, whatever the moment")
    func timestamps() throws {
        #expect(Sample.now.description == "2026-01-02T03:04:05.678Z")
        #expect(Timestamp("2026-01-02T03:04:05.678Z") == Sample.now)
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            let time = Timestamp(milliseconds: .random(in: 0...4_102_444_800_000, using: &generator))
            #expect(Timestamp(time.description) == time, "\(time.milliseconds)")
        }
        for bad in ["", "yesterday", "2026-13-02T03:04:05.678Z"] { #expect(Timestamp(bad) == nil, "\(bad)") }
        #expect(Timestamp(milliseconds: .max).since(Timestamp(milliseconds: .min)) == .milliseconds(Int64.max))
    }

    @Test("the client asks each route")
    func routes() async throws {
        try await withAgent([
            .status: .report(Sample.status), .networks: .report(Sample.networks), .endpoints: .report(Sample.endpoints),
            .nodes: .report(Sample.nodes), .plan: .report(Sample.plan), .token: .report(TokenReport(token: "t")),
            .storeAccept: .report(StoreMoveReport(cluster: "c", epoch: 1, revision: 7, source: "h2", place: "this node")), .metrics: .text("a 1\n"),
        ]) { agent async throws in
            let client = LocalClient(socket: agent.socket)
            #expect(try await client.status() == Sample.status)
            #expect(try await client.networks() == Sample.networks)
            #expect(try await client.endpoints() == Sample.endpoints)
            #expect(try await client.nodes() == Sample.nodes)
            #expect(try await client.plan() == Sample.plan)
            #expect(try await client.token().token == "t")
            #expect(try await client.acceptStore() == StoreMoveReport(cluster: "c", epoch: 1, revision: 7, source: "h2", place: "this node"))
            #expect(try await client.metrics() == "a 1\n")
        }
    }

    @Test("an agent that stays silent is given up on")
    func silent() async throws {
        let listener = try SilentListener()
        let error = await #expect(throws: LocalError.self) {
            try await LocalClient(socket: listener.path, timeout: .milliseconds(50)).status()
        }
        #expect(error?.code == .silent)
    }
}

/// A unix socket at which connections are made and nobody answers.
private final class SilentListener {
    let path = "/tmp/tulle-silent-\(UInt64.random(in: 0 ... .max)).sock"
    private let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)

    init() throws {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0 && listen(descriptor, 8) == 0)
    }
    deinit {
        close(descriptor)
        unlink(path)
    }
}
