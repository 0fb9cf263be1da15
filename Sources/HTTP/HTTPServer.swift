import NIOCore
import NIOHTTP1
import NIOPosix
package import TLS

/// How a server on a TCP port uses TLS.
package struct HTTPServerTLS: Sendable {
    /// New connections take its context of the moment.
    package var slot: TLSContextSlot
    /// Clients that speak plain HTTP are served too, on the same port; handlers see it in `HTTPRequest.isSecure`.
    package var alsoPlain: Bool
    package var limits = TLSHandler.Limits()
    /// Told of each connection that TLS ended, and where from; called on the event loop, so it must be quick.
    package var failed: (@Sendable (TLSError, String) -> Void)?

    package init(_ slot: TLSContextSlot, alsoPlain: Bool = false) {
        self.slot = slot
        self.alsoPlain = alsoPlain
    }
}

/// An HTTP/1.1 server on a unix socket or a TCP port.
///
/// A connection is accepted on `HTTPLoop` and gets a pipeline: bytes → `TLSHandler` (if asked for) → `ArrivalWatcher` (starts the request's clock) → NIO's
/// decoder → `ServerConnection`, which gathers one whole request, runs the handler in a task, and writes the answer.
/// `ServerCore` knows all connections, so that `stop` can end them. Everything but the handlers runs on the one loop, so
/// none of it needs a lock.
package final class HTTPServer: Sendable {
    /// Where it listens, with the real port when 0 was asked for.
    package let address: HTTPAddress
    private let core: NIOLoopBoundBox<ServerCore>
    private let socketFile: UnixSocketFile?

    private init(address: HTTPAddress, core: NIOLoopBoundBox<ServerCore>, socketFile: UnixSocketFile?) {
        self.address = address
        self.core = core
        self.socketFile = socketFile
    }

    /// Starts to listen. A handler's task is cancelled when its connection breaks. Without `stop` it serves until
    /// the process ends.
    ///
    /// - Parameter tls: nil for plain HTTP; a unix socket never uses it.
    package static func start(
        on address: HTTPAddress, limits: HTTPLimits = HTTPLimits(), tls: HTTPServerTLS? = nil, handler: @escaping HTTPHandler
    ) async throws(HTTPError) -> HTTPServer {
        let loop = HTTPLoop.shared
        var secure = tls
        if case .unix = address { secure = nil }
        let core = NIOLoopBoundBox.makeBoxSendingValue(
            ServerCore(loop: loop, limits: limits, tls: secure, handler: handler), eventLoop: loop)
        let bootstrap = ServerBootstrap(group: loop)
            // A longer queue would make members wait longer behind a flood; where a burst fills it, a member's first packet is sent again after a second.
            .serverChannelOption(.backlog, value: 512)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            // A client may end its side after the request and still wait for the answer.
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                loop.makeCompletedFuture { try core.value.admit(channel) }
            }
        var socketFile: UnixSocketFile?
        do {
            let listener: any Channel
            switch address {
            case .unix(let path):
                let socket = try UnixSocketFile.listen(at: path, mode: limits.socketMode)
                socketFile = socket.file
                listener = try await bootstrap.withBoundSocket(socket.descriptor).get()
            case .tcp(let host, let port):
                var tcp = bootstrap.childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                for (option, value) in KeepAlive.options { tcp = tcp.childChannelOption(option, value: value) }
                if let numeric = try? SocketAddress(ipAddress: host, port: port) {
                    listener = try await tcp.bind(to: numeric).get()
                } else {
                    listener = try await tcp.bind(host: host, port: port).get()
                }
            }
            try await loop.submit { core.value.listener = listener }.get()
            return HTTPServer(address: address.withPort(listener.localAddress?.port), core: core, socketFile: socketFile)
        } catch {
            socketFile?.remove()
            throw HTTPError(error, "listen on \(address)")
        }
    }

    /// Connections that are accepted from now on may use TLS. Those that are open end after the request that is under way, so that clients make
    /// them anew; it listens all the while.
    package func secure(_ tls: HTTPServerTLS) async {
        let core = self.core
        try? await HTTPLoop.shared.submit { core.value.secure(tls) }.get()
    }

    /// Accepts no more, removes its socket file, closes idle connections, lets running requests finish for
    /// `limits.drain`, then closes them and cancels their handlers. Returns even if a handler never does.
    package func stop() async {
        socketFile?.remove()
        let core = self.core
        // The future of a stop never fails.
        try? await HTTPLoop.shared.flatSubmit { core.value.stop() }.get()
    }
}

