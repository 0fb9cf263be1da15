import Addressing
import CLinux
import Netlink
import Testing

@Suite("Multicast groups")
struct GroupTests {
    private func bytes(_ hex: String) -> [UInt8] {
        let digits = hex.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    private func read(_ payload: [UInt8]) throws -> GroupMessage {
        try payload.withUnsafeBytes { try GroupMessage(NetlinkMessage(type: RTM_NEWMDB, flags: 0, sequence: 1, port: 0, payload: $0)) }
    }

    private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    @Test("a tunnel's groups as Linux 6.18 dumps them: one group, two hosts")
    func tunnel() throws {
        let message = try read(bytes("""
            0700000002000000 88000100 84000100
            40000100 0200000001000000ef01010100000000000000000000000008000000 0800010000000000 0500050004000000 0500030000000000 08000600c0a84d03
            40000100 0200000001000000ef01010100000000000000000000000008000000 0800010000000000 0500050004000000 0500030000000000 08000600c0a84d02
            """))
        #expect(message.index == 2)
        let group = try address("239.1.1.1")
        #expect(message.entries == [
            .init(port: 2, group: group, remote: try address("192.168.77.3")), .init(port: 2, group: group, remote: try address("192.168.77.2")),
        ])
    }

    @Test("a bridge's groups as Linux 6.18 dumps them: what a port asked for, and the bridge's own host")
    func bridge() throws {
        let message = try read(bytes("""
            0000000003000000 8c000100
            34000100 30000100 0400000000000000ff0200000000000000000001ff09001186dd0000 0800010062590000 0500050002000000
            54000100 28000100 0300000000000000ff02000000000000000000000000006a86dd0000 08000100b5590000
                     28000100 0200000000000000ff02000000000000000000000000006a86dd0000 08000100d2590000
            """))
        #expect(message.index == 3)
        #expect(message.entries.map(\.port) == [4, 3, 2])
        #expect(try message.entries.map(\.group) == [address("ff02::1:ff09:11"), address("ff02::6a"), address("ff02::6a")])
        #expect(message.entries.allSatisfy { !$0.isPermanent && $0.remote == nil && $0.source == nil })
    }

    @Test("a request has the bytes that Linux 6.18 took", arguments: [false, true])
    func request(isV6: Bool) throws {
        var writer = NetlinkWriter()
        let group = try address(isV6 ? "ff05::1:3" : "239.1.1.1")
        let entry = GroupMessage.Entry(port: 2, group: group, remote: try address("192.168.77.2"))
        GroupMessage(index: 2, entries: [entry]).write(to: &writer)
        let expected = isV6
            ? "0700000002000000 20000100 0200000001000000ff05000000000000000000000001000386dd0000 0c000280 08000500c0a84d02"
            : "0700000002000000 20000100 0200000001000000ef01010100000000000000000000000008000000 0c000280 08000500c0a84d02"
        #expect(writer.withBytes { Array($0) } == bytes(expected))
    }

    @Test("groups of Ethernet addresses and what is cut off are no groups")
    func others() throws {
        let ethernet = "0700000002000000 28000100 24000100 20000100 02000000010000000100000000010000000000000000000000000000"
        #expect(try read(bytes(ethernet)).entries.isEmpty)
        for length in 0..<64 { _ = try? read(Array(bytes(ethernet).prefix(length))) }
    }
}
