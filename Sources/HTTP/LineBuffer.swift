import NIOCore
import Synchronization

/// The lines of a body between the connection, which fills it, and one consumer. When it is full the connection stops
/// reading, so the server feels a slow consumer and nothing grows. Lives on the loop.
final class LineBuffer {
    private static let capacityBytes = 1 << 20

    private let lineBytes: Int
    private let operation: String
    /// Whom to close, and to tell when there is room again.
    weak var connection: ClientConnection?
    private var lines: [[UInt8]] = []
    private var partial: [UInt8] = []
    private var bytes = 0
    private var waiters: CircularBuffer<EventLoopPromise<[[UInt8]]>> = []
    private var end: Result<Void, any Error>?

    init(lineBytes: Int, operation: String) {
        self.lineBytes = lineBytes
        self.operation = operation
    }

    var isFull: Bool { bytes >= LineBuffer.capacityBytes }

    /// Splits what came at newlines; an error when a line is longer than allowed.
    func append(_ part: ByteBuffer) -> HTTPError? {
        var rest = part.readableBytesView
        while let newline = rest.firstIndex(of: UInt8(ascii: "\n")) {
            partial.append(contentsOf: rest[..<newline])
            rest = rest[rest.index(after: newline)...]
            if partial.count > lineBytes { break }
            deliver()
        }
        partial.append(contentsOf: rest)
        guard partial.count > lineBytes else { return nil }
        return HTTPError(.tooLarge, operation, cause: "a line is longer than \(lineBytes) bytes")
    }

    private func deliver() {
        let line = partial
        partial = []
        lines.append(line)
        bytes += line.count + MemoryLayout<[UInt8]>.stride
        if let waiter = waiters.popFirst() { handOver(to: waiter) }
    }

    private func handOver(to waiter: EventLoopPromise<[[UInt8]]>) {
        let batch = lines
        lines = []
        bytes = 0
        waiter.succeed(batch)
        connection?.resumeReading()
    }

    /// No more comes; the consumer still gets what is there.
    func finish(_ error: (any Error)?) {
        guard end == nil else { return }
        if error == nil, !partial.isEmpty { deliver() }
        end = error.map { .failure($0) } ?? .success(())
        connection = nil
        while let waiter = waiters.popFirst() { conclude(waiter) }
    }

    /// The consumer is gone.
    func cancel() {
        connection?.close()
        lines = []
        finish(CancellationError())
    }

    /// All lines that are there, waiting for the first; none at the end.
    func next(_ promise: EventLoopPromise<[[UInt8]]>) {
        if !lines.isEmpty {
            handOver(to: promise)
        } else if end != nil {
            conclude(promise)
        } else {
            waiters.append(promise)
        }
    }

    private func conclude(_ waiter: EventLoopPromise<[[UInt8]]>) {
        switch end {
        case .failure(let error)?: waiter.fail(error)
        default: waiter.succeed([])
        }
    }
}

/// The consumer's end of a `LineBuffer`; when the last reference goes, so does the connection.
final class LineSource: Sendable {
    let buffer: NIOLoopBoundBox<LineBuffer>
    /// What was fetched and not yet asked for: going to the loop for each line would cost two thread switches.
    private let fetched = Mutex<CircularBuffer<[UInt8]>>([])

    init(_ buffer: NIOLoopBoundBox<LineBuffer>) { self.buffer = buffer }

    deinit {
        let buffer = self.buffer
        HTTPLoop.shared.execute { buffer.value.cancel() }
    }

    func next() async throws -> [UInt8]? {
        if let line = fetched.withLock({ $0.popFirst() }) { return line }
        let buffer = self.buffer
        let loop = HTTPLoop.shared
        let batch = try await withTaskCancellationHandler {
            let promise = loop.makePromise(of: [[UInt8]].self)
            loop.execute { buffer.value.next(promise) }
            return try await promise.futureResult.get()
        } onCancel: {
            loop.execute { buffer.value.cancel() }
        }
        fetched.withLock { $0.append(contentsOf: batch.dropFirst()) }
        return batch.first
    }
}
