/// Questions over TCP, as programs ask that were told that an answer is truncated.
///
///     | length (2) | message | length (2) | message …        both ways; several questions may be under way (RFC 7766 section 6.2.1.1)
///
/// A connection may stand still for 10 s, and a container may have 32 of them: of more, the one that stood still for longest ends.
import Fabric
import Glibc
import Kernel

/// One connection. Lives on the service's thread.
final class Stream {
    let descriptor: Int32
    unowned let served: Served
    var key: UInt64 = 0
    var received: [UInt8] = []
    /// Questions with Docker's resolver.
    var pending = 0
    var lastUse = ContinuousClock.now

    static let patience = Duration.seconds(10)
    static let most = 32
    /// Of what one side may have in the air.
    static let mostPending = 8
    /// A question is much smaller.
    static let longestQuestion = 4_096

    init(_ descriptor: Int32, _ served: Served) {
        self.descriptor = descriptor
        self.served = served
    }
    var isIdle: Bool { pending == 0 && .now - lastUse > Self.patience }
}

extension NameService {
    func accept(for served: Served) {
        while true {
            let descriptor = Glibc.accept(served.sockets.tcp, nil, nil)
            guard descriptor >= 0 else {
                // No descriptors are left: who stands still gives his, or the listener would call again at once for ever.
                guard errno == EMFILE || errno == ENFILE,
                    let oldest = sandboxes.values.flatMap({ $0.streams.values }).min(by: { $0.lastUse < $1.lastUse })
                else { return }
                forget(oldest)
                continue
            }
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
            if served.streams.count >= Stream.most, let oldest = served.streams.values.min(by: { $0.lastUse < $1.lastUse }) { forget(oldest) }
            // A whole answer fits; what does not take its answers is closed.
            var size: Int32 = 1 << 17
            setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<Int32>.size))
            let stream = Stream(descriptor, served)
            do throws(KernelError) { try watch(descriptor, .stream(stream)) } catch {
                close(descriptor)
                continue
            }
            served.streams[stream.key] = stream
        }
    }

    func forget(_ stream: Stream) {
        guard stream.served.streams.removeValue(forKey: stream.key) != nil else { return }
        watched[stream.key] = nil
        unwatch(stream.descriptor)
        close(stream.descriptor)
    }

    func read(_ stream: Stream) {
        var room = [UInt8](repeating: 0, count: 8_192)
        let count = recv(stream.descriptor, &room, room.count, 0)
        guard count > 0 else {
            if count < 0, errno == EAGAIN || errno == EINTR { return }
            return forget(stream)
        }
        stream.lastUse = .now
        stream.received += room[..<count]
        while stream.received.count >= 2 {
            let length = Int(stream.received[0]) << 8 | Int(stream.received[1])
            guard length <= Stream.longestQuestion else { return forget(stream) }
            guard stream.received.count >= 2 + length else { return }
            let message = Array(stream.received[2..<2 + length])
            stream.received.removeFirst(2 + length)
            switch respond(to: message, stream.served, isStream: true) {
            case .answer(let answer): guard write(answer, stream) else { return }
            case .forward: guard pass(message, stream) else { return }
            case .drop: return forget(stream)
            }
        }
    }

    /// False when the connection has ended with it.
    private func write(_ message: [UInt8], _ stream: Stream) -> Bool {
        let framed = [UInt8(message.count >> 8 & 0xff), UInt8(message.count & 0xff)] + message
        if send(stream.descriptor, framed, framed.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL)) == framed.count { return true }
        forget(stream)
        return false
    }

    private func pass(_ message: [UInt8], _ stream: Stream) -> Bool {
        guard visits < Self.mostVisits, stream.served.visits < Self.mostVisitsOfOne, stream.pending < Stream.mostPending else {
            return Responder.failure(of: message).map { write($0, stream) } ?? true
        }
        visits += 1
        stream.served.visits += 1
        stream.pending += 1
        let (path, key) = (stream.served.path, stream.key)
        Task {
            let answer = await ResolverSockets.ask(message, in: path)
            visits -= 1
            sandboxes[path]?.visits -= 1
            guard let stream = sandboxes[path]?.streams[key] else { return }
            stream.pending -= 1
            stream.lastUse = .now
            if let answer = answer ?? Responder.failure(of: message) { _ = write(answer, stream) }
        }
        return true
    }
}
