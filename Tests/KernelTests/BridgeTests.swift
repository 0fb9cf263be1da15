import Addressing
import Fabric
import Glibc
import TestKit
import Testing

@testable import Kernel

/// A switched network on a real kernel, with iproute2 as the judge, and on the model.
@Suite("Bridges", .enabled(if: isRoot, needsRoot), .timeLimit(.minutes(2)))
struct BridgeTests {
    let host: TestHost
    let id = NamespaceID.network(netA)
    init() throws { host = try TestHost() }

    private func wanted() throws -> NamespaceState {
        var state = NamespaceState()
        let far = try mac("02:00:00:00:00:02"), near = try mac("02:00:00:00:00:09")
        state.links["lo"] = Link(.loopback)
        state.links["br0"] = Link(.bridge, mac: try mac("02:00:00:00:00:aa"), mtu: 1450, bridge: Bridge())
        state.links["vxlan"] = Link(
            .vxlan(VXLAN(vni: try #require(VNI(0x100001)), port: 7941, local: try address("192.0.2.1"))),
            mac: try mac("02:00:00:00:00:01"), mtu: 1450, port: BridgePort(bridge: "br0", suppressesNeighbors: true, getsAllMulticast: true))
        state.links["ep1"] = Link(
            .veth, mtu: 1450, peer: VethPeer(name: "tl1", place: .namespace(.host)), port: BridgePort(bridge: "br0"))
        state.addresses = [
            LinkAddress(link: "br0", address: try interface("10.32.0.1/16")), LinkAddress(link: "br0", address: try interface("fd00:32::1/64")),
        ]
        state.neighbors = [
            NeighborKey(link: "br0", address: try address("10.32.1.2")): far, NeighborKey(link: "br0", address: try address("fd00:32::9")): near,
        ]
        state.forwarding = [ForwardingKey(link: "vxlan", mac: far): try address("192.0.2.2")]
        state.stations = [far: "vxlan", near: "ep1"]
        for number in 2...3 {
            let remote = try address("192.0.2.\(number)")
            state.floods.insert(FloodRow(link: "vxlan", remote: remote))
            state.groups.insert(GroupRow(link: "vxlan", group: try address("239.1.1.1"), remote: remote))
            state.groups.insert(GroupRow(link: "vxlan", group: try address("ff05::1:\(number)"), remote: remote))
        }
        for hook in Sysctl.bridgeHooks { state.sysctls[hook] = "0" }
        state.sysctls["net/ipv6/conf/vxlan/disable_ipv6"] = "1"
        state.bridgeFilter = PacketFilter(
            .bridge,
            chains: [
                "ports": FilterChain(.filter, .prerouting, priority: -300, rules: [
                    FilterRule([.inputLinkPrefix("ep"), .guardNotIn(set: "guards4", .v4)], counter: "spoofed", .drop),
                    FilterRule([.inputLinkPrefix("ep"), .arpFrameNotIn(set: "guards4")], counter: "spoofed", .drop),
                    FilterRule([.inputLinkPrefix("ep"), .arpBodyNotIn(set: "guards4")], counter: "spoofed", .drop),
                    FilterRule([.inputLinkPrefix("ep"), .advertisementNotIn(set: "guards6")], counter: "spoofed", .drop),
                    FilterRule([.family(.v4), .udpSourcePort(67)], .drop), FilterRule([.etherType(0x0806)], .accept),
                ]),
                "tunnel": FilterChain(.filter, .postrouting, priority: 0, rules: [
                    FilterRule([.family(.v4), .toOne], .accept), FilterRule([.igmp], .drop), FilterRule([.icmpv6(130, 132)], .drop),
                    FilterRule([.destination(try prefix("224.0.0.0/4")), .destinationNotIn(set: "groups4", .v4)], .drop),
                ]),
            ],
            sets: [
                "guards4": FilterSet(.guardV4, [.guarded(link: "ep1", mac: near, address: try address("10.32.0.9"))]),
                "guards6": FilterSet(.guardV6), "groups4": FilterSet(.addressV4, [.address(try address("239.1.1.1"))]),
            ],
            counters: ["spoofed"])
        return state
    }

    private func settle(_ kernel: any DataPlane, _ wanted: NamespaceState) async throws {
        for _ in 0..<5 {
            let steps = Planner.plan(id, desired: wanted, observed: try await kernel.observe(id, fresh: false))
            if steps.isEmpty { return }
            let failures = await kernel.apply(steps)
            #expect(failures.isEmpty, "\(failures)")
        }
        Issue.record("the plan never becomes empty")
    }

    @Test("it is made as planned, observed as asked by notices and by a dump, not planned again; the model says the same")
    func everything() async throws {
        let wanted = try wanted()
        let model = ModelKernel()
        try await settle(host.kernel, wanted)
        try await settle(model, wanted)
        let simple = try #require(await model.observe(id, fresh: true))
        for fresh in [false, true] {
            let state = try await host.kernel.state(id, fresh: fresh)
            for other in [wanted, simple] {
                #expect(state.stations == other.stations)
                #expect(state.floods == other.floods)
                #expect(state.groups == other.groups)
                #expect(state.forwarding == other.forwarding)
                #expect(state.neighbors == other.neighbors)
                #expect(state.addresses == other.addresses)
                #expect(state.bridgeFilter == other.bridgeFilter)
                for (name, link) in other.links {
                    #expect(state.links[name]?.port == link.port, "\(name)")
                    #expect(state.links[name]?.bridge == link.bridge, "\(name)")
                }
            }
            #expect(Planner.plan(id, desired: wanted, observed: state) == [])
        }
        await host.kernel.done(Planner.plan(id, desired: nil, observed: try await host.kernel.state(id)))
        #expect(try await host.kernel.namespaces().isEmpty)
    }

    @Test("iproute2 and nft see what was meant")
    func judge() async throws {
        try await settle(host.kernel, try wanted())
        let port = try host.run(["bridge", "-d", "link", "show", "dev", "vxlan"], in: id)
        for word in ["learning off", "flood off", "mcast_flood on", "bcast_flood on", "neigh_suppress on", "mcast_router 2", "isolated off"] {
            #expect(port.contains(word), "\(word): \(port)")
        }
        let bridge = try host.ip("-d link show br0", in: id)
        for word in ["stp_state 0", "mcast_snooping 1", "mcast_querier 1", "mcast_query_use_ifaddr 1", "mcast_query_response_interval 100"] { #expect(bridge.contains(word), "\(word): \(bridge)") }
        let rows = try host.run(["bridge", "fdb"], in: id)
        for row in [
            "02:00:00:00:00:02 dev vxlan master br0 static", "02:00:00:00:00:09 dev ep1 master br0 static",
            "02:00:00:00:00:02 dev vxlan dst 192.0.2.2", "00:00:00:00:00:00 dev vxlan dst 192.0.2.3",
        ] {
            #expect(rows.contains(row), "\(row): \(rows)")
        }
        let groups = try host.run(["bridge", "mdb"], in: id)
        for group in ["239.1.1.1", "ff05::1:2"] { #expect(groups.contains("dev vxlan port vxlan grp \(group) permanent"), "\(groups)") }
    }

    @Test(
        "what somebody else does is heard, seen without a new dump, and put right",
        arguments: [
            "bridge link set dev vxlan learning on", "bridge link set dev vxlan neigh_suppress off", "bridge link set dev ep1 flood on",
            "ip link set ep1 type bridge_slave isolated on", "ip link set ep1 nomaster", "ip link set br0 type bridge mcast_snooping 0",
            "ip link set br0 type bridge mcast_querier 0", "ip link set br0 type bridge stp_state 1", "ip link delete br0", "ip link delete vxlan",
            "bridge fdb delete 02:00:00:00:00:02 dev vxlan master", "bridge fdb replace 02:00:00:00:00:02 dev ep1 master static",
            "bridge fdb add 02:00:00:00:00:77 dev ep1 master static", "bridge fdb delete 00:00:00:00:00:00 dev vxlan dst 192.0.2.3 self",
            "bridge fdb append 00:00:00:00:00:00 dev vxlan dst 192.0.2.9 self", "bridge fdb delete 00:00:00:00:00:00 dev vxlan self",
            "ip neighbor delete 10.32.1.2 dev br0", "ip link set ep1 down",
        ])
    func drift(command: String) async throws {
        let wanted = try wanted()
        try await settle(host.kernel, wanted)
        let before = try await host.kernel.state(id)
        let changes = await host.kernel.changes()
        try host.run(command.split(separator: " ").map(String.init), in: id)
        await expectChange(of: id, in: changes)
        let mirrored = try await host.kernel.state(id)
        #expect(mirrored != before)
        #expect(try await host.kernel.state(id, fresh: true) == mirrored)
        try await settle(host.kernel, wanted)
        let after = try await host.kernel.state(id, fresh: true)
        #expect(after.stations == wanted.stations && after.floods == wanted.floods && after.groups == wanted.groups)
        for (name, link) in wanted.links {
            #expect(after.links[name]?.port == link.port, "\(name)")
            #expect(after.links[name]?.bridge == link.bridge, "\(name)")
        }
    }

    @Test("a container that comes is announced to the others of the host, and not to itself")
    func announcement() async throws {
        var wanted = try wanted()
        try await settle(host.kernel, wanted)
        try host.ip("link set tl1 up")
        try host.ip("address add 10.32.0.9/16 dev tl1")
        try host.ip("neighbor replace 10.32.1.2 lladdr 02:00:00:00:00:66 dev tl1 nud stale")
        let new = try mac("02:00:00:00:12:34"), remote = try address("10.32.1.2")
        wanted.neighbors[NeighborKey(link: "br0", address: remote)] = new
        wanted.stations[new] = "vxlan"
        try await settle(host.kernel, wanted)
        try await eventually("the cache has the new MAC") { try host.ip("neighbor show dev tl1").contains("10.32.1.2 lladdr 02:00:00:00:12:34") }
    }

    @Test("announcements have the bytes that the RFCs describe")
    func announcementBytes() throws {
        let mac = try mac("02:00:00:00:12:34")
        let arp = Announcement.frame(try address("10.32.1.2"), mac)
        #expect(arp.count == 42 && Array(arp[12..<22]) == [8, 6, 0, 1, 8, 0, 6, 4, 0, 1] && Array(arp[28..<32]) == [10, 32, 1, 2])
        let frame = Announcement.frame(try address("fd00:32::9"), mac)
        #expect(frame.count == 86 && Array(frame[..<6]) == [0x33, 0x33, 0, 0, 0, 1] && frame[54] == 136)
        // With its checksum in place the sum over pseudo-header and message is all ones.
        let words = Array(frame[22..<54]) + [0, 0, 0, 32, 0, 0, 0, 58] + Array(frame[54...])
        var sum = stride(from: 0, to: words.count, by: 2).reduce(0) { $0 + Int(words[$1]) << 8 + Int(words[$1 + 1]) }
        while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
        #expect(sum == 0xffff)
    }

    @Test("who listens behind a port is heard, also by an agent that comes later, and forgotten with the port")
    func listeners() async throws {
        var wanted = try wanted()
        // No guard is in the way of this container.
        wanted.bridgeFilter = nil
        try await settle(host.kernel, wanted)
        #expect(try await host.kernel.state(id).listened.isEmpty)
        try host.ip("address add 10.32.0.9/16 dev tl1")
        try host.ip("link set tl1 up")
        let group = try address("239.5.5.5")
        let listener = try Thread.run(in: host.descriptor, "listen") { () throws(KernelError) in socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0) }
        try #require(listener >= 0)
        defer { close(listener) }
        var request = ip_mreq()
        request.imr_multiaddr.s_addr = UInt32(truncatingIfNeeded: group.bits).bigEndian
        request.imr_interface.s_addr = UInt32(truncatingIfNeeded: try address("10.32.0.9").bits).bigEndian
        try #require(setsockopt(listener, Int32(IPPROTO_IP), Int32(IP_ADD_MEMBERSHIP), &request, socklen_t(MemoryLayout<ip_mreq>.size)) == 0)
        try await eventually("the bridge has heard of it") { try await host.kernel.state(id).listened == [group] }
        #expect(try await host.anotherKernel().state(id).listened == [group])
        #expect(try await host.kernel.state(id, fresh: true).listened == [group])
        await host.kernel.done([.deleteLink(id, "ep1")])
        #expect(try await host.kernel.state(id).listened.isEmpty)
    }
}
