import Glibc
import HTTP
import LocalAPI
import Testing

@testable import tulle

/// Two pipes for what a command prints and says.
final class Terminal {
    private var output: [Int32] = [-1, -1]
    private var talk: [Int32] = [-1, -1]
    let console: Console

    init(environment: [String: String] = [:]) throws {
        try #require(pipe(&output) == 0 && pipe(&talk) == 0)
        console = Console(output: output[1], talk: talk[1], input: -1, environment: environment)
    }
    deinit { for descriptor in output + talk where descriptor >= 0 { close(descriptor) } }

    func closeReader() {
        close(output[0])
        output[0] = -1
    }
    /// What was printed since the last look; at most 64 KiB.
    func printed() -> String { take(output[0]) }
    func said() -> String { take(talk[0]) }

    private func take(_ descriptor: Int32) -> String {
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = read(descriptor, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
    }
}

/// What one command did.
struct Outcome: Equatable {
    var status: Int32
    var printed: String
    var said: String
}

func tulle(_ arguments: String..., environment: [String: String] = ["TULLE_CONFIG": "/dev/null"]) async throws -> Outcome {
    let terminal = try Terminal()
    let status = await Program.run(arguments, environment: environment, console: terminal.console)
    return Outcome(status: status, printed: terminal.printed(), said: terminal.said())
}

/// An agent's local API with given answers, on a socket in a directory of its own.
final class StandInAgent {
    let socket: String
    let directory: String
    private let server: HTTPServer

    init(_ answers: [LocalRoute: HTTPResponse]) async throws {
        var template = Array("/tmp/tulle-cli-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        socket = directory + "/" + LocalRoute.socketName
        server = try await HTTPServer.start(on: .unix(path: socket)) { request in
            answers.first { $0.key.method == request.method && $0.key.path == request.path }?.value
                ?? .text("no such path\n", status: 404)
        }
    }
    func stop() async {
        await server.stop()
        rmdir(directory)
    }
}

func withAgent<Result>(
    _ answers: [LocalRoute: HTTPResponse], _ body: (StandInAgent) async throws -> Result
) async throws -> Result {
    let agent = try await StandInAgent(answers)
    do {
        let result = try await body(agent)
        await agent.stop()
        return result
    } catch {
        await agent.stop()
        throw error
    }
}

enum Sample {
    static let now = Timestamp(milliseconds: 1_767_323_045_678)
    static func ago(seconds: Int64) -> Timestamp { Timestamp(milliseconds: now.milliseconds - seconds * 1000) }

    static let status = StatusReport(
        version: "0.1.0", node: .init(id: "5f0c0000-0000-4000-8000-000000000001", name: "web-1", address: "192.0.2.1", mtu: 1500),
        cluster: .init(id: "c1", nodesTotal: 3, nodesAlive: 3),
        store: .init(kind: "embedded", address: "192.0.2.1:7940", reachable: true, revision: 42),
        docker: .init(socket: "/run/docker.sock", reachable: true, version: "28.1.1", networks: 1),
        lease: .init(state: .held, secondsLeft: 571), networks: 1, endpoints: 2, lastSync: ago(seconds: 3), driftRepaired: 0)

    static let networks = [
        NetworkReport(
            id: "0123456789abcdef0123456789abcdef", name: "shop", vni: 1_048_576, mtu: 1450,
            subnets: [
                .init(prefix: "10.32.0.0/16", gateway: "10.32.0.1", family: 4, blockLength: 24, blocksOwned: 2),
                .init(prefix: "fd00:32::/64", family: 6, blocksOwned: 1),
            ], endpointsHere: 2, endpointsTotal: 5, nodes: ["web-1", "web-2"], dockerNetworkID: "d1"),
        NetworkReport(
            id: "fedcba98765432100123456789abcdef", name: "店", vni: 1_048_577, subnets: [.init(prefix: "10.33.0.0/16", family: 4)],
            state: .quarantined, reason: "another subnet than web-2's"),
    ]

    static let endpoints = [
        EndpointReport(
            id: "aaaaaaaaaaaabbbb", network: "shop", container: "cart", node: "web-1", addresses: ["10.32.0.2", "fd00:32::2"],
            mac: "02:42:0a:20:00:02", gateway: true, state: .joined, since: ago(seconds: 7200)),
        EndpointReport(id: "cccc", network: "shop", node: "web-2", addresses: ["10.32.1.2"], state: .suspended),
    ]

    static let nodes = [
        NodeReport(
            id: "5f0c0000-0000-4000-8000-000000000001", name: "web-1", address: "192.0.2.1", agentAddress: "192.0.2.1:7940", alive: true,
            version: "0.1.0", networks: 1, blocks: 3, self: true),
        NodeReport(id: "5f0d", name: "web-2", alive: false),
    ]

    static let plan = [PlanReport(namespace: "tulle-0123456789ab", steps: ["add route 10.32.1.0/24", "set MTU 1450"]), PlanReport(namespace: "host", steps: [])]
}
