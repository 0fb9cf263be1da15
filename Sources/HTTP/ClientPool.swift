import NIOCore
import NIOHTTP1
import NIOPosix
import TLS

/// The unused connections of a client, the most recent last. Lives on the loop.
final class ClientPool {
    let address: HTTPAddress
    let limits: HTTPClient.Limits
    let tls: (slot: TLSContextSlot, role: TLSRole)?
    let loop: any EventLoop
    private var idle: [(connection: ClientConnection, since: NIODeadline)] = []
    private var open: [ObjectIdentifier: ClientConnection] = [:]
    private var isShutDown = false

    init(_ address: HTTPAddress, limits: HTTPClient.Limits, tls: TLSContextSlot?, loop: any EventLoop) {
        self.address = address
        if case .tcp(let host, _) = address, let tls { self.tls = (tls, .client(server: host)) } else { self.tls = nil }
        self.limits = limits
        self.loop = loop
    }

    /// A connection that was still open when last heard of.
    func take() -> ClientConnection? {
        let oldest = NIODeadline.now() - TimeAmount(limits.idle)
        for (connection, since) in idle where since < oldest { connection.close() }
        idle.removeAll { $0.since < oldest }
        return idle.popLast()?.connection
    }

    func giveBack(_ connection: ClientConnection) {
        guard !isShutDown, idle.count < limits.idleConnections else { return connection.close() }
        idle.append((connection, NIODeadline.now()))
    }

    func forget(_ connection: ClientConnection) {
        idle.removeAll { $0.connection === connection }
        open[ObjectIdentifier(connection)] = nil
    }

    func disconnect() {
        for connection in open.values { connection.drop() }
    }

    func shutDown() {
        isShutDown = true
        for (connection, _) in idle { connection.close() }
        idle = []
    }

    /// A new connection; with TLS, after its handshake.
    func connect(timeout: TimeAmount) -> EventLoopFuture<ClientConnection>.Isolated {
        var decoding = NIOHTTPDecoderLimitConfiguration()
        decoding.maxHeaderFieldSize = limits.headerBytes
        decoding.maxHeaderListSize = limits.headerBytes
        let pool = NIOLoopBound(self, eventLoop: loop)
        let bootstrap = ClientBootstrap(group: loop).connectTimeout(timeout).channelInitializer { [decoding] channel in
            channel.eventLoop.makeCompletedFuture {
                let connection = ClientConnection(pool: pool.value)
                pool.value.open[ObjectIdentifier(connection)] = connection
                let pipeline = channel.pipeline.syncOperations
                if let tls = pool.value.tls { try pipeline.addHandler(TLSHandler(tls.slot, role: tls.role)) }
                try pipeline.addHandler(ArrivalWatcher { connection.arrived() })
                try pipeline.addHTTPClientHandlers(
                    leftOverBytesStrategy: .dropBytes, enableOutboundHeaderValidation: true,
                    encoderConfiguration: HTTPRequestEncoder.Configuration(), decoderLimitConfiguration: decoding,
                    withClientUpgrade: nil)
                try pipeline.addHandler(connection)
            }
        }
        let channel: EventLoopFuture<any Channel>
        switch address {
        case .unix(let path):
            channel = bootstrap.connect(unixDomainSocketPath: path)
        case .tcp(let host, let port):
            var tcp = bootstrap.channelOption(.tcpOption(.tcp_nodelay), value: 1)
            for (option, value) in KeepAlive.clientOptions { tcp = tcp.channelOption(option, value: value) }
            if let numeric = try? SocketAddress(ipAddress: host, port: port) {
                channel = tcp.connect(to: numeric)
            } else {
                channel = tcp.connect(host: host, port: port)
            }
        }
        return channel.assumeIsolated().flatMap { channel in
            // Without TLS there is nothing to wait for.
            let handler = try? channel.pipeline.syncOperations.handler(type: TLSHandler.self)
            let secured = handler?.handshake.map { $0.map { _ in } } ?? channel.eventLoop.makeSucceededVoidFuture()
            return secured.map { channel }
        }.flatMapThrowing { try $0.pipeline.syncOperations.handler(type: ClientConnection.self) }
    }
}
