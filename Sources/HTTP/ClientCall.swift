import NIOCore
import NIOHTTP1
import TLS

/// One request and what becomes of it, up to the answer or an error. Lives on the loop.
///
/// With `lines` the answer is complete, for the caller, when its head is there and its status is 2xx: what follows goes
/// into the buffer. The answer's promise is kept exactly once on every path, at the latest by the timer.
final class ClientCall {
    let request: ClientRequest
    let lines: LineBuffer?
    private let pool: ClientPool
    private let answer: EventLoopPromise<HTTPResponse>
    private let isRepeatable: Bool
    private var timer: Scheduled<Void>?
    private var connection: ClientConnection?
    private var isReused = false
    private var isSent = false
    private var isAnswered = false
    private var deadline = NIODeadline.distantFuture
    private var response = HTTPResponse(status: 0)

    init(
        _ request: ClientRequest, pool: ClientPool, lines: LineBuffer?, isRepeatable: Bool, answer: EventLoopPromise<HTTPResponse>
    ) {
        self.request = request
        self.isRepeatable = isRepeatable
        self.pool = pool
        self.lines = lines
        self.answer = answer
    }

    func start(timeout: TimeAmount) {
        deadline = NIODeadline.now() + timeout
        let call = NIOLoopBound(self, eventLoop: pool.loop)
        timer = pool.loop.scheduleTask(deadline: deadline) {
            let call = call.value
            call.fail(HTTPError(.timedOut, call.request.operation, cause: "no answer within \(timeout.nanoseconds / 1_000_000) ms"))
        }
        if let connection = pool.take() {
            isReused = true
            run(on: connection)
        } else {
            connect()
        }
    }

    private func connect() {
        isReused = false
        pool.connect(timeout: deadline - NIODeadline.now()).whenComplete { result in
            switch result {
            case .success(let connection): self.isAnswered ? connection.close() : self.run(on: connection)
            case .failure(let error): self.fail(HTTPError(error, self.request.operation))
            }
        }
    }

    private func run(on connection: ClientConnection) {
        self.connection = connection
        isSent = true
        lines?.connection = connection
        connection.carry(self)
    }

    /// The caller, the timer or the connection gives up.
    func fail(_ error: any Error) {
        connection?.close()
        connection = nil
        timer?.cancel()
        lines?.finish(error)
        guard !isAnswered else { return }
        isAnswered = true
        if var failure = error as? HTTPError {
            failure.isSent = isSent
            answer.fail(failure)
        } else {
            answer.fail(error)
        }
    }

    // MARK: What the connection tells

    /// The connection is gone.
    func broke(_ code: HTTPError.Code, _ cause: String, tls: TLSError? = nil) {
        let isUntouched = isRepeatable && isReused && code == .closed && connection?.hasAnswerBytes == false
        connection = nil
        if isUntouched, !isAnswered {
            connect()
        } else {
            fail(HTTPError(code, request.operation, cause: cause, tls: tls))
        }
    }

    func received(_ head: HTTPResponseHead) {
        response = HTTPResponse(status: Int(head.status.code), fields: HTTPFields(head.headers))
        if isStreaming {
            succeed()
        } else if request.head.method != .HEAD, let length = head.headers.first(name: "content-length").flatMap({ Int($0) }),
            length > pool.limits.bodyBytes
        {
            failTooLarge()
        }
    }

    func received(_ part: ByteBuffer) {
        if isStreaming {
            guard let error = lines?.append(part) else { return }
            fail(error)
        } else if response.body.count + part.readableBytes > pool.limits.bodyBytes {
            failTooLarge()
        } else {
            response.body.append(contentsOf: part.readableBytesView)
        }
    }

    func receivedEnd() {
        connection = nil
        lines?.finish(nil)
        succeed()
    }

    private var isStreaming: Bool { lines != nil && (200...299).contains(response.status) }

    private func failTooLarge() {
        fail(HTTPError(.tooLarge, request.operation, cause: "the answer is larger than \(pool.limits.bodyBytes) bytes"))
    }

    private func succeed() {
        timer?.cancel()
        guard !isAnswered else { return }
        isAnswered = true
        answer.succeed(response)
    }
}