extension HTTPAddress {
    fileprivate func withPort(_ real: Int?) -> HTTPAddress {
        if case .tcp(let host, 0) = self, let real { return .tcp(host: host, port: real) }
        return self
    }
}

/// The server's connections. Lives on the loop.
final class ServerCore {
    let loop: any EventLoop
    let limits: HTTPLimits
    private(set) var tls: HTTPServerTLS?
    let handler: HTTPHandler
    var listener: (any Channel)?
    private var connections: [ObjectIdentifier: ServerConnection] = [:]
    /// Those whose clients are unknown, the oldest first.
    private var strangers: [ServerConnection] = []
    private var stopping: EventLoopPromise<Void>?
    private var reservedBytes = 0

    init(loop: any EventLoop, limits: HTTPLimits, tls: HTTPServerTLS?, handler: @escaping HTTPHandler) {
        self.loop = loop
        self.tls = tls
        self.limits = limits
        self.handler = handler
    }

    /// Sets up an accepted connection; an error closes it.
    func admit(_ channel: any Channel) throws {
        guard stopping == nil, connections.count < limits.connections else { throw ChannelError.ioOnClosedChannel }
        let connection = ServerConnection(core: self)
        var decoding = NIOHTTPDecoderLimitConfiguration()
        decoding.maxHeaderFieldSize = limits.headerBytes
        decoding.maxHeaderListSize = limits.headerBytes
        let pipeline = channel.pipeline.syncOperations
        if let tls { try pipeline.addHandler(TLSHandler(tls.slot, role: .server, limits: tls.limits, alsoPlain: tls.alsoPlain)) }
        try pipeline.addHandler(ArrivalWatcher { connection.arrived() })
        try pipeline.configureHTTPServerPipeline(
            withPipeliningAssistance: false, withErrorHandling: false,
            withEncoderConfiguration: HTTPResponseEncoder.Configuration(), withDecoderLimitConfiguration: decoding)
        try pipeline.addHandler(connection)
        connections[ObjectIdentifier(connection)] = connection
        guard tls != nil else { return }
        strangers.append(connection)
        if strangers.count > limits.strangers { strangers.removeFirst().close() }
    }

    func secure(_ tls: HTTPServerTLS) {
        self.tls = tls
        for connection in connections.values { connection.drain() }
    }

    /// Its client has shown who it is.
    func known(_ connection: ServerConnection) {
        if let index = strangers.firstIndex(where: { $0 === connection }) { strangers.remove(at: index) }
    }

    /// Room for that much more of a body; false when there is none.
    func reserve(_ bytes: Int) -> Bool {
        guard reservedBytes + bytes <= limits.allBodiesBytes else { return false }
        reservedBytes += bytes
        return true
    }
    func release(_ bytes: Int) { reservedBytes -= bytes }

    func ended(_ connection: ServerConnection) {
        guard connections.removeValue(forKey: ObjectIdentifier(connection)) != nil else { return }
        known(connection)
        if connections.isEmpty { stopping?.succeed() }
    }

    func stop() -> EventLoopFuture<Void> {
        if let stopping { return stopping.futureResult }
        let stopped = loop.makePromise(of: Void.self)
        stopping = stopped
        for connection in connections.values { connection.drain() }
        if connections.isEmpty { stopped.succeed() }
        let remaining = NIOLoopBound(self, eventLoop: loop)
        let timer = loop.scheduleTask(in: TimeAmount(limits.drain)) {
            for connection in remaining.value.connections.values { connection.close() }
        }
        stopped.futureResult.whenComplete { _ in timer.cancel() }
        guard let listener else { return stopped.futureResult }
        let closed = listener.closeFuture
        listener.close(promise: nil)
        return stopped.futureResult.and(closed).map { _ in }
    }
}
