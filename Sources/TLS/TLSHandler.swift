package import NIOCore

/// What a `TLSHandler` tells the handlers after it.
package enum TLSEvent: Sendable, Equatable {
    /// The handshake is done. Without a certificate, or if it is no node's, there is no identity.
    case secured(PeerIdentity?)
    /// With `alsoPlain`: the client speaks no TLS, and all is passed on as it is.
    case plain
}

/// TLS on a channel.
///
///     waiting ── the first byte (server), or the connection (client) ──► handshaking ── done ──► open ── close ──► closed
///        └── with `alsoPlain`, no TLS record ──► plain                        └──── error ────────┴──► failed ──► closed
///
/// The peer's bytes go through the session and come out plain, about 64 KiB at once. What is written waits in `outbox` until it is flushed and
/// the channel is writable; only then it becomes records, so a large answer is never in memory twice. An error goes down the pipeline once, as
/// `TLSError`; then the handler ends the connection itself. A server has no session before the first byte: a connection that says nothing
/// costs only itself.
package final class TLSHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    enum Phase {
        case waiting
        case handshaking(TLSSession)
        case open(TLSSession)
        case plain, failed, closed
    }

    package struct Limits: Sendable {
        /// From the connection to the end of the handshake.
        package var handshake: Duration = .seconds(5)
        /// Bytes from a peer before the end of the handshake; a handshake has about 3 KB.
        package var handshakeBytes = 128 << 10
        /// Bytes that may be written before the end of the handshake.
        package var earlyBytes = 64 << 10

        package init() {}
    }

    /// How long a server goes on reading after an error: closing with unread input would reset the connection, and could take from the client the
    /// alert that says why.
    static let lingerTime = TimeAmount.seconds(1)
    private static let pieceBytes = 64 << 10
    /// The first byte of a TLS connection: the content type "handshake" (RFC 8446 section 5.1), and "alert".
    private static let handshakeRecord: UInt8 = 22, alertRecord: UInt8 = 21

    let slot: TLSContextSlot
    let role: TLSRole
    let limits: Limits
    private let alsoPlain: Bool

    var phase = Phase.waiting
    var context: ChannelHandlerContext?
    private var timer: Scheduled<Void>?
    private var secured: EventLoopPromise<PeerIdentity?>?
    private var handshakeBytes = 0
    private var hasPeerBytes = false
    /// Between TLS's end of the peer's bytes and the transport's.
    private var hasPeerEnded = false
    var outbox = Outbox()

    var isEncrypting = false
    // State of the end (TLSHandler+Closing).
    var isReportingFailure = false
    var hasEndedOutput = false
    var waitingOutputClose: [EventLoopPromise<Void>?] = []

    /// - Parameter alsoPlain: for a server: a client whose first byte begins no TLS record is let through as it is.
    package init(_ slot: TLSContextSlot, role: TLSRole, limits: Limits = Limits(), alsoPlain: Bool = false) {
        self.slot = slot
        self.role = role
        self.limits = limits
        self.alsoPlain = alsoPlain && role == .server
    }

    /// The end of the handshake, for who waits for it. Only on the event loop; there as soon as the handler was added.
    package private(set) var handshake: EventLoopFuture<PeerIdentity?>?

    // MARK: Life

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let promise = context.eventLoop.makePromise(of: PeerIdentity?.self)
        (secured, handshake) = (promise, promise.futureResult)
        if context.channel.isActive { begin(context) }
    }

    package func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
        let error = TLSError(.closed, role.operation, cause: session == nil ? "there was no connection" : "the connection ended")
        secured?.fail(error)
        fail(outbox.takeAll(), error)
        if case .failed = phase {} else { phase = .closed }
        self.context = nil
    }

    package func channelActive(context: ChannelHandlerContext) {
        begin(context)
        context.fireChannelActive()
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard case .waiting = phase, timer == nil else { return }
        let handler = NIOLoopBound(self, eventLoop: context.eventLoop)
        timer = context.eventLoop.scheduleTask(in: TimeAmount(limits.handshake)) { handler.value.handshakeExpired() }
        if role != .server { makeSession() }
    }

    private func handshakeExpired() {
        switch phase {
        case .waiting, .handshaking:
            fail(TLSError(.timedOut, role.operation, cause: "the handshake was not done after \(limits.handshake)"))
        default: break
        }
    }

    private func makeSession() {
        do throws(TLSError) {
            let session = try TLSSession(slot.current, role: role)
            phase = .handshaking(session)
            shake(session)
        } catch {
            fail(error)
        }
    }

    var session: TLSSession? {
        switch phase {
        case .handshaking(let session), .open(let session): return session
        default: return nil
        }
    }

    // MARK: From the peer

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        if case .plain = phase { return context.fireChannelRead(data) }
        guard let first = buffer.readableBytesView.first, !hasPeerEnded else { return }
        if !hasPeerBytes {
            hasPeerBytes = true
            guard first == Self.handshakeRecord || (role != .server && first == Self.alertRecord) else { return speaksNoTLS(buffer, context) }
            if role == .server { makeSession() }
        }
        // In slices, so that OpenSSL's buffer stays small whatever the channel reads at once.
        var rest = buffer
        while let slice = rest.readSlice(length: min(rest.readableBytes, TLSSession.recordBytes)), slice.readableBytes > 0 {
            guard let session, !hasPeerEnded else { return }
            guard slice.withUnsafeReadableBytes({ session.feed($0) }) else {
                return fail(session.failure(.library, "no memory for the peer's bytes"))
            }
            if case .handshaking = phase {
                handshakeBytes += slice.readableBytes
                guard handshakeBytes <= limits.handshakeBytes else {
                    return fail(session.failure(.protocolViolation, "the handshake has more than \(limits.handshakeBytes) bytes"))
                }
                shake(session)
            }
            if case .open = phase { takePlain(session, context) }
        }
    }

    private func speaksNoTLS(_ buffer: ByteBuffer, _ context: ChannelHandlerContext) {
        if alsoPlain {
            phase = .plain
            timer?.cancel()
            secured?.succeed(nil)
            secured = nil
            context.fireUserInboundEventTriggered(TLSEvent.plain)
            return context.fireChannelRead(wrapInboundOut(buffer))
        }
        let start = buffer.readableBytesView.prefix(40).prefix { $0 >= 0x20 && $0 < 0x7f }
        let text = start.count < 4 ? "" : " (it said \"\(String(decoding: start, as: UTF8.self))\")"
        let isHTTP = buffer.readableBytesView.starts(with: "HTTP/".utf8)
        fail(TLSError(.noTLS, role.operation, cause: isHTTP ? "the other side speaks plain HTTP\(text)" : "the other side speaks no TLS\(text)"))
    }

    private func shake(_ session: TLSSession) {
        let step = session.handshake()
        sendRecords(session)
        switch step {
        case .needsInput: break
        case .done: handshakeDone(session)
        case .ended: fail(session.failure(.closed, "the peer ended the handshake"))
        case .failed(let error): fail(error)
        }
    }

    private func handshakeDone(_ session: TLSSession) {
        // Who has no certificate is judged here; the others were, within the handshake, where the refusal has its own alert.
        if !session.hasPeerCertificate, let reason = session.context.refusal(nil) {
            return fail(session.failure(.removed, "a client without a certificate is refused: \(reason)"))
        }
        phase = .open(session)
        timer?.cancel()
        secured?.succeed(session.peer)
        secured = nil
        context?.fireUserInboundEventTriggered(TLSEvent.secured(session.peer))
        encrypt()
    }

    private func takePlain(_ session: TLSSession, _ context: ChannelHandlerContext) {
        var isEmpty = false
        while !isEmpty, case .open = phase {
            var plain = context.channel.allocator.buffer(capacity: TLSSession.recordBytes)
            var step = TLSSession.Step.done
            while step == .done, plain.readableBytes < Self.pieceBytes { step = session.read(into: &plain) }
            // What came before an error or the end is good.
            if session.hasTooManyKeys { return fail(session.failure(.protocolViolation, "the other side changes its keys again and again")) }
            if plain.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(plain)) }
            if session.hasOutput { sendRecords(session) }  // as the answer to a new key
            switch step {
            case .done: break
            case .needsInput: isEmpty = true
            case .ended: return peerEnded()
            case .failed(let error): return fail(error)
            }
        }
    }

    /// close_notify: for a server as if the client had shut down its half; a client has no more to say then.
    private func peerEnded() {
        hasPeerEnded = true
        guard let context else { return }
        if role == .server {
            context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        } else {
            close(context: context, mode: .all, promise: nil)
        }
    }

    package func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case ChannelEvent.inputClosed? = event as? ChannelEvent else { return context.fireUserInboundEventTriggered(event) }
        switch phase {
        case .plain: context.fireUserInboundEventTriggered(event)
        case .waiting, .failed: finish()
        case .closed: break
        case .handshaking(let session): fail(session.failure(.closed, "the other side ended the connection within the handshake"))
        case .open(let session): if !hasPeerEnded { fail(session.failure(.truncated, "the connection ended without TLS's end")) }
        }
    }

    package func channelInactive(context: ChannelHandlerContext) {
        timer?.cancel()
        switch phase {
        case .handshaking(let session): report(session.failure(.closed, "the other side ended the connection within the handshake"))
        case .open(let session):
            if !hasPeerEnded { report(session.failure(.truncated, "the connection ended without TLS's end")) }
        default: break
        }
        if case .failed = phase {} else { phase = .closed }
        finishPromises()
        context.fireChannelInactive()
    }

    /// The first error of a connection, for everybody who waits for something.
    func report(_ error: TLSError) {
        phase = .failed
        timer?.cancel()
        secured?.fail(error)
        secured = nil
        fail(outbox.takeAll(), error)
        isReportingFailure = true
        context?.fireErrorCaught(error)
        isReportingFailure = false
    }

    func fail(_ promises: [EventLoopPromise<Void>], _ error: any Error) {
        for promise in promises { promise.fail(error) }
    }
}
