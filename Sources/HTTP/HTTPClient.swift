import NIOCore
package import TLS

/// An HTTP/1.1 client of one server.
///
/// `send` makes a `ClientCall`, which takes an idle `ClientConnection` from the `ClientPool` or opens one, writes the request,
/// gathers the answer and gives the connection back. All of that happens on `HTTPLoop`; only the caller waits elsewhere.
/// That the server closed a connection while it was idle may show only when it is used: then, and only if not one byte of an
/// answer came, the call is made once more on a new connection.
package final class HTTPClient: Sendable {
    package struct Limits: Sendable {
        /// Largest body of an answer, in bytes.
        package var bodyBytes = 256 << 20
        /// Longest line of `lines`, in bytes.
        package var lineBytes = 16 << 20
        /// Largest head of an answer, in bytes.
        package var headerBytes = 64 << 10
        /// How many unused connections are kept, and how long.
        package var idleConnections = 4
        package var idle: Duration = .seconds(60)

        package init() {}
    }

    package let address: HTTPAddress
    private let limits: Limits
    private let pool: NIOLoopBoundBox<ClientPool>

    /// - Parameter tls: what to show and whom to trust; nil for plain HTTP, and never used on a unix socket. New connections take its
    ///   context of the moment.
    package init(_ address: HTTPAddress, limits: Limits = Limits(), tls: TLSContextSlot? = nil) {
        self.address = address
        self.limits = limits
        let loop = HTTPLoop.shared
        pool = NIOLoopBoundBox.makeBoxSendingValue(ClientPool(address, limits: limits, tls: tls, loop: loop), eventLoop: loop)
    }

    deinit {
        let pool = self.pool
        HTTPLoop.shared.execute { pool.value.shutDown() }
    }

    /// Closes every connection, as when this host's address changed and they lead nowhere. A call under way fails.
    package func disconnect() {
        let pool = self.pool
        HTTPLoop.shared.execute { pool.value.disconnect() }
    }

    /// Sends a request and waits for the whole answer, whatever its status.
    ///
    /// - Parameters:
    ///   - timeout: for everything, connecting included.
    ///   - isRepeatable: whether the call may be made once more when the server closed an idle connection as it was used. Without
    ///     that, an error whose `isSent` is false says that the server did nothing.
    /// - Throws: `HTTPError`, or `CancellationError` when the task is cancelled; both close the connection.
    package func send(_ request: HTTPRequest, timeout: Duration, isRepeatable: Bool = true) async throws -> HTTPResponse {
        try await call(request, timeout: timeout, lines: nil, isRepeatable: isRepeatable)
    }

    /// Sends a request and hands out the body's lines as they come, without their newline. The stream ends when the
    /// server ends the body, throws when the connection breaks, and reads no further than about 2 MB ahead of its
    /// consumer. The connection is closed when the stream is dropped or its consumer's task is cancelled.
    ///
    /// - Parameter timeout: until the answer's head is there; after that there is none.
    /// - Throws: as `send`; and `unexpectedStatus` with the answer when its status is not 2xx.
    package func lines(_ request: HTTPRequest, timeout: Duration) async throws -> AsyncThrowingStream<[UInt8], any Error> {
        let buffer = LineBuffer(lineBytes: limits.lineBytes, operation: operation(request))
        let source = LineSource(NIOLoopBoundBox.makeBoxSendingValue(buffer, eventLoop: HTTPLoop.shared))
        let response = try await call(request, timeout: timeout, lines: source, isRepeatable: true)
        guard (200...299).contains(response.status) else {
            let text = String(decoding: response.body.prefix(1000), as: UTF8.self)
            throw HTTPError(
                .unexpectedStatus, operation(request), cause: "the server answered \(response.status): \(text)", response: response)
        }
        return AsyncThrowingStream { try await source.next() }
    }

    private func call(
        _ request: HTTPRequest, timeout: Duration, lines: LineSource?, isRepeatable: Bool
    ) async throws -> HTTPResponse {
        try Task.checkCancellation()
        let operation = operation(request)
        let head = try ClientRequest(request, address: address, operation: operation)
        let pool = self.pool
        let loop = HTTPLoop.shared
        let promise = loop.makePromise(of: HTTPResponse.self)
        let started = loop.submit {
            let call = ClientCall(
                head, pool: pool.value, lines: lines?.buffer.value, isRepeatable: isRepeatable, answer: promise)
            call.start(timeout: TimeAmount(timeout))
            return NIOLoopBound(call, eventLoop: loop)
        }
        return try await withTaskCancellationHandler {
            try await promise.futureResult.get()
        } onCancel: {
            started.whenSuccess { $0.value.fail(CancellationError()) }
        }
    }

    private func operation(_ request: HTTPRequest) -> String { "\(request.method) \(request.path) at \(address)" }
}
