import Addressing
import Fabric
import TestKit
import Testing

/// A switched network's part of desired states and plans.
@Suite struct SwitchedTests {
    let me = Sample.node(1)
    let network: NetworkObject
    let id: NamespaceID

    init() throws {
        var network = try Sample.network()
        network.mode = .switched
        self.network = network
        id = .network(network.id)
    }

    /// An endpoint on that node, with the first address of the node's block in each subnet.
    private func remote(_ number: Int, created: Int = 0, mac: MACAddress? = nil) -> EndpointObject {
        let addresses = network.subnets.compactMap { $0.prefix.block(UInt128(number), length: $0.blockLength)?.first.advanced(by: 5) }
        return EndpointObject(
            id: EndpointID("remote-\(number)-\(created)"), network: network.id, node: Sample.node(number).id, name: nil, addresses: addresses,
            mac: mac ?? LocalEndpoint.mac(for: addresses[0]), created: created)
    }

    private func view(_ remotes: [EndpointObject], groups: [GroupsObject] = [], nodes: Int = 4) -> ClusterView {
        var view = Sample.view([network], nodes: nodes)
        for remote in remotes { _ = view.set(.endpoint(network.id, remote.id, remote)) }
        for group in groups { _ = view.set(.groups(network.id, group.node, group)) }
        return view
    }

