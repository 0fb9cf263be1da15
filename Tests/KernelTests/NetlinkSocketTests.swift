import CLinux
import Glibc
import Netlink
import Testing

@testable import Kernel

/// In the test's own network namespace, only reading: no root is needed.
@Suite("Netlink sockets", .timeLimit(.minutes(1)))
struct NetlinkSocketTests {
    private func links(_ socket: NetlinkSocket) throws -> [LinkMessage] {
        try socket.collect("list links", type: RTM_GETLINK) {
            $0.append(ifinfomsg())
        } row: { (message) throws(NetlinkError) in
            try LinkMessage(message)
        }
    }

    @Test("a dump gives all links, whatever the size of the buffer", arguments: [16, 700, 64 << 10])
    func dump(size: Int) throws {
        let socket = try NetlinkSocket(NETLINK_ROUTE, name: "test", buffer: NetlinkBuffer(size: size))
        for _ in 0..<3 { #expect(try links(socket).contains { $0.isLoopback && $0.name == "lo" }) }
    }

    @Test("a long dump whose parts do not fit the buffer is given up and asked for again", .enabled(if: isRoot, needsRoot))
    func longDump() throws {
        let host = try TestHost()
        let rows = "for a in $(seq 160); do for b in $(seq 250); do echo route add unreachable 10.$a.$b.0/24; done; done"
        try host.run(["sh", "-c", "(\(rows)) | ip -batch -"])
        let opened = try Thread.run(in: host.descriptor, "open a socket") { () throws(KernelError) in
            try NetlinkSocket.open(NETLINK_ROUTE, name: "test")
        }
        let socket = NetlinkSocket(adopting: opened, name: "test", buffer: NetlinkBuffer(size: 1000))
        let routes = try socket.collect("list routes", type: RTM_GETROUTE) {
            var header = rtmsg()
            header.rtm_family = UInt8(AF_INET)
            $0.append(header)
        } row: { (message) throws(NetlinkError) in
            try RouteMessage(message)
        }
        #expect(routes.count { $0.table == RT_TABLE_MAIN.rawValue } == 40_000)
    }

    @Test("a request that the kernel does not answer ends after its time, and the next one works")
    func timeout() throws {
        let socket = try NetlinkSocket(NETLINK_ROUTE, name: "test", timeout: .milliseconds(50))
        // The kernel passes over a message of this type, and over its wish for a dump.
        let error = #expect(throws: KernelError.self) {
            try socket.collect("ask nothing", type: NLMSG_NOOP, { _ in }, row: { _ in 0 })
        }
        #expect(error?.code == .timedOut)
        #expect(try links(socket).isEmpty == false)
    }

    @Test("answers to an earlier request are passed over")
    func stale() throws {
        let socket = try NetlinkSocket(NETLINK_ROUTE, name: "test")
        // A dump that nobody collects.
        var batch = NetlinkBatch(firstSequence: 1_000_000)
        batch.add(type: RTM_GETADDR, flags: NLM_F_DUMP, acknowledged: false) { $0.append(ifaddrmsg()) }
        let sent = batch.withBytes { send(socket.descriptor, $0.baseAddress, $0.count, 0) }
        #expect(sent > 0)
        #expect(throws: KernelError.self) { try socket.request("change nothing", type: 0x7fff) { _ in } }
        #expect(try links(socket).isEmpty == false)
    }

    @Test("each request of a batch has its own answer, with the kernel's words")
    func answers() throws {
        let socket = try NetlinkSocket(NETLINK_ROUTE, name: "test")
        var batch = socket.batch()
        batch.add(type: RTM_GETLINK) { LinkMessage(index: 0, name: "lo").write(to: &$0) }
        batch.add(type: RTM_GETLINK) { LinkMessage(index: 0, name: "no-such-link").write(to: &$0) }
        batch.add(type: RTM_GETLINK) { LinkMessage(index: 0, name: "lo").write(to: &$0) }
        let answers = try socket.submit(batch)
        #expect(answers.map(\.errno) == [0, ENODEV, 0])
        let error = #expect(throws: KernelError.self) {
            // A dump that asks for what strict checking does not know.
            try socket.collect("list links", type: RTM_GETLINK, {
                $0.append(ifinfomsg())
                $0.attribute(IFLA_MTU, UInt32(1))
            }, row: { _ in 0 })
        }
        #expect(error?.errno == EINVAL)
        #expect(error?.cause.contains("EINVAL (Invalid argument): ") == true, "\(error?.cause ?? "no error")")
    }

    @Test("an oversized attribute is never sent")
    func oversized() throws {
        let socket = try NetlinkSocket(NETLINK_ROUTE, name: "test")
        let error = #expect(throws: KernelError.self) {
            try socket.request("send much", type: RTM_GETLINK) {
                $0.append(ifinfomsg())
                $0.attribute(IFLA_IFNAME, bytes: [UInt8](repeating: 0, count: 70_000))
            }
        }
        #expect(error?.code == .invalid)
    }
}
