import NIOCore
import NIOHTTP1
import TLS

/// One client's connection: gathers a request, has it answered, writes the answer, and so on.
///
///     idle ── bytes ──► receiving ── whole request ──► answering ── handler's answer ──► sending ── all taken ──► idle
///                          │ too large, malformed, too slow                                │
///                          └──────────► sending (error) ──► lingering ──► closed ◄─────────┘ last answer
///
/// Each phase but `answering` has a deadline. What a client sends before it has taken the whole answer (pipelining) is
/// held, and no more is read: a client that never reads its answers costs one answer and one read.
final class ServerConnection: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = Never
    typealias OutboundOut = HTTPServerResponsePart

    private enum Phase {
        case idle, receiving
        case answering(Task<Void, Never>)
        case sending, lingering, closed

        /// The client must wait.
        var holdsInput: Bool {
            switch self {
            case .answering, .sending: return true
            default: return false
            }
        }
    }

    private enum Input {
        case part(HTTPServerRequestPart)
        case malformed(HTTPParserError)
    }

    /// How long to go on reading after an early error: closing with unread input would reset the connection
    /// and could take the answer away from the client (RFC 9112 section 9.6).
    private static let lingerTime = TimeAmount.seconds(1)
    private static let pieceBytes = 256 << 10
    /// What every request may have without asking `ServerCore`, so that large ones never keep out small ones.
    private static let freeBytes = 8 << 10

    private let core: ServerCore
    private var context: ChannelHandlerContext?
    private var phase = Phase.idle
    private var timer: Scheduled<Void>?
    /// The request being received or answered.
    private var head: HTTPRequestHead?
    private var body: [UInt8] = []
    /// Of the server's room for bodies.
    private var reserved = 0
    /// The answer in work is the last on this connection.
    private var isLast = false
    /// The client sends no more.
    private var isInputClosed = false
    private var isReadHeld = false
    private var held: CircularBuffer<Input> = []
    private var isSecure = false
    private var peer: PeerIdentity?
    private var isProved = false

    init(core: ServerCore) { self.core = core }

    // MARK: What the channel tells

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        setTimer(TimeAmount(core.limits.idle))
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        ended()  // of one that was closed before it was active, nothing else tells
    }

    func channelInactive(context: ChannelHandlerContext) { ended() }

    private func ended() {
        if case .answering(let task) = phase { task.cancel() }
        phase = .closed
        releaseBody()
        timer?.cancel()
        core.ended(self)
    }

    /// Bytes came, perhaps only half a head.
    func arrived() {
        guard case .idle = phase else { return }
        phase = .receiving
        setTimer(TimeAmount(core.limits.request))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { take(.part(unwrapInboundIn(data))) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? HTTPParserError { return take(.malformed(error)) }
        if let error = error as? TLSError, let failed = core.tls?.failed {
            failed(error, context.remoteAddress?.description ?? "an unknown address")
        }
        close()
    }

    func read(context: ChannelHandlerContext) {
        if phase.holdsInput { isReadHeld = true } else { context.read() }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSEvent.secured(let peer)? = event as? TLSEvent {
            isSecure = true
            self.peer = peer
            if peer != nil { core.known(self) }
            return
        }
        guard case ChannelEvent.inputClosed? = event as? ChannelEvent else {
            return context.fireUserInboundEventTriggered(event)
        }
        isInputClosed = true
        if !phase.holdsInput { close() }
    }

    private func take(_ input: Input) {
        switch phase {
        case .answering, .sending: return held.append(input)
        case .lingering, .closed: return
        case .idle: arrived()  // held until now, so its bytes came earlier
        case .receiving: break
        }
        switch input {
        case .part(.head(let head)): begin(head)
        case .part(.body(let part)): collect(part)
        case .part(.end): answer()
        case .malformed(.headerOverflow): refuse(431, "the head of the request is larger than \(core.limits.headerBytes) bytes")
        case .malformed: refuse(400, "this is not HTTP/1.1")
        }
    }

    /// Takes what was held, until a request is whole, and then reads on.
    private func takeHeld() {
        while !phase.holdsInput, let input = held.popFirst() { take(input) }
        guard !phase.holdsInput, let context else { return }
        if isInputClosed { return close() }
        if isReadHeld {
            isReadHeld = false
            context.read()
        }
    }

    // MARK: A request comes in

    private func begin(_ head: HTTPRequestHead) {
        self.head = head
        body = []
        if let length = head.headers.first(name: "content-length").flatMap({ Int($0) }), length > largestBody {
            return refuseBody()
        }
        if head.version != .http1_0, head.headers.first(name: "expect")?.lowercased() == "100-continue" {
            context?.writeAndFlush(wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .continue))), promise: nil)
        }
    }

    private func collect(_ part: ByteBuffer) {
        let count = body.count + part.readableBytes
        guard count <= largestBody else { return refuseBody() }
        let room = max(0, count - Self.freeBytes - reserved)
        guard core.reserve(room) else { return refuse(503, "the requests of others fill the memory for them; try again") }
        reserved += room
        body.append(contentsOf: part.readableBytesView)
    }

    private func releaseBody() {
        body = []
        core.release(reserved)
        reserved = 0
    }

    private var largestBody: Int {
        let isStranger = core.tls != nil && peer == nil && !isProved
        return isStranger ? min(isSecure ? core.limits.strangerBodyBytes : core.limits.plainBodyBytes, core.limits.bodyBytes) : core.limits.bodyBytes
    }
    private func refuseBody() { refuse(413, "the body is larger than \(largestBody) bytes") }

    private func answer() {
        guard let head else { return }
        guard let (path, query) = HTTPTarget.parse(head.uri) else { return refuse(400, "the request's target is malformed") }
        var request = HTTPRequest(head.method.rawValue, path, query: query, fields: HTTPFields(head.headers), body: body)
        (request.isSecure, request.peer) = (isSecure, peer)
        body = []
        timer?.cancel()
        let handler = core.handler
        let loop = core.loop
        let connection = NIOLoopBound(self, eventLoop: loop)
        phase = .answering(
            Task { [request] in
                let response = await handler(request)
                loop.execute { connection.value.answered(response) }
            })
    }

    private func answered(_ response: HTTPResponse) {
        guard case .answering = phase, let head else { return }
        releaseBody()
        if response.provesClient {
            isProved = true
            core.known(self)
        }
        if !head.isKeepAlive { isLast = true }
        send(response, to: head) { $0.sent() }
    }

    // MARK: An answer goes out

    /// Answers with an error and ends the connection, though the request may not have been read to its end.
    private func refuse(_ status: Int, _ text: String) {
        isLast = true
        releaseBody()
        send(.text(text + "\n", status: status), to: head) { $0.linger() }
    }

    private func send(_ response: HTTPResponse, to head: HTTPRequestHead?, then done: @escaping (ServerConnection) -> Void) {
        guard let context else { return }
        phase = .sending
        setTimer(TimeAmount(core.limits.request))

        // 1xx cannot end an exchange: a handler that answers it has a bug, which its client should see as such.
        let status = (200...599).contains(response.status) ? response.status : 500
        let hasBody = status != 204 && status != 304
        var headers = HTTPHeaders(
            response.fields.all.filter { !["content-length", "transfer-encoding", "connection"].contains($0.name.lowercased()) })
        if hasBody { headers.add(name: "Content-Length", value: String(response.body.count)) }
        if isLast {
            headers.add(name: "Connection", value: "close")
        } else if let head, head.version == .http1_0 {
            headers.add(name: "Connection", value: "keep-alive")
        }
        let responseHead = HTTPResponseHead(
            version: head?.version ?? .http1_1, status: HTTPResponseStatus(statusCode: status), headers: headers)

        var rest = ByteBuffer()
        if hasBody, head?.method != .HEAD { rest = ByteBuffer(bytes: response.body) }
        var written = context.eventLoop.makePromise(of: Void.self)
        context.write(wrapOutboundOut(.head(responseHead)), promise: written)
        while let piece = rest.readSlice(length: min(rest.readableBytes, ServerConnection.pieceBytes)), piece.readableBytes > 0 {
            written.futureResult.assumeIsolated().whenSuccess { self.setTimer(TimeAmount(self.core.limits.request)) }
            written = context.eventLoop.makePromise(of: Void.self)
            context.write(wrapOutboundOut(.body(.byteBuffer(piece))), promise: written)
        }
        written.futureResult.assumeIsolated().whenComplete { result in
            switch result {
            case .success: done(self)
            case .failure: self.close()
            }
        }
        context.flush()
    }

    /// The client has all of the answer.
    private func sent() {
        guard case .sending = phase, let context else { return }
        head = nil
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        if isLast { return close() }
        phase = .idle
        setTimer(TimeAmount(core.limits.idle))
        takeHeld()
    }

    private func linger() {
        guard case .sending = phase, let context else { return }
        phase = .lingering
        setTimer(ServerConnection.lingerTime)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        context.close(mode: .output, promise: nil)
        takeHeld()
    }

    // MARK: The end

    /// Lets a running request end, and nothing follow it.
    func drain() {
        isLast = true
        if case .idle = phase { close() }
    }

    func close() { context?.close(promise: nil) }

    private func setTimer(_ time: TimeAmount) {
        timer?.cancel()
        let connection = NIOLoopBound(self, eventLoop: core.loop)
        timer = core.loop.scheduleTask(in: time) { connection.value.expired() }
    }

    private func expired() {
        if case .receiving = phase {
            refuse(408, "the request was not whole after \(core.limits.request)")
        } else {
            close()
        }
    }
}
