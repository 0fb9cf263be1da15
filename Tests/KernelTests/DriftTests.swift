import Addressing
import Fabric
import Glibc
import Testing

@testable import Kernel

@Suite("Drift", .enabled(if: isRoot, needsRoot), .timeLimit(.minutes(2)))
struct DriftTests {
    let host: TestHost
    let id = NamespaceID.network(netA)
    init() throws { host = try TestHost() }

    /// A namespace with a tunnel, two pairs, addresses, and rows of each kind on each.
    private func populate(_ kernel: LinuxKernel) async throws {
        let vxlan = VXLAN(vni: try #require(VNI(0x100001)), port: 7941, local: try address("192.0.2.1"))
        var steps: [Step] = [
            .createNamespace(id), .changeLink(id, "lo", mac: nil, mtu: nil, isUp: true, sandbox: nil),
            .createLink(id, "vxlan", Link(.vxlan(vxlan), mac: try mac("02:00:00:00:00:01"), mtu: 1450)),
        ]
        for number in 1...2 {
            let name = "ep\(number)"
            steps += [
                .createLink(id, name, Link(.veth, mtu: 1450, peer: VethPeer(name: "tl\(number)", place: .namespace(.host)))),
                .addAddress(id, LinkAddress(link: name, address: try interface("10.32.\(number).1/24"))),
                .addAddress(id, LinkAddress(link: name, address: try interface("fd00:\(number)::1/64"))),
                .setNeighbor(id, NeighborKey(link: name, address: try address("10.32.\(number).9")), try mac("02:00:00:00:00:09")),
                .setRoute(id, RouteKey(destination: try prefix("10.9\(number).0.0/16")), .via(try address("10.32.\(number).9"), link: name)),
                .setRoute(id, RouteKey(destination: try prefix("fd09:\(number)::/64")), .link(name)),
            ]
        }
        let far = try mac("02:00:00:00:00:02")
        steps += [
            .setForwarding(id, ForwardingKey(link: "vxlan", mac: far), try address("192.0.2.2")),
            .setNeighbor(id, NeighborKey(link: "vxlan", address: far.linkLocal), far),
            .setRoute(id, RouteKey(destination: try prefix("10.80.0.0/16")), .via(far.linkLocal, link: "vxlan")),
        ]
        await kernel.done(steps)
    }

    @Test(
        "what somebody else does is heard, and seen without a new dump",
        arguments: [
            "link set ep1 mtu 1300", "link set ep1 down", "link set ep1 address 02:00:00:00:00:77", "link delete ep1",
            "link set ep1 down name other", "address delete 10.32.1.1/24 dev ep1", "address add 10.1.1.1/32 dev ep2",
            "-6 address delete fd00:1::1/64 dev ep1", "-6 address flush dev ep2", "neighbor delete 10.32.1.9 dev ep1",
            "neighbor replace 10.32.1.9 lladdr 02:00:00:00:00:66 dev ep1", "neighbor replace 10.32.1.9 lladdr 02:00:00:00:00:09 dev ep1 nud stale",
            "neighbor flush dev vxlan nud permanent", "route delete 10.91.0.0/16", "route replace 10.91.0.0/16 dev ep2",
            "route replace unreachable 10.91.0.0/16", "route add 10.70.0.0/16 dev ep1", "-6 route delete fd09:1::/64",
            "-6 route replace fd09:1::/64 via fe80::5 dev ep2", "-6 route append fd09:1::/64 via fe80::5 dev ep2",
            "route append 10.91.0.0/16 dev ep2", "route flush dev ep1", "-6 route flush dev ep1",
        ])
    func drift(command: String) async throws {
        try await populate(host.kernel)
        let before = try await host.kernel.state(id)
        let changes = await host.kernel.changes()
        try host.ip(command, in: id)
        await expectChange(of: id, in: changes)
        let mirrored = try await host.kernel.state(id)
        #expect(mirrored != before)
        #expect(try await host.kernel.state(id, fresh: true) == mirrored)
    }

    @Test(
        "what somebody else does to a forwarding row is heard and seen",
        arguments: [
            "delete 02:00:00:00:00:02 dev vxlan", "replace 02:00:00:00:00:02 dev vxlan dst 192.0.2.9",
            "replace 02:00:00:00:00:02 dev vxlan dst 192.0.2.2 port 4789", "replace 02:00:00:00:00:02 dev vxlan dst 192.0.2.2 vni 7",
            "add 02:00:00:00:00:05 dev vxlan dst 192.0.2.5",
        ])
    func forwarding(command: String) async throws {
        try await populate(host.kernel)
        let before = try await host.kernel.state(id)
        let changes = await host.kernel.changes()
        try host.run(["bridge", "fdb"] + command.split(separator: " ").map(String.init), in: id)
        await expectChange(of: id, in: changes)
        let mirrored = try await host.kernel.state(id)
        #expect(mirrored.forwarding != before.forwarding)
        #expect(try await host.kernel.state(id, fresh: true) == mirrored)
    }

    @Test("after any sequence of changes the mirror is what a new dump says", arguments: 0..<12)
    func anySequence(seed: Int) async throws {
        var random = SeededRandom(seed: UInt64(seed))
        try await populate(host.kernel)
        for round in 0..<4 {
            var script = ""
            for _ in 0..<25 { script += randomCommand(&random) + "\n" }
            // Many of these fail: what they ask for was deleted before.
            _ = try host.execute(["sh", "-c", "printf '%s' '\(script)' | while read -r line; do $line; done"], in: id)
            let mirrored = try await host.kernel.state(id)
            let dumped = try await host.kernel.state(id, fresh: true)
            // Sysctls have no notifications; new links bring theirs.
            #expect(mirrored == dumped, "seed \(seed), round \(round), after:\n\(script)")
            if mirrored != dumped { return }
        }
    }

    private func randomCommand(_ random: inout SeededRandom) -> String {
        func pick(_ choices: String...) -> String { choices[Int.random(in: 0..<choices.count, using: &random)] }
        let link = pick("ep1", "ep2", "vxlan", "lo", "new")
        let host = Int.random(in: 1...3, using: &random)
        let verb = pick("add", "replace", "delete", "append")
        switch Int.random(in: 0..<10, using: &random) {
        case 0: return "ip link set \(link) \(pick("up", "down"))"
        case 1: return "ip link \(pick("add new type veth peer name far", "delete new", "set new name newer", "set newer name new", "set new mtu 1300"))"
        case 2: return "ip address \(pick("add", "delete")) 10.\(host).0.1/\(pick("16", "24")) dev \(link)"
        case 3: return "ip -6 address \(pick("add", "delete")) fd0\(host)::1/64 dev \(link)"
        case 4: return "ip neighbor \(pick("replace", "delete")) 10.\(host).0.9 lladdr 02:00:00:00:00:0\(host) dev \(link) nud \(pick("permanent", "stale"))"
        case 5: return "bridge fdb \(pick("replace", "delete", "append")) 02:00:00:00:00:0\(host) dev vxlan dst 192.0.2.\(pick("2", "3"))"
        case 6: return "ip route \(verb) 10.10\(host).0.0/16 \(pick("dev \(link)", "via 10.\(host).0.9 dev \(link) onlink"))"
        case 7: return "ip route \(verb) unreachable 10.10\(host).0.0/16 metric \(pick("0", "50"))"
        case 8: return "ip -6 route \(verb) fd1\(host)::/64 \(pick("dev \(link)", "via fe80::\(host) dev \(link)"))"
        default: return "ip route \(verb) 10.10\(host).0.0/16 nexthop dev ep1 nexthop dev ep2"
        }
    }

    @Test("changes that were lost because too many came are read anew")
    func overrun() async throws {
        let small = try TestHost(monitorRoom: 4096)
        try await populate(small.kernel)
        let before = try await small.kernel.state(id)
        let changes = await small.kernel.changes()
        // More than the kernel's thread can have read between two of them, in one process.
        let script = (0..<3000).map { "route add 10.\(100 + $0 / 250).\($0 % 250).0/24 dev ep1\n" }.joined()
        _ = try small.execute(["sh", "-c", "printf '%s' '\(script)' | ip -batch -"], in: id)
        await expectChange(of: id, in: changes)
        let state = try await small.kernel.state(id)
        #expect(state.routes.count == before.routes.count + 3000)
        #expect(try await small.kernel.state(id, fresh: true) == state)
    }

    @Test("a change of the host's own addresses is heard")
    func underlay() async throws {
        let changes = await host.kernel.changes()
        try host.ip("address add 192.0.2.1/32 dev lo")
        await expectChange(of: .host, in: changes)
    }

    @Test("a restarted agent observes what the first one made, and hears of changes")
    func restart() async throws {
        try await populate(host.kernel)
        let state = try await host.kernel.state(id)
        let second = try host.anotherKernel()
        #expect(try await second.namespaces().map(\.pinName) == [id.pinName])
        #expect(try await second.state(id) == state)
        let changes = await second.changes()
        await host.kernel.done([.setRoute(id, RouteKey(destination: try prefix("10.77.0.0/16")), .link("ep1"))])
        await expectChange(of: id, in: changes)
        let mirrored = try await second.state(id), own = try await host.kernel.state(id)
        #expect(mirrored == own)
    }

    @Test("a neighbour that the kernel learns is nobody's business")
    func dynamicNeighbors() async throws {
        try await populate(host.kernel)
        let state = try await host.kernel.state(id)
        try host.ip("neighbor add 10.32.1.77 lladdr 02:00:00:00:00:77 dev ep1 nud reachable", in: id)
        #expect(try await host.kernel.state(id) == state)
        #expect(try await host.kernel.state(id, fresh: true) == state)
    }
}

/// SplitMix64: the same sequence for the same seed.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
