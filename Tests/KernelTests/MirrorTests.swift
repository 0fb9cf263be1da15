import Addressing
import CLinux
import Fabric
import Glibc
import Netlink
import Testing

@testable import Kernel

/// What the mirror makes of messages; no kernel is asked.
@Suite("The mirror")
struct MirrorTests {
    private func take(
        _ mirror: inout Mirror, _ type: Int, _ write: (inout NetlinkWriter) -> Void
    ) throws -> Bool {
        var writer = NetlinkWriter()
        writer.message(type: type, flags: 0, sequence: 0, write)
        return try writer.withBytes { bytes in
            var messages = NetlinkMessages(bytes)
            let message = messages.next()
            return try mirror.take(#require(message))
        }
    }

    private func take(_ mirror: inout Mirror, _ type: Int, _ route: RouteMessage) throws -> Bool {
        try take(&mirror, type) { route.write(to: &$0) }
    }

    private func filled(_ scope: Mirror.Scope = .network, _ names: String...) -> Mirror {
        var mirror = Mirror(scope: scope)
        let links = names.enumerated().map { LinkMessage(index: Int32($0.offset + 1), name: $0.element, isUp: true, kind: .veth(peer: nil)) }
        mirror.replace(links: links, addresses: [], neighbors: [], routes: [])
        return mirror
    }

    private func route(_ text: String, metric: UInt32 = 0, on index: UInt32) throws -> RouteMessage {
        RouteMessage(
            destination: try prefix(text), table: RT_TABLE_MAIN.rawValue, origin: 84, type: UInt8(RTN_UNICAST), metric: metric,
            hops: [RouteMessage.Hop(index: index)])
    }

    @Test("what the kernel makes by itself is left out")
    func kernelMade() throws {
        var mirror = filled(.network, "ep1")
        let sit = LinkMessage(index: 9, name: "sit0", kind: .other("sit"))
        #expect(try take(&mirror, RTM_NEWLINK) { sit.write(to: &$0) } == false)
        let own = AddressMessage(index: 1, address: try interface("fe80::1/64"), origin: UInt8(IFAPROT_KERNEL_LL))
        #expect(try take(&mirror, RTM_NEWADDR) { own.write(to: &$0) } == false)
        var connected = try route("10.0.0.0/24", on: 1)
        connected.origin = UInt8(RTPROT_KERNEL)
        #expect(try take(&mirror, RTM_NEWROUTE) { connected.write(to: &$0) } == false)
        var local = try route("10.0.0.1/32", on: 1)
        local.table = 255
        #expect(try take(&mirror, RTM_NEWROUTE) { local.write(to: &$0) } == false)
        #expect(mirror.state.links.count == 1 && mirror.state.addresses.isEmpty && mirror.state.routes.isEmpty)
        #expect(!mirror.needsReload)
        // A link of that name and another kind was made by somebody, and so was a link-local address without that mark.
        let imitation = LinkMessage(index: 10, name: "gre0", kind: .other("dummy"))
        #expect(try take(&mirror, RTM_NEWLINK) { imitation.write(to: &$0) })
        let other = AddressMessage(index: 1, address: try interface("fe80::2/64"))
        #expect(try take(&mirror, RTM_NEWADDR) { other.write(to: &$0) })
    }

    @Test("on the host only links of our prefix and what hangs on them are kept, and each link and address is news")
    func hostScope() throws {
        var mirror = filled(.host, "eth0", "tulle0")
        #expect(mirror.state.links.keys.sorted() == ["tulle0"])
        #expect(try take(&mirror, RTM_NEWROUTE, route("10.1.0.0/16", on: 1)) == false)
        #expect(try take(&mirror, RTM_NEWROUTE, route("10.2.0.0/16", on: 2)))
        var nowhere = try route("10.3.0.0/16", on: 1)
        nowhere.hops = []
        nowhere.type = UInt8(RTN_UNREACHABLE)
        #expect(try take(&mirror, RTM_NEWROUTE) { nowhere.write(to: &$0) } == false)
        #expect(mirror.state.routes == [RouteKey(destination: try prefix("10.2.0.0/16")): .link("tulle0")])
        let address = AddressMessage(index: 1, address: try interface("192.0.2.1/24"))
        #expect(try take(&mirror, RTM_NEWADDR) { address.write(to: &$0) })
        #expect(mirror.state.addresses.isEmpty)
        let link = LinkMessage(index: 1, name: "eth0", isUp: true, mtu: 9000)
        #expect(try take(&mirror, RTM_NEWLINK) { link.write(to: &$0) })
        #expect(!mirror.needsReload)
    }

    @Test("a row on a link that was never told of is a reason to read anew, its end is none")
    func unknownLink() throws {
        var mirror = filled(.network, "ep1")
        _ = try take(&mirror, RTM_DELROUTE, route("10.1.0.0/16", on: 7))
        #expect(!mirror.needsReload)
        _ = try take(&mirror, RTM_NEWROUTE, route("10.1.0.0/16", on: 7))
        #expect(mirror.needsReload)
    }

    @Test("all that hangs on a link goes with it")
    func deletedLink() throws {
        var mirror = filled(.network, "ep1", "ep2")
        for index: UInt32 in 1...2 {
            _ = try take(&mirror, RTM_NEWROUTE, route("10.\(index).0.0/16", on: index))
            let row = AddressMessage(index: index, address: try interface("10.\(index).0.1/32"))
            _ = try take(&mirror, RTM_NEWADDR) { row.write(to: &$0) }
            let neighbor = NeighborMessage(
                .neighbors(.v4), index: index, state: UInt16(NUD_PERMANENT), destination: try address("10.\(index).0.9"),
                mac: try mac("02:00:00:00:00:01"))
            _ = try take(&mirror, RTM_NEWNEIGH) { neighbor.write(to: &$0) }
        }
        #expect(try take(&mirror, RTM_DELLINK) { LinkMessage(index: 1, name: "ep1").write(to: &$0) })
        #expect(mirror.state.links.keys.sorted() == ["ep2"])
        #expect(mirror.state.routes.values.map(\.link) == ["ep2"])
        #expect(mirror.state.addresses.map(\.link) == ["ep2"])
        #expect(mirror.state.neighbors.keys.map(\.link) == ["ep2"])
        #expect(!mirror.needsReload)
    }

    @Test("a bridge's notice about a port does not make or unmake a link")
    func partialLinks() throws {
        var mirror = filled(.network, "ep1")
        var header = ifinfomsg()
        header.ifi_family = UInt8(AF_BRIDGE)
        header.ifi_index = 1
        #expect(try take(&mirror, RTM_DELLINK) { $0.append(header) } == false)
        #expect(mirror.state.links.keys.sorted() == ["ep1"])
    }
}
