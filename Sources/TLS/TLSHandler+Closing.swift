package import NIOCore

/// The end of a connection: close_notify before the transport's end, and errors.
extension TLSHandler {
    package func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        switch (phase, mode) {
        case (.failed, .all) where isReportingFailure && role == .server:
            // Who hears of an error closes; but the client shall get the alert first (`linger`).
            promise?.succeed()
        case (.open, .output):
            waitingOutputClose.append(promise)
            encrypt()
        case (.open(let session), .all):
            endOutput(session)
            phase = .closed
            fail(outbox.takeAll(), ChannelError.ioOnClosedChannel)
            context.close(mode: mode, promise: promise)
        default:
            if mode == .all, session != nil { phase = .closed }
            context.close(mode: mode, promise: promise)
        }
    }

    /// When all that was written before is out.
    func closeOutputIfDue() {
        guard !waitingOutputClose.isEmpty, outbox.isEmpty, let session, let context else { return }
        let promises = waitingOutputClose
        waitingOutputClose = []
        endOutput(session)
        for promise in promises { context.close(mode: .output, promise: promise) }
    }

    private func endOutput(_ session: TLSSession) {
        guard !hasEndedOutput else { return }
        hasEndedOutput = true
        session.endWriting()
        sendRecords(session)
    }

    /// Ends the connection for an error: the alert goes out, everybody is told, and a server waits a moment for the client to read the alert.
    func fail(_ error: TLSError) {
        switch phase {
        case .failed, .closed, .plain: return
        default: break
        }
        let hadSession = session != nil
        if let session { sendRecords(session) }
        report(error)
        guard let context else { return }
        // Who is late or speaks no TLS gets no alert.
        if role == .server, hadSession, error.code != .timedOut, error.code != .truncated, error.code != .closed {
            linger(context)
        } else {
            finish()
        }
    }

    private func linger(_ context: ChannelHandlerContext) {
        context.close(mode: .output, promise: nil)
        let handler = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: Self.lingerTime) { handler.value.finish() }
        context.read()
    }

    /// Closes the transport.
    func finish() {
        finishPromises()
        context?.close(mode: .all, promise: nil)
    }

    func finishPromises() {
        let promises = waitingOutputClose
        waitingOutputClose = []
        for promise in promises { promise?.fail(ChannelError.ioOnClosedChannel) }
    }
}
