import Glibc
import Testing

@testable import Kernel

/// A namespace plays a container's; nobody plays Docker's resolver there.
@Suite("the name service's way into a container", filterLab, .timeLimit(.minutes(1)))
struct ResolverTests {
    let container: FilterNamespace

    init() throws { container = try FilterNamespace() }

    private func elements() throws -> String { try container("nft", "list", "set", "inet", "tulle_dns", "alive") }

    /// A socket of the container's program.
    private func client() throws -> Int32 {
        try Thread.run(in: container.descriptor, "enter a test's namespace") { () throws(KernelError) in
            socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        }
    }

    /// Sends one byte to 127.0.0.11:53 and returns what comes in at ours, and from where.
    private func ask(_ client: Int32, _ sockets: ResolverSockets) throws -> (byte: UInt8, from: sockaddr_in)? {
        _ = Loopback.withAddress(ResolverTable.docker, 53) { sendto(client, [7], 1, 0, $0, $1) }
        var room: [UInt8] = [0]
        var sender = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        // Loopback delivers within the call that sends.
        let count = withUnsafeMutablePointer(to: &sender) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(sockets.udp, &room, 1, 0, $0, &length) }
        }
        return count == 1 ? (room[0], sender) : nil
    }

    @Test("the table is as nft would have made it, and is made again with the same ports")
    func table() async throws {
        let first = try await ResolverSockets.open(in: container.path)
        let before = try container("nft", "list", "chain", "inet", "tulle_dns", "out")
        for line in [
            "type nat hook output priority -101; policy accept;", "ip saddr 127.0.0.12 accept",
            "ip daddr @alive udp dport 53 dnat ip to 127.0.0.12:6", "ip daddr @alive tcp dport 53 dnat ip to 127.0.0.12:6",
        ] { #expect(before.contains(line), "\(before)") }
        let signs = try container("nft", "list", "chain", "inet", "tulle_dns", "signs")
        #expect(signs.contains("ip saddr 127.0.0.12 ip daddr 127.0.0.11 udp dport 9 update @alive { ip daddr timeout 2s } drop"))
        #expect(signs.contains("ip saddr 127.0.0.12 ip daddr 127.0.0.11 udp dport 10 delete @alive { ip daddr } drop"))
        #expect(try elements().contains("elements = { 127.0.0.11"))
        first.close()
        let second = try await ResolverSockets.open(in: container.path)
        defer { second.close() }
        #expect(try container("nft", "list", "chain", "inet", "tulle_dns", "out") == before)
        try await ResolverSockets.removeTable(in: container.path)
        #expect(try !container("nft", "list", "tables").contains("tulle_dns"))
    }

    @Test("a question comes to us and the answer from where it was asked; with a goodbye, or two seconds of silence, no more", arguments: [true, false])
    func redirection(isGoodbye: Bool) async throws {
        let sockets = try await ResolverSockets.open(in: container.path)
        defer { sockets.close() }
        let program = try client()
        defer { close(program) }
        let (byte, from) = try #require(try ask(program, sockets))
        #expect(byte == 7)
        var sender = from
        let sent = withUnsafePointer(to: &sender) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { sendto(sockets.udp, [9], 1, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        #expect(sent == 1)
        var answerer = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        var room: [UInt8] = [0]
        let count = withUnsafeMutablePointer(to: &answerer) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(program, &room, 1, Int32(MSG_DONTWAIT), $0, &length) }
        }
        #expect(count == 1 && room == [9] && answerer.sin_addr.s_addr == UInt32(0x7f00_000b).bigEndian && answerer.sin_port == UInt16(53).bigEndian)

        if isGoodbye {
            sockets.sign(ResolverTable.endPort)
        } else {
            let deadline = ContinuousClock.now + .seconds(4)
            while try elements().contains("elements") { try #require(ContinuousClock.now < deadline, "it does not run out") }
        }
        #expect(try !elements().contains("elements"))
        let other = try client()
        defer { close(other) }
        #expect(try ask(other, sockets) == nil)
        sockets.sign(ResolverTable.lifePort)
        let third = try client()
        defer { close(third) }
        #expect(try ask(third, sockets) != nil)
    }
}
