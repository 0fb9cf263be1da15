import NIOCore
import NIOHTTP1

/// One connection to the server: carries one call at a time, then goes back to the pool.
final class ClientConnection: ChannelDuplexHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundIn = Never
    typealias OutboundOut = HTTPClientRequestPart

    private let pool: ClientPool
    private var context: ChannelHandlerContext?
    private var call: ClientCall?
    /// Bytes of an answer to the current call have come.
    private(set) var hasAnswerBytes = false
    private var isRequestSent = false
    private var isKeptAlive = false
    private var isReadHeld = false

    init(pool: ClientPool) { self.pool = pool }

    // MARK: What the call wants

    func carry(_ call: ClientCall) {
        (hasAnswerBytes, isRequestSent, isKeptAlive) = (false, false, false)
        guard let context else { return call.broke(.closed, "the connection was closed") }
        self.call = call
        let request = call.request
        let sent = context.eventLoop.makePromise(of: Void.self)
        context.write(wrapOutboundOut(.head(request.head)), promise: nil)
        if request.body.readableBytes > 0 { context.write(wrapOutboundOut(.body(.byteBuffer(request.body))), promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: sent)
        sent.futureResult.assumeIsolated().whenComplete { result in
            switch result {
            case .success: self.isRequestSent = true
            case .failure(let error): self.broke(error)
            }
        }
    }

    /// Ends the connection; the call, if any, hears no more of it.
    func close() {
        call = nil
        context?.close(promise: nil)
    }

    /// Ends the connection; the call, if any, has failed.
    func drop() {
        let call = self.call
        close()
        call?.fail(HTTPError(.closed, call?.request.operation ?? "", cause: "the connection was given up for a new one"))
    }

    /// The consumer of lines has made room.
    func resumeReading() {
        guard isReadHeld else { return }
        isReadHeld = false
        context?.read()
    }

    // MARK: What the channel tells

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    /// Always comes, also where no connection came about.
    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        pool.forget(self)
    }

    func arrived() { hasAnswerBytes = true }

    func read(context: ChannelHandlerContext) {
        if call?.lines?.isFull == true {
            isReadHeld = true
        } else {
            context.read()
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // An answer that nobody asked for: the server is confused, or this was given up.
        guard let call else { return close() }
        switch unwrapInboundIn(data) {
        case .head(let head):
            isKeptAlive = head.isKeepAlive
            call.received(head)
        case .body(let part):
            call.received(part)
        case .end:
            self.call = nil
            isKeptAlive && isRequestSent ? pool.giveBack(self) : close()
            call.receivedEnd()
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { broke(error) }

    func channelInactive(context: ChannelHandlerContext) {
        broke(ChannelError.eof)
    }

    private func broke(_ error: any Error) {
        let call = self.call
        close()
        switch error {
        case HTTPParserError.invalidEOFState:
            call?.broke(.closed, "the connection was closed in the middle of the answer")
        case is HTTPParserError:
            call?.broke(.malformed, "the answer is not HTTP/1.1 (\(error))")
        case ChannelError.eof:
            call?.broke(.closed, "the connection was closed before the answer was whole")
        default:
            let error = HTTPError(error, "")
            call?.broke(error.code, error.cause, tls: error.tls)
        }
    }
}
