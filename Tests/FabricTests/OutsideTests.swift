import Addressing
import Fabric
import Testing

/// What is laid out between a network and its host.
@Suite struct OutsideTests {
    let me = Sample.node(1)

    private func layOut(
        _ network: NetworkObject, exposed: Bool, has hostAddresses: Set<IPAddress> = []
    ) -> (network: NamespaceState?, host: NamespaceState) {
        let view = Sample.view([network])
        var endpoints = [Sample.endpoint(1, of: network)]
        if exposed {
            var host = Sample.endpoint(9, of: network)
            host.id = .host(me.id, network.id)
            endpoints.append(host)
        }
        return (
            Desired.network(network, view: view, me: me, endpoints: endpoints, settings: Sample.settings),
            Desired.host(
                view: view, me: me, networks: [network], exposures: endpoints.filter(\.id.isHost), hostAddresses: hostAddresses, underlay: "eth0",
                settings: Sample.settings)
        )
    }

    @Test("an exposure adds the host's address and one route for each family, and no container's link")
    func exposure() throws {
        let network = try Sample.network()
        let (before, after) = (layOut(network, exposed: false), layOut(network, exposed: true))
        #expect(after.network?.links == before.network?.links)
        #expect(after.host.routes.count == 2 && before.host.routes.isEmpty)
        #expect(after.host.addresses.subtracting(before.host.addresses).count == 2)
        #expect((after.network?.routes.count ?? 0) - (before.network?.routes.count ?? 0) == 2)
        // Into the network goes the host's own address only.
        let rules = after.network?.filter?.chains["forward"]?.rules ?? []
        #expect(rules.contains { $0.contains("iifname out") && $0.contains("ip saddr 10.32.0.10/32") && $0.hasSuffix("accept") })
        #expect(rules.filter { $0.contains("iifname out") && $0.hasSuffix("accept") }.count == 3)
    }

    @Test("an internal network has a pair only while a host has joined it, and never a way out")
    func internalNetwork() throws {
        let network = try Sample.network(isInternal: true)
        #expect(layOut(network, exposed: false).network?.links[Desired.egressLink] == nil)
        let state = try #require(layOut(network, exposed: true).network)
        #expect(state.links[Desired.egressLink] != nil)
        #expect(state.routes.keys.allSatisfy { $0.destination.length > 0 })
        #expect(state.filter?.chains["nat"] == nil)
        #expect(state.filter?.chains["forward"]?.rules.last == "oifname out counter name transit drop")
    }

    @Test("an address that is another node's by now is the host's no more")
    func lost() throws {
        let network = try Sample.network()
        var view = Sample.view([network])
        var host = Sample.endpoint(9, of: network)
        host.id = .host(me.id, network.id)
        for address in host.addresses { _ = view.set(.address(network.id, address, AddressObject(node: Sample.node(2).id))) }
        let state = Desired.host(view: view, me: me, networks: [network], exposures: [host], underlay: "eth0", settings: Sample.settings)
        #expect(state.routes.isEmpty)
    }

    @Test("a chosen source address is used where the host has it, before masquerading")
    func sources() throws {
        var network = try Sample.network()
        network.options[Egress.option] = "192.0.2.7,2001:db8::7"
        let mine = try #require(IPAddress("192.0.2.7"))
        let rules = layOut(network, exposed: false, has: [mine]).host.filter?.chains["nat"]?.rules ?? []
        #expect(rules.count == 3 && rules[0].hasSuffix("snat ip to 192.0.2.7"))
        #expect(layOut(network, exposed: false).host.filter?.chains["nat"]?.rules.count == 2)
    }

    @Test("words for the way out are read, and what is none is not", arguments: [
        ("masquerade", true), ("none", true), ("192.0.2.1", true), ("2001:db8::1,192.0.2.1", true), ("", false), ("192.0.2.1,", false),
        ("192.0.2.1,192.0.2.2", false), ("127.0.0.1", false), ("0.0.0.0", false), ("224.0.0.1", false), ("fe80::1", false), ("None", false),
    ])
    func words(text: String, isGood: Bool) {
        #expect((Egress(text) != nil) == isGood)
    }

    @Test("a way out that only a newer version understands is none")
    func newer() throws {
        var network = try Sample.network()
        network.options[Egress.option] = "by-carrier-pigeon"
        #expect(!network.hasWayOut)
    }

    @Test("with published ports a container leaves over IPv6 by the network, without a default route of it")
    func halves() throws {
        let network = try Sample.network()
        let addresses = Sample.endpoint(1, of: network).addresses
        let routes = Desired.containerRoutes(network, addresses: addresses, hasGateway: false).map(\.destination.description)
        #expect(routes.contains("::/1") && routes.contains("8000::/1") && !routes.contains("0.0.0.0/0"))
        #expect(Desired.containerRoutes(network, addresses: addresses, hasGateway: true).count == 4)
        var inner = network
        inner.isInternal = true
        #expect(Desired.containerRoutes(inner, addresses: addresses, hasGateway: false).count == 4)
    }
}
