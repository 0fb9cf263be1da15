package import NIOCore

/// From plain bytes to records.
extension TLSHandler {
    /// What was written, in order, and how much of it is to go.
    struct Outbox {
        private var waiting = MarkedCircularBuffer<(bytes: ByteBuffer, promise: EventLoopPromise<Void>?)>(initialCapacity: 0)
        private(set) var byteCount = 0

        mutating func append(_ bytes: ByteBuffer, _ promise: EventLoopPromise<Void>?) {
            byteCount += bytes.readableBytes
            waiting.append((bytes, promise))
        }

        mutating func flush() { waiting.mark() }

        var isEmpty: Bool { waiting.isEmpty }
        var hasFlushed: Bool { waiting.hasMark }

        /// At most that many flushed bytes, and the promise to keep when they are out, if they are the last of a write.
        mutating func take(_ count: Int) -> (bytes: ByteBuffer, promise: EventLoopPromise<Void>?)? {
            guard waiting.hasMark, let index = waiting.indices.first else { return nil }
            if waiting[index].bytes.readableBytes <= count {
                let first = waiting.removeFirst()
                byteCount -= first.bytes.readableBytes
                return first
            }
            guard let piece = waiting[index].bytes.readSlice(length: count) else { return nil }
            byteCount -= count
            return (piece, nil)
        }

        mutating func takeAll() -> [EventLoopPromise<Void>] {
            let promises = waiting.compactMap(\.promise)
            self = Outbox()
            return promises
        }
    }

    package func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let bytes = unwrapOutboundIn(data)
        switch phase {
        case .plain: context.write(data, promise: promise)
        case .failed, .closed: promise?.fail(ChannelError.ioOnClosedChannel)
        case .open where hasEndedOutput || !waitingOutputClose.isEmpty: promise?.fail(ChannelError.outputClosed)
        case .waiting, .handshaking:
            guard outbox.byteCount + bytes.readableBytes <= limits.earlyBytes else {
                promise?.fail(TLSError(.tooEarly, role.operation, cause: "more than \(limits.earlyBytes) bytes before the handshake is done"))
                return
            }
            outbox.append(bytes, promise)
        case .open: outbox.append(bytes, promise)
        }
    }

    package func flush(context: ChannelHandlerContext) {
        if case .plain = phase { return context.flush() }
        outbox.flush()
        encrypt()
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        encrypt()
        context.fireChannelWritabilityChanged()
    }

    /// Turns what is flushed into records while the channel takes them. A flush may call back in here; the loop that runs then sees what is new.
    func encrypt() {
        guard case .open(let session) = phase, let context, !isEncrypting else { return }
        isEncrypting = true
        while case .open = phase, outbox.hasFlushed, context.channel.isWritable {
            var records = context.channel.allocator.buffer(capacity: TLSSession.recordBytes + 64)
            var promises: [EventLoopPromise<Void>] = []
            while records.readableBytes < 64 << 10, let (bytes, promise) = outbox.take(TLSSession.recordBytes) {
                let step = bytes.withUnsafeReadableBytes { session.write($0) }
                if let promise { promises.append(promise) }
                guard step == .done else {
                    isEncrypting = false
                    let error: TLSError
                    if case .failed(let cause) = step { error = cause } else { error = session.failure(.library, "a record cannot be written") }
                    for promise in promises { promise.fail(error) }
                    return fail(error)
                }
                session.drain(into: &records)
            }
            context.writeAndFlush(wrapOutboundOut(records), promise: joined(promises, context))
        }
        isEncrypting = false
        if outbox.isEmpty, case .open = phase { closeOutputIfDue() }
    }

    private func joined(_ promises: [EventLoopPromise<Void>], _ context: ChannelHandlerContext) -> EventLoopPromise<Void>? {
        guard let first = promises.first else { return nil }
        for promise in promises.dropFirst() { first.futureResult.cascade(to: promise) }
        return first
    }

    /// Sends what OpenSSL has made of its own: handshake, alerts.
    func sendRecords(_ session: TLSSession) {
        guard session.hasOutput, let context else { return }
        var records = context.channel.allocator.buffer(capacity: 4096)
        session.drain(into: &records)
        context.writeAndFlush(wrapOutboundOut(records), promise: nil)
    }
}
