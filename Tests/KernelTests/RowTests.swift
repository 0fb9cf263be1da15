import Addressing
import Fabric
import Glibc
import Testing

@testable import Kernel

@Suite("Rows", .enabled(if: isRoot, needsRoot), .timeLimit(.minutes(2)))
struct RowTests {
    let host: TestHost
    let id = NamespaceID.network(netA)
    init() throws { host = try TestHost() }

    /// One of each kind of object.
    private func wanted() throws -> NamespaceState {
        var state = NamespaceState()
        state.links["lo"] = Link(.loopback)
        state.links["vxlan"] = Link(
            .vxlan(VXLAN(vni: try #require(VNI(0x100001)), port: 7941, local: try address("192.0.2.1"))),
            mac: try mac("02:00:00:00:00:01"), mtu: 1450)
        state.links["ep1"] = Link(.veth, mtu: 1450, peer: VethPeer(name: "tl1", place: .namespace(.host)))
        state.addresses = [
            LinkAddress(link: "lo", address: try interface("10.32.0.1/32")),
            LinkAddress(link: "ep1", address: try interface("fd00:32::1/128")),
        ]
        state.neighbors = [
            NeighborKey(link: "vxlan", address: try address("fe80::ff:fe00:2")): try mac("02:00:00:00:00:02"),
            NeighborKey(link: "ep1", address: try address("10.32.0.9")): try mac("02:00:00:00:00:09"),
        ]
        state.forwarding = [ForwardingKey(link: "vxlan", mac: try mac("02:00:00:00:00:02")): try address("192.0.2.2")]
        let peer = try address("fe80::ff:fe00:2")
        state.routes = [
            RouteKey(destination: try prefix("10.32.0.9/32")): .link("ep1"),
            RouteKey(destination: try prefix("fd00:32::9/128")): .link("ep1"),
            RouteKey(destination: try prefix("10.32.16.0/20")): .via(peer, link: "vxlan"),
            RouteKey(destination: try prefix("fd00:32:0:1::/64")): .via(peer, link: "vxlan"),
            RouteKey(destination: try prefix("10.99.0.0/16")): .via(try address("10.1.2.3"), link: "ep1"),
            RouteKey(destination: try prefix("10.32.0.0/16"), metric: Desired.farMetric): .unreachable,
            RouteKey(destination: try prefix("fd00:32::/48"), metric: Desired.farMetric): .unreachable,
            RouteKey(destination: try prefix("0.0.0.0/0")): .via(try address("169.254.1.0"), link: "ep1"),
            RouteKey(destination: try prefix("::/0")): .via(try address("fe80::1"), link: "ep1"),
        ]
        state.sysctls = [
            "net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", "net/ipv4/conf/ep1/rp_filter": "0",
            "net/ipv4/conf/ep1/send_redirects": "0",
        ]
        return state
    }

    @Test("one of each kind is made as planned, observed as asked, not planned again, and deleted")
    func everything() async throws {
        let wanted = try wanted()
        let steps = Planner.plan(id, desired: wanted, observed: nil)
        await host.kernel.done(steps)
        for fresh in [false, true] {
            let state = try await host.kernel.state(id, fresh: fresh)
            #expect(Set(state.links.keys) == Set(wanted.links.keys))
            #expect(state.addresses == wanted.addresses)
            #expect(state.neighbors == wanted.neighbors)
            #expect(state.forwarding == wanted.forwarding)
            #expect(state.routes == wanted.routes)
            #expect(state.sysctls.merging(wanted.sysctls) { $1 } == state.sysctls)
            #expect(Planner.plan(id, desired: wanted, observed: state) == [])
        }
        await host.kernel.done(steps)
        #expect(try await host.kernel.state(id).routes == wanted.routes, "done twice is done once")

        var rest = wanted
        rest.addresses = []
        rest.neighbors = [:]
        rest.forwarding = [:]
        rest.routes = [:]
        let removal = Planner.plan(id, desired: rest, observed: try await host.kernel.state(id))
        await host.kernel.done(removal)
        await host.kernel.done(removal)
        let state = try await host.kernel.state(id, fresh: true)
        #expect(state.addresses.isEmpty && state.neighbors.isEmpty && state.forwarding.isEmpty && state.routes.isEmpty)
        #expect(state.links.count == 3)
        await host.kernel.done([.deleteNamespace(id), .deleteNamespace(id)])
        #expect(try await host.kernel.observe(id, fresh: false) == nil)
    }

    @Test("a route changes from each kind to each other kind, and there is one of it", arguments: ["10.5.0.0/16", "fd05::/64"])
    func transitions(destination: String) async throws {
        await host.kernel.done(Planner.plan(id, desired: try wanted(), observed: nil))
        let key = RouteKey(destination: try prefix(destination))
        let kinds: [RouteTarget] = [
            .link("ep1"), .via(try address("fe80::ff:fe00:2"), link: "vxlan"), .unreachable,
            .via(try address("fe80::ff:fe00:77"), link: "ep1"), .link("vxlan"),
            key.destination.family == .v4
                ? .sourced(try address("10.32.0.1"), via: try address("10.1.2.3"), link: "ep1")
                : .sourced(try address("fd00:32::1"), via: try address("fe80::1"), link: "ep1"),
        ]
        for from in kinds {
            for to in kinds {
                await host.kernel.done([.setRoute(id, key, from), .deleteRoute(id, key), .setRoute(id, key, from), .setRoute(id, key, to)])
                #expect(try await host.kernel.state(id).routes[key] == to)
                #expect(try await host.kernel.state(id, fresh: true).routes[key] == to, "from \(from) to \(to)")
            }
        }
    }

    @Test("steps for one route in one plan are done in their order")
    func order() async throws {
        await host.kernel.done(Planner.plan(id, desired: try wanted(), observed: nil))
        let key = RouteKey(destination: try prefix("10.5.0.0/16"))
        await host.kernel.done([.setRoute(id, key, .unreachable), .deleteRoute(id, key)])
        #expect(try await host.kernel.state(id, fresh: true).routes[key] == nil)
        await host.kernel.done([
            .setRoute(id, key, .link("ep1")), .setRoute(id, key, .link("vxlan")), .deleteRoute(id, key), .setRoute(id, key, .unreachable),
        ])
        #expect(try await host.kernel.state(id, fresh: true).routes[key] == .unreachable)
    }

    @Test("a route of several next hops is foreign, and gives way", arguments: ["10.5.0.0/16", "fd05::/64"])
    func multipath(destination: String) async throws {
        await host.kernel.done(Planner.plan(id, desired: try wanted(), observed: nil))
        let key = RouteKey(destination: try prefix(destination))
        let family = key.destination.family == .v6 ? "-6" : "-4"
        let hops = key.destination.family == .v6 ? ("via fe80::5", "via fe80::6") : ("via 10.1.1.1", "via 10.1.1.2")
        try host.ip("\(family) route add \(destination) nexthop \(hops.0) dev ep1 onlink nexthop \(hops.1) dev ep1 onlink", in: id)
        #expect(try await host.kernel.state(id).routes[key] == .foreign)
        await host.kernel.done([.setRoute(id, key, .unreachable)])
        #expect(try await host.kernel.state(id, fresh: true).routes[key] == .unreachable)
        await host.kernel.done([.deleteRoute(id, key)])
        #expect(try await host.kernel.state(id, fresh: true).routes[key] == nil)
    }

    @Test("several routes of one key, and routes with extras, are foreign and removed whole")
    func duplicates() async throws {
        await host.kernel.done(Planner.plan(id, desired: try wanted(), observed: nil))
        let double = RouteKey(destination: try prefix("10.5.0.0/16")), small = RouteKey(destination: try prefix("10.6.0.0/16"))
        try host.ip("route add 10.5.0.0/16 dev ep1", in: id)
        try host.ip("route append 10.5.0.0/16 dev vxlan", in: id)
        try host.ip("route add 10.5.0.0/16 tos 0x10 dev vxlan", in: id)
        try host.ip("route add 10.6.0.0/16 dev vxlan mtu 500", in: id)
        // By another maker and of another scope than ours, but to the same effect.
        let same = RouteKey(destination: try prefix("10.7.0.0/16"))
        try host.ip("route add 10.7.0.0/16 dev ep1 scope global proto static", in: id)
        let state = try await host.kernel.state(id)
        #expect(state.routes[same] == .link("ep1"))
        await host.kernel.done([.deleteRoute(id, same)])
        #expect(try await host.kernel.state(id, fresh: true).routes[same] == nil)
        #expect(state.routes[double] == .foreign && state.routes[small] == .foreign)
        await host.kernel.done([.deleteRoute(id, double), .setRoute(id, small, .link("ep1"))])
        let rest = try await host.kernel.state(id, fresh: true)
        #expect(rest.routes[double] == nil && rest.routes[small] == .link("ep1"))
    }

    @Test("deleting a route that is gone leaves the one with another metric")
    func otherMetric() async throws {
        await host.kernel.done([.createNamespace(id)])
        let near = RouteKey(destination: try prefix("10.32.0.0/16"))
        let far = RouteKey(destination: try prefix("10.32.0.0/16"), metric: Desired.farMetric)
        await host.kernel.done([.setRoute(id, far, .unreachable), .deleteRoute(id, near)])
        #expect(try await host.kernel.state(id, fresh: true).routes == [far: .unreachable])
    }

    @Test("12,000 rows are set, changed and read")
    func many() async throws {
        await host.kernel.done(Planner.plan(id, desired: try wanted(), observed: nil))
        var rows: [Step] = []
        var routes: [RouteKey: RouteTarget] = try wanted().routes
        for number in 0..<4000 {
            let mac = MACAddress.local(UInt64(number + 0x10000))
            let key = RouteKey(destination: IPPrefix(IPAddress(v4: 0x0a40_0000 + UInt32(number))))
            routes[key] = .via(mac.linkLocal, link: "vxlan")
            rows.append(.setNeighbor(id, NeighborKey(link: "vxlan", address: mac.linkLocal), mac))
            rows.append(.setForwarding(id, ForwardingKey(link: "vxlan", mac: mac), IPAddress(v4: 0xc000_0300 + UInt32(number))))
            rows.append(.setRoute(id, key, .via(mac.linkLocal, link: "vxlan")))
        }
        let clock = ContinuousClock()
        let time = await clock.measure { await host.kernel.done(rows) }
        let mirrored = try await host.kernel.state(id)
        #expect(mirrored.routes == routes)
        #expect(mirrored.neighbors.count == 4002 && mirrored.forwarding.count == 4001)
        var dumped = NamespaceState()
        let reading = try await clock.measure { dumped = try await host.kernel.state(id, fresh: true) }
        #expect(dumped.sysctls == mirrored.sysctls)
        #expect(dumped == mirrored)
        print("12,000 rows: \(time) to apply, \(reading) to read")
    }
}
