import HTTP
import NIOCore
import NIOPosix
import TLS
import Testing

/// Answers whose length only the end of the connection tells.
@Suite(.timeLimit(.minutes(1)))
struct HTTPTLSTruncationTests {
    /// Answers without a length and ends the connection, with TLS's end or by cutting the transport under it.
    private final class Answer: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let cuts: Bool

        init(cuts: Bool) { self.cuts = cuts }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: "HTTP/1.1 200 OK\r\n\r\nall of it, or half")), promise: nil)
            if cuts {
                (try? context.pipeline.syncOperations.context(handlerType: TLSHandler.self))?.close(promise: nil)
            } else {
                context.close(promise: nil)
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {}
    }

    @Test("an answer that ends with TLS's end is whole, one that ends without is an error", arguments: [false, true])
    func end(cuts: Bool) async throws {
        let cluster = try SecureCluster()
        let slot = TLSContextSlot(try cluster.context(SecureCluster.server))
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let listener = try await ServerBootstrap(group: group).childChannelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandlers([TLSHandler(slot, role: .server), Answer(cuts: cuts)])
            }
        }.bind(host: "127.0.0.1", port: 0).get()
        let client = HTTPClient(.tcp(host: "127.0.0.1", port: listener.localAddress?.port ?? 0), tls: try cluster.member())
        do {
            let text = try await client.text()
            #expect(!cuts && text == "all of it, or half")
        } catch let error as HTTPError {
            #expect(cuts && error.code == .closed && error.tls?.code == .truncated, "\(error)")
        }
        try await listener.close()
        try await group.shutdownGracefully()
    }
}
