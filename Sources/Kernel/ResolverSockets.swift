/// The sockets of the name service in a container's namespace, and the way into it: a thread of its own for each visit, which nobody waits for but who asked.
///
/// A container that starts is visited once: its two listening sockets are opened on 127.0.0.12, the socket for questions to Docker's resolver beside them,
/// the table is made (ResolverTable.swift) and the first sign of life given. From then on the sockets are used from outside. Their ports come of
/// the sandbox's path, so that the next agent opens the same ones and conntrack's entries of long-lived clients lead there.
///
/// An open socket keeps a namespace alive: whoever has these closes them when the container leaves.
import CLinux
import Fabric
package import Glibc

package struct ResolverSockets: Sendable {
    /// Non-blocking, on 127.0.0.12.
    package var udp: Int32
    /// Listening, non-blocking.
    package var tcp: Int32
    /// Connected to Docker's resolver, non-blocking.
    package var upstream: Int32

    package func close() { for descriptor in [udp, tcp, upstream] { Glibc.close(descriptor) } }

    // MARK: Visits

    /// - Parameter path: the container's namespace file.
    package static func open(in path: String) async throws(KernelError) -> ResolverSockets {
        let operation = "serve names in \(path)"
        return try await visit(path, operation) { () throws(KernelError) in
            let udp = try bound(SOCK_DGRAM, path, operation)
            let tcp: (descriptor: Int32, port: UInt16)
            do throws(KernelError) { tcp = try bound(SOCK_STREAM, path, operation) } catch {
                Glibc.close(udp.descriptor)
                throw error
            }
            var opened = ResolverSockets(udp: udp.descriptor, tcp: tcp.descriptor, upstream: -1)
            do throws(KernelError) {
                guard listen(tcp.descriptor, 16) == 0 else { throw .last(operation) }
                opened.upstream = try connectedToDocker(operation)
                // Where an agent was before, its rules lead here already.
                opened.sign(ResolverTable.lifePort)
                let socket = try NetlinkSocket(NETLINK_NETFILTER, name: path, buffer: NetlinkBuffer(size: 16 << 10))
                try ResolverTable.replace(udp: udp.port, tcp: tcp.port, socket)
                opened.sign(ResolverTable.lifePort)
            } catch {
                opened.close()
                throw error
            }
            return opened
        }
    }

    /// Another socket to Docker's resolver. Conntrack holds the old one to the port that a Docker daemon had which is gone.
    package static func openUpstream(in path: String) async throws(KernelError) -> Int32 {
        let operation = "ask Docker's resolver in \(path)"
        return try await visit(path, operation) { () throws(KernelError) in try connectedToDocker(operation) }
    }

    /// Takes the table out of a container that lives on without us.
    package static func removeTable(in path: String) async throws(KernelError) {
        try await visit(path, "remove table \(ResolverTable.name) in \(path)") { () throws(KernelError) in
            try ResolverTable.remove(NetlinkSocket(NETLINK_NETFILTER, name: path, buffer: NetlinkBuffer(size: 16 << 10)))
        }
    }

    /// One question to Docker's resolver over TCP, and its answer; nil when there is none within 5 s.
    /// - Parameter question: a message without the length before it.
    package static func ask(_ question: [UInt8], in path: String) async -> [UInt8]? {
        let answer = try? await visit(path, "ask Docker's resolver in \(path)") { () throws(KernelError) -> [UInt8]? in
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { return nil }
            defer { Glibc.close(descriptor) }
            let deadline = ContinuousClock.now + .seconds(5)
            var limit = timeval(tv_sec: 5, tv_usec: 0)
            for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
                setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
            }
            guard Loopback.bind(descriptor, ResolverTable.ours, 0), Loopback.connect(descriptor, ResolverTable.docker, 53) else { return nil }
            let framed = [UInt8(question.count >> 8 & 0xff), UInt8(question.count & 0xff)] + question
            guard send(descriptor, framed, framed.count, Int32(MSG_NOSIGNAL)) == framed.count else { return nil }
            var received: [UInt8] = []
            var room = [UInt8](repeating: 0, count: 4096)
            while ContinuousClock.now < deadline {
                let count = recv(descriptor, &room, room.count, 0)
                guard count > 0 else { return nil }
                received += room[..<count]
                guard received.count >= 2 else { continue }
                let length = Int(received[0]) << 8 | Int(received[1])
                if received.count >= 2 + length { return Array(received[2..<2 + length]) }
            }
            return nil
        }
        return answer ?? nil
    }

    /// A sign of life, or of the end: not more than a datagram that goes nowhere.
    package func sign(_ port: UInt16) {
        // The rule that takes the sign drops it, which the sender is told as an error (EPERM).
        _ = Loopback.withAddress(ResolverTable.docker, port) { sendto(udp, [0], 1, Int32(MSG_DONTWAIT), $0, $1) }
    }

    private static func visit<Value: Sendable>(
        _ path: String, _ operation: String, _ body: @escaping @Sendable () throws(KernelError) -> Value
    ) async throws(KernelError) -> Value {
        let result: Result<Value, KernelError> = await withCheckedContinuation { continuation in
            do throws(KernelError) {
                let thread = try Thread.start("tulle-visit") {
                    do throws(KernelError) {
                        guard let namespace = try NamespacePins.open(path: path) else {
                            throw KernelError(.notFound, operation, cause: "the file is no network namespace")
                        }
                        defer { Glibc.close(namespace) }
                        guard linux_setns(namespace, Int32(LINUX_CLONE_NEWNET)) == 0 else { throw .last(operation) }
                        continuation.resume(returning: .success(try body()))
                    } catch {
                        continuation.resume(returning: .failure(error))
                    }
                }
                pthread_detach(thread)
            } catch {
                continuation.resume(returning: .failure(error))
            }
        }
        return try result.get()
    }

    // MARK: Sockets

    /// Outside what Linux gives to programs that ask for any port (32768 to 60999).
    private static let firstPort = 61_000, portCount = 4_535, tries = 64

    private static func bound(_ kind: __socket_type, _ path: String, _ operation: String) throws(KernelError) -> (descriptor: Int32, port: UInt16) {
        let descriptor = socket(AF_INET, Int32(kind.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw .last(operation) }
        if kind == SOCK_STREAM {
            // Connections of the agent before may still be ending.
            var yes: Int32 = 1
            setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        }
        let start = Int(truncatingIfNeeded: fnv1a("\(path) \(kind.rawValue)") % UInt64(portCount))
        for index in 0..<tries {
            let port = UInt16(firstPort + (start + index * 7) % portCount)
            if Loopback.bind(descriptor, ResolverTable.ours, port) { return (descriptor, port) }
            guard errno == EADDRINUSE else { break }
        }
        let error = KernelError.last(operation)
        Glibc.close(descriptor)
        throw error
    }

    private static func connectedToDocker(_ operation: String) throws(KernelError) -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw .last(operation) }
        guard Loopback.bind(descriptor, ResolverTable.ours, 0), Loopback.connect(descriptor, ResolverTable.docker, 53) else {
            let error = KernelError.last(operation)
            Glibc.close(descriptor)
            throw error
        }
        return descriptor
    }
}

/// IPv4 addresses as the socket calls take them.
package enum Loopback {
    package static func withAddress<Value>(_ address: [UInt8], _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value) -> Value {
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_port = port.bigEndian
        place.sin_addr.s_addr = address.reduce(0) { $0 << 8 | in_addr_t($1) }.bigEndian
        return withUnsafePointer(to: place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
    }
    static func bind(_ descriptor: Int32, _ address: [UInt8], _ port: UInt16) -> Bool {
        withAddress(address, port) { Glibc.bind(descriptor, $0, $1) } == 0
    }
    static func connect(_ descriptor: Int32, _ address: [UInt8], _ port: UInt16) -> Bool {
        withAddress(address, port) { Glibc.connect(descriptor, $0, $1) } == 0
    }
}
