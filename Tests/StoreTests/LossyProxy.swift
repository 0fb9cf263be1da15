/// A TCP proxy on loopback that can lose an answer: the request reaches the server, and the connection ends before the client hears of it.
import Dispatch
import Glibc
import HTTP
import Synchronization

final class LossyProxy: Sendable {
    struct Failure: Error { let cause: String }
    private struct State {
        var target: Int
        /// Taken by the next bytes of a client.
        var losesNext = false
        var isOver = false
    }
    private let listener: Int32
    private let state: Mutex<State>
    let address: HTTPAddress

    init(to target: HTTPAddress) throws {
        state = Mutex(State(target: try Self.port(target)))
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        listener = descriptor
        var place = Self.loopback(0)
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        guard Self.withAddress(&place, { bind(descriptor, $0, size) }) == 0, listen(descriptor, 16) == 0 else {
            throw Failure(cause: String(cString: strerror(errno)))
        }
        var length = size
        _ = Self.withAddress(&place) { getsockname(descriptor, $0, &length) }
        address = .tcp(host: "127.0.0.1", port: Int(UInt16(bigEndian: place.sin_port)))
        DispatchQueue.global().async { [self] in accept() }
    }

    /// The next request that comes is the last of its connection, and unanswered; those after it go to that server.
    func loseNext(then target: HTTPAddress? = nil) throws {
        let port = try target.map(Self.port)
        state.withLock { $0.losesNext = true; $0.target = port ?? $0.target }
    }

    func stop() {
        state.withLock { $0.isOver = true }
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private var isOver: Bool { state.withLock { $0.isOver } }

    private func accept() {
        while true {
            let client = Glibc.accept(listener, nil, nil)
            guard client >= 0 else { break }
            let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var place = Self.loopback(state.withLock { $0.target })
            _ = Self.withAddress(&place) { connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
            DispatchQueue.global().async { [self] in
                relay(client, server)
                close(client)
                close(server)
            }
        }
        close(listener)
    }

    private func relay(_ client: Int32, _ server: Int32) {
        var room = [UInt8](repeating: 0, count: 65_536)
        var isLosing = false
        while !isOver {
            var polls = [client, server].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            guard poll(&polls, 2, 100) >= 0 else { return }
            for (index, from) in [client, server].enumerated() where polls[index].revents != 0 {
                let count = recv(from, &room, room.count, 0)
                guard count > 0 else { return }
                if index == 0, state.withLock({ state in defer { state.losesNext = false }; return state.losesNext }) { isLosing = true }
                if index == 1, isLosing { return }
                guard send(index == 0 ? server : client, room, count, Int32(MSG_NOSIGNAL)) == count else { return }
            }
        }
    }

    private static func port(_ address: HTTPAddress) throws -> Int {
        guard case .tcp(_, let port) = address else { throw Failure(cause: "\(address) is no TCP address") }
        return port
    }
    private static func loopback(_ port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return address
    }
    private static func withAddress<Result>(_ address: inout sockaddr_in, _ body: (UnsafeMutablePointer<sockaddr>) -> Result) -> Result {
        withUnsafeMutablePointer(to: &address) { $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0) } }
    }
}
