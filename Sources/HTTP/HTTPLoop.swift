import NIOCore
import NIOPosix

/// The one thread that moves all HTTP bytes of this process. Handlers run elsewhere, so one is enough for thousands of
/// connections, and each further one would cost memory in an agent that is mostly idle. It lives as long as the process.
enum HTTPLoop {
    static let shared: any EventLoop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()
}

/// Tells when bytes arrive, before they are a whole message: a decoder in between would hide a half-sent head.
final class ArrivalWatcher: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private let arrived: () -> Void

    init(_ arrived: @escaping () -> Void) { self.arrived = arrived }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        arrived()
        context.fireChannelRead(data)
    }
}

extension HTTPFields {
    init(_ headers: some Sequence<(name: String, value: String)>) {
        self.init()
        for (name, value) in headers { append(name, value) }
    }
}
