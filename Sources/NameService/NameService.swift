/// The resolver in front of Docker's, for all containers of this node: one thread that waits on all their sockets.
///
/// A question comes in by its container's UDP socket: `Responder` answers it from the `NameBook`, or it goes on by the sandbox's other socket to Docker's resolver,
/// whose answer comes back the same way (`Forwarder`). Over TCP a message has its length before it (RFC 1035 section 4.2.2); a question for Docker is
/// then put by a thread of its own, for its answer may be long and slow. Twice a second each sandbox gets a sign of life (ResolverTable.swift), by the thread that
/// answers: if it stands still, Docker's resolver is in charge again.
///
/// The sockets are plain ones on the executor's own thread and not NIO's channels: a channel of NIO ends with the first `sendto` that is refused, and the signs
/// are refused each time (a container that filters its own output could do the same to its answers); and half of the work is in other namespaces.
import CLinux
import DNS
import Fabric
import Glibc
package import Kernel
package import Logging

package actor NameService {
    private nonisolated let thread: KernelThread
    package nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

    private let responder: Responder
    private let log: Logger
    var sandboxes: [String: Served] = [:]
    /// What the thread watches, by key.
    var watched: [UInt64: Watched] = [:]
    private var lastKey: UInt64 = 0
    private var isEnded = false
    private var rotation = 0
    private var room = [UInt8](repeating: 0, count: 1 << 16)
    /// Questions that were answered from the book, and that went to Docker.
    private(set) package var answered = 0
    private(set) package var forwarded = 0
    /// TCP questions to Docker under way: each is a thread.
    var visits = 0
    static let mostVisits = 32, mostVisitsOfOne = 4
    private static let beat = Duration.milliseconds(500)

    enum Watched {
        case questions(Served), listener(Served), upstream(Served), stream(Stream)
    }

    package init(_ book: NameBook, log: Logger) throws(KernelError) {
        responder = Responder(book)
        self.log = log
        thread = try KernelThread(rest: .zero)
        try thread.start("tulle-names") { [weak self] key in
            self?.assumeIsolated { $0.ready(key) }
        }
    }
    deinit { thread.stop() }

    // MARK: Sandboxes

    package func serves(_ path: String) -> Bool { sandboxes[path] != nil }
    package var served: Set<String> { Set(sandboxes.keys) }

    /// Takes over the sockets.
    package func serve(_ path: String, _ sockets: ResolverSockets) throws(KernelError) {
        guard !isEnded else {
            sockets.sign(ResolverTable.endPort)
            return sockets.close()
        }
        end(path)
        let served = Served(path, sockets)
        sandboxes[path] = served
        do throws(KernelError) {
            try watch(sockets.udp, .questions(served))
            try watch(sockets.tcp, .listener(served))
            try watch(sockets.upstream, .upstream(served))
        } catch {
            end(path)
            throw error
        }
    }

    /// Its sockets are closed, and Docker's resolver is in charge for what comes from now on.
    package func end(_ path: String, isGoodbye: Bool = true) {
        guard let served = sandboxes.removeValue(forKey: path) else { return }
        if isGoodbye { served.sockets.sign(ResolverTable.endPort) }
        for stream in served.streams.values { forget(stream) }
        for key in served.keys { watched[key] = nil }
        for descriptor in [served.sockets.udp, served.sockets.tcp, served.sockets.upstream] { thread.unwatch(descriptor) }
        served.sockets.close()
    }

    /// No other is served after that.
    package func endAll(isGoodbye: Bool) {
        isEnded = true
        for path in sandboxes.keys { end(path, isGoodbye: isGoodbye) }
    }

    /// Runs until cancelled.
    package func run() async {
        while !Task.isCancelled {
            for served in sandboxes.values {
                served.sockets.sign(ResolverTable.lifePort)
                served.forwarder.expire(at: .now)
                for stream in served.streams.values where stream.isIdle { forget(stream) }
            }
            try? await Task.sleep(for: Self.beat)
        }
    }

    func watch(_ descriptor: Int32, _ what: Watched) throws(KernelError) {
        lastKey += 1
        try thread.watch(descriptor, key: lastKey)
        watched[lastKey] = what
        switch what {
        case .questions(let served), .listener(let served), .upstream(let served): served.keys.append(lastKey)
        case .stream(let stream): stream.key = lastKey
        }
    }
    func unwatch(_ descriptor: Int32) { thread.unwatch(descriptor) }

    // MARK: What came in

    private func ready(_ key: UInt64) {
        switch watched[key] {
        case .questions(let served): questions(of: served)
        case .upstream(let served): answers(for: served)
        case .listener(let served): accept(for: served)
        case .stream(let stream): read(stream)
        case nil: break
        }
    }

    func respond(to bytes: [UInt8], _ served: Served, isStream: Bool) -> Response {
        rotation &+= 1
        let response = responder.respond(to: bytes, from: served.path, isStream: isStream, rotation: rotation)
        switch response {
        case .answer: answered &+= 1
        case .forward: forwarded &+= 1
        case .drop: break
        }
        return response
    }

    /// So many of one socket in a row: others wait too.
    private static let burst = 64

    private func questions(of served: Served) {
        for _ in 0..<Self.burst {
            guard let (bytes, asker) = receive(served.sockets.udp) else { return }
            guard bytes.count <= Stream.longestQuestion else { continue }
            switch respond(to: bytes, served, isStream: false) {
            case .answer(let answer): send(answer, to: asker, served)
            case .forward:
                let message = served.forwarder.take(bytes, from: asker, at: .now, seed: .random(in: .min ... .max))
                if let message { forward([message], served) }
            case .drop: break
            }
        }
    }

    private func answers(for served: Served) {
        for _ in 0..<Self.burst {
            let count = recv(served.sockets.upstream, &room, room.count, 0)
            if count >= 0 {
                guard let (answer, asker) = served.forwarder.answered(Array(room[..<count])) else { continue }
                send(answer, to: asker, served)
            } else {
                if errno == ECONNREFUSED { renewUpstream(served) }
                return
            }
        }
    }

    private func forward(_ messages: [[UInt8]], _ served: Served) {
        for message in messages {
            let count = Glibc.send(served.sockets.upstream, message, message.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
            // The refusal of an earlier one is told by the next call; this one was not sent.
            if count < 0, errno == ECONNREFUSED { return renewUpstream(served) }
        }
    }

    /// Docker's resolver is not where conntrack has the socket led to: the daemon is another one by now, or away.
    private func renewUpstream(_ served: Served) {
        guard !served.isRenewing else { return }
        served.isRenewing = true
        let path = served.path
        Task {
            let fresh = try? await ResolverSockets.openUpstream(in: path)
            renewed(path, fresh)
        }
    }

    private func renewed(_ path: String, _ fresh: Int32?) {
        guard let served = sandboxes[path] else {
            if let fresh { close(fresh) }
            return
        }
        served.isRenewing = false
        if let fresh {
            thread.unwatch(served.sockets.upstream)
            close(served.sockets.upstream)
            watched[served.keys.removeLast()] = nil
            served.sockets.upstream = fresh
            do throws(KernelError) { try watch(fresh, .upstream(served)) } catch {
                log.warning("cannot watch a resolver's socket", metadata: ["error": "\(error)"])
                return end(path)
            }
        }
        let (again, failed) = served.forwarder.refused()
        for (message, asker) in failed {
            if let failure = Responder.failure(of: message) { send(failure, to: asker, served) }
        }
        forward(again, served)
    }

    // MARK: Datagrams

    private func receive(_ descriptor: Int32) -> (bytes: [UInt8], asker: Forwarder.Asker)? {
        var sender = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let count = withUnsafeMutablePointer(to: &sender) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(descriptor, &room, room.count, 0, $0, &length) }
        }
        guard count >= 0 else { return nil }
        return (Array(room[..<count]), Forwarder.Asker(address: UInt32(bigEndian: sender.sin_addr.s_addr), port: UInt16(bigEndian: sender.sin_port)))
    }

    /// What cannot be sent is lost, as datagrams are; the asker asks again.
    private func send(_ bytes: [UInt8], to asker: Forwarder.Asker, _ served: Served) {
        let address = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: asker.address >> $0) }
        _ = Loopback.withAddress(address, asker.port) {
            sendto(served.sockets.udp, bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL), $0, $1)
        }
    }
}

/// A sandbox that is served. Lives on the service's thread.
final class Served {
    let path: String
    var sockets: ResolverSockets
    var forwarder = Forwarder()
    /// In the watch; the last is that of the socket to Docker's resolver.
    var keys: [UInt64] = []
    /// Connections, by key.
    var streams: [UInt64: Stream] = [:]
    /// Of the service's `visits`.
    var visits = 0
    /// Another socket to Docker's resolver is being opened.
    var isRenewing = false

    init(_ path: String, _ sockets: ResolverSockets) {
        self.path = path
        self.sockets = sockets
    }
}