    private func desired(_ view: ClusterView, endpoints: [LocalEndpoint]? = nil) throws -> NamespaceState {
        try #require(
            Desired.network(
                network, view: view, me: me, endpoints: endpoints ?? [1, 2].map { Sample.endpoint($0, of: network) }, settings: Sample.settings))
    }

    private func converge(_ kernel: ModelKernel, _ wanted: NamespaceState) async throws {
        for _ in 0..<5 {
            let steps = Planner.plan(id, desired: wanted, observed: await kernel.observe(id, fresh: true))
            if steps.isEmpty { return }
            let failures = await kernel.apply(steps)
            #expect(failures.isEmpty, "\(failures)")
        }
        Issue.record("the plan never becomes empty")
    }

    @Test("each MAC of the network is behind one port, and each address has its MAC: here, and on the other nodes")
    func rows() async throws {
        let (two, three) = (remote(2), remote(3))
        let state = try desired(view([two, three]))
        let mine = [1, 2].map { Sample.endpoint($0, of: network) }
        #expect(state.stations == [two.mac: "vxlan", three.mac: "vxlan", mine[0].mac: mine[0].outerLink, mine[1].mac: mine[1].outerLink])
        #expect(state.forwarding.count == 2)
        #expect(state.forwarding[ForwardingKey(link: "vxlan", mac: two.mac)] == Sample.node(2).underlay)
        #expect(state.floods == [2, 3].reduce(into: []) { $0.insert(FloodRow(link: "vxlan", remote: Sample.node($1).underlay)) })
        for (mac, addresses) in [(two.mac, two.addresses), (three.mac, three.addresses), (mine[0].mac, mine[0].addresses)] {
            for address in addresses + [mac.linkLocal] { #expect(state.neighbors[NeighborKey(link: "br0", address: address)] == mac) }
        }
        // The subnet is on the bridge, with the gateway's one MAC.
        #expect(state.addresses.contains { $0.link == "br0" && $0.address.description == "10.32.0.1/16" })
        #expect(state.links["br0"]?.mac == Desired.gatewayMAC(network))
        #expect(state.routes.keys.allSatisfy { $0.destination.length == 0 })
    }

    @Test("who holds an address is what blocks say, not what an endpoint says of itself")
    func holder() throws {
        var thief = remote(2)
        thief.addresses = [Sample.endpoint(1, of: network).addresses[0], remote(3).addresses[0]]
        let state = try desired(view([thief]))
        #expect(state.stations[thief.mac] == nil && state.floods.isEmpty)
    }

    @Test("the newer of two endpoints with one address counts, so that a container made again is followed")
    func newer() throws {
        let old = remote(2, created: 5), new = remote(2, created: 6, mac: MACAddress(bits: 0x02_0000_00ab_cdef))
        let state = try desired(view([old, new]))
        #expect(state.neighbors[NeighborKey(link: "br0", address: new.addresses[0])] == new.mac)
    }

    @Test("a MAC that is the gateway's, everybody's or nobody's gets no row", arguments: [0, 0x0100_5e00_0001, 0xffff_ffff_ffff, -1])
    func unusable(bits: Int) throws {
        let mac = bits < 0 ? Desired.gatewayMAC(network) : MACAddress(bits: UInt64(bits))
        let state = try desired(view([remote(2, mac: mac)]))
        #expect(state.stations[mac] == nil && state.forwarding.isEmpty && state.floods.isEmpty)
    }

    @Test("multicast goes to who listens, if it has endpoints; a node with more groups than it can say gets all")
    func groups() throws {
        let group = try #require(IPAddress("239.1.1.1")), other = try #require(IPAddress("ff05::7")), local = try #require(IPAddress("224.0.0.9"))
        func groups(_ node: Int, _ all: Set<IPAddress>) -> GroupsObject {
            GroupsObject(network: network.id, node: Sample.node(node).id, listened: all)
        }
        let remotes = [remote(2), remote(3)]
        // Node 4 has no endpoint of the network.
        var state = try desired(view(remotes, groups: [groups(2, [group, local]), groups(3, [other]), groups(4, [group])]))
        #expect(state.groups == [
            GroupRow(link: "vxlan", group: group, remote: Sample.node(2).underlay), GroupRow(link: "vxlan", group: other, remote: Sample.node(3).underlay),
        ])
        #expect(state.bridgeFilter?.sets["groups4"]?.elements == [.address(group)])
        #expect(state.bridgeFilter?.sets["groups6"]?.elements == [.address(other)])
        #expect(state.bridgeFilter?.chains["tunnel"]?.rules.contains { $0.contains("unheard") } == true)

        let many = Set((0..<600).compactMap { IPAddress("239.7.\($0 / 250).\($0 % 250 + 1)") })
        let talker = groups(3, many)
        #expect(talker.groups.count == GroupsObject.most && talker.hasMore == true)
        state = try desired(view(remotes, groups: [groups(2, [group]), talker]))
        #expect(state.groups.contains(GroupRow(link: "vxlan", group: group, remote: Sample.node(3).underlay)))
        #expect(state.bridgeFilter?.chains["tunnel"]?.rules.contains { $0.contains("unheard") } == false)
    }

    @Test("what passes from port to port is filtered before there is a port, and the tunnel knows a MAC before the bridge sends it there")
    func order() throws {
        let steps = Planner.plan(id, desired: try desired(view([remote(2)])), observed: nil)
        func first(_ matches: (Step) -> Bool) throws -> Int {
            let index = steps.firstIndex(where: matches)
            return try #require(index)
        }
        let filter = try first { if case .setBridgeFilter = $0 { true } else { false } }
        let bridge = try first { if case .createLink(_, "br0", _) = $0 { true } else { false } }
        let port = try first { if case .setPort = $0 { true } else { false } }
        let tunnel = try first { if case .setForwarding = $0 { true } else { false } }
        let station = try first { if case .setStation(_, _, port: "vxlan") = $0 { true } else { false } }
        #expect(filter < bridge && bridge < port && port < tunnel && tunnel < station)
    }

    @Test("whatever an adversary deletes or alters comes back, and nothing else is touched", arguments: 0..<11)
    func adversary(kind: Int) async throws {
        let group = GroupsObject(network: network.id, node: Sample.node(2).id, listened: [try #require(IPAddress("239.1.1.1"))])
        let wanted = try desired(view([remote(2), remote(3)], groups: [group]))
        let kernel = ModelKernel()
        try await converge(kernel, wanted)
        let before = await kernel.observe(id, fresh: true)
        await kernel.forgetHistory()
        let station = remote(2).mac
        await kernel.tamper(id) { state in
            switch kind {
            case 0: state.stations[station] = nil
            case 1: state.stations[station] = "epffffffffffff"
            case 2: state.stations[MACAddress(bits: 7)] = "vxlan"
            case 3: state.floods.removeFirst()
            case 4: state.floods.insert(FloodRow(link: "vxlan", remote: IPAddress(v4: 1)))
            case 5: state.groups = []
            case 6: state.groups.insert(GroupRow(link: "vxlan", group: IPAddress(v4: 0xef00_0009), remote: IPAddress(v4: 1)))
            case 7: state.links["vxlan"]?.port?.learns = true
            case 8: state.links["vxlan"]?.port = nil
            case 9: state.links["br0"]?.bridge?.queries = false
            default: state.bridgeFilter?.sets["guards4"]?.elements = []
            }
        }
        try await converge(kernel, wanted)
        #expect(await kernel.observe(id, fresh: true) == before)
        #expect(await kernel.history.count <= 2)
    }

    @Test("a bridge that was deleted comes back with its ports and rows")
    func bridgeGone() async throws {
        let wanted = try desired(view([remote(2)]))
        let kernel = ModelKernel()
        try await converge(kernel, wanted)
        let before = await kernel.observe(id, fresh: true)
        _ = await kernel.apply([.deleteLink(id, "br0")])
        try await converge(kernel, wanted)
        #expect(await kernel.observe(id, fresh: true) == before)
    }

    @Test("a kernel without groups of its own for the tunnel is not asked for them again")
    func olderKernel() throws {
        let group = GroupsObject(network: network.id, node: Sample.node(2).id, listened: [try #require(IPAddress("239.1.1.1"))])
        let wanted = try desired(view([remote(2)], groups: [group]))
        var observed = wanted
        observed.groups = []
        #expect(Planner.plan(id, desired: wanted, observed: observed) == wanted.groups.map { .addGroup(id, $0) })
        observed.lacksGroups = true
        #expect(Planner.plan(id, desired: wanted, observed: observed).isEmpty)
    }

    @Test("a routed network has none of it")
    func routed() throws {
        let plain = try Sample.network()
        let state = try #require(
            Desired.network(plain, view: Sample.view([plain]), me: me, endpoints: [Sample.endpoint(1, of: plain)], settings: Sample.settings))
        #expect(state.stations.isEmpty && state.floods.isEmpty && state.groups.isEmpty && state.bridgeFilter == nil && state.links["br0"] == nil)
        #expect(plain.v == storeFormat && network.v == modeFormat)
    }
}
