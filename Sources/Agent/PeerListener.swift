/// The socket for other agents, and where they are told to find it: at the address of `--listen`, or else at the underlay's, which it
/// follows.
import Addressing
import HTTP
import Kernel
import Store

actor PeerListener {
    /// As given with `--listen`; nil: the underlay's address, the default port.
    private nonisolated let fixed: ListenAddress?
    private var tls: HTTPServerTLS?
    private nonisolated let handler: HTTPHandler
    private var server: HTTPServer
    private var bound: ListenAddress
    private(set) var advertised: ListenAddress

    init(_ fixed: ListenAddress?, underlay: IPAddress, tls: HTTPServerTLS?, handler: @escaping HTTPHandler) async throws {
        self.tls = tls
        self.fixed = fixed
        self.handler = handler
        advertised = Self.advertised(fixed, underlay: underlay)
        bound = fixed ?? advertised
        server = try await Self.serve(on: bound, tls, handler)
    }

    /// What others are told must lead here.
    static func advertised(_ fixed: ListenAddress?, underlay: IPAddress) -> ListenAddress {
        guard let fixed, !fixed.address.isUnspecified else {
            return ListenAddress(address: underlay, port: fixed?.port ?? Configuration.defaultPort)
        }
        return fixed
    }

    /// Listens at the new address before it leaves the old one.
    func follow(_ underlay: IPAddress) async throws {
        let wanted = Self.advertised(fixed, underlay: underlay)
        let place = fixed ?? wanted
        if place != bound {
            let new = try await Self.serve(on: place, tls, handler)
            let old = server
            (server, bound) = (new, place)
            // Its idle connections lead nowhere any more.
            await old.stop()
        }
        advertised = wanted
    }

    /// Speaks TLS too, from this node's first certificate on. Connections are made anew.
    func secure(_ tls: HTTPServerTLS) async {
        guard self.tls == nil else { return }
        self.tls = tls
        await server.secure(tls)
    }

    func stop() async { await server.stop() }

    private static func serve(on listen: ListenAddress, _ tls: HTTPServerTLS?, _ handler: @escaping HTTPHandler) async throws -> HTTPServer {
        var limits = HTTPLimits()
        // A transaction as JSON, each byte escaped at worst.
        limits.bodyBytes = 4 * StoreLimits.transactionBytes
        // Each watching agent holds one, and some more for its other requests.
        limits.connections = 4_096
        let failure: any Error
        do {
            return try await HTTPServer.start(on: listen.http, limits: limits, tls: tls, handler: handler)
        } catch {
            failure = error
        }
        guard (failure as? HTTPError)?.code == .addressInUse else { throw failure }
        throw AgentError(
            .setup, "listen on \(listen.http)", cause: "\(PortHolder.tcp(listen.port)) has the port",
            remedy: "stop that, or choose another with --listen")
    }
}

extension ListenAddress {
    var http: HTTPAddress { .tcp(host: address.description, port: Int(port)) }
}
