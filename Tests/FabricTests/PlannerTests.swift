import Addressing
import Fabric
import TestKit
import Testing

@Suite struct PlannerTests {
    let me = Sample.node(1)

    /// Plans and applies until nothing is left; the number of rounds.
    @discardableResult
    func converge(_ kernel: ModelKernel, _ desired: [NamespaceID: NamespaceState]) async throws -> Int {
        for round in 0..<6 {
            var isQuiet = true
            for id in Set(desired.keys).union(await kernel.namespaces()).sorted(by: >) {
                let steps = Planner.plan(id, desired: desired[id], observed: await kernel.observe(id, fresh: false))
                if steps.isEmpty { continue }
                isQuiet = false
                let failures = await kernel.apply(steps)
                #expect(failures.isEmpty, "\(failures)")
            }
            if isQuiet { return round }
        }
        Issue.record("the plan never becomes empty")
        return 6
    }

    func desired(_ networks: [NetworkObject], _ view: ClusterView, endpoints: [LocalEndpoint]) -> [NamespaceID: NamespaceState] {
        var all: [NamespaceID: NamespaceState] = [:]
        for network in networks {
            all[.network(network.id)] = Desired.network(
                network, view: view, me: me, endpoints: endpoints.filter { $0.network == network.id }, settings: Sample.settings)
        }
        let used = networks.filter { network in endpoints.contains { $0.network == network.id } }
        all[.host] = Desired.host(view: view, me: me, networks: used, underlay: "eth0", settings: Sample.settings)
        return all
    }

    @Test("a network with two containers is laid out, and a second look finds nothing to do")
    func layOut() async throws {
        let network = try Sample.network()
        let view = Sample.view([network])
        let kernel = ModelKernel()
        let wanted = desired([network], view, endpoints: [1, 2].map { Sample.endpoint($0, of: network) })
        try await converge(kernel, wanted)
        let state = try #require(await kernel.observe(.network(network.id), fresh: true))
        let block = try #require(IPPrefix("10.32.0.128/26"))
        let route = try #require(state.routes.first { $0.key.destination == block })
        #expect(route.value == .via(Sample.node(2).id.tunnelMAC.linkLocal, link: "vxlan"))
        #expect(state.forwarding.count == 2)
        #expect(state.links.keys.filter { $0.hasPrefix("ep") }.count == 2)
        await kernel.forgetHistory()
        try await converge(kernel, wanted)
        #expect(await kernel.history.isEmpty)
    }

    @Test("the last container takes the namespace and both ends of the egress pair with it")
    func lastLeaves() async throws {
        let network = try Sample.network()
        let view = Sample.view([network])
        let kernel = ModelKernel()
        try await converge(kernel, desired([network], view, endpoints: [Sample.endpoint(1, of: network)]))
        #expect(await kernel.observe(.host, fresh: true)?.links.count == 1)
        try await converge(kernel, desired([network], view, endpoints: []))
        #expect(await kernel.namespaces().isEmpty)
        #expect(await kernel.observe(.host, fresh: true)?.links.isEmpty == true)
    }

    @Test("the filter stands before any link does")
    func filterFirst() async throws {
        let network = try Sample.network()
        let wanted = desired([network], Sample.view([network]), endpoints: [Sample.endpoint(1, of: network)])
        let steps = Planner.plan(.network(network.id), desired: wanted[.network(network.id)], observed: nil)
        let filter = try #require(steps.firstIndex { if case .setFilter = $0 { true } else { false } })
        let link = try #require(steps.firstIndex { if case .createLink = $0 { true } else { false } })
        #expect(filter < link)
    }

    @Test("a guard leaves its set only after its link is gone")
    func guardLast() async throws {
        let network = try Sample.network()
        let view = Sample.view([network])
        let both = desired([network], view, endpoints: [1, 2].map { Sample.endpoint($0, of: network) })
        let one = desired([network], view, endpoints: [Sample.endpoint(1, of: network)])
        let id = NamespaceID.network(network.id)
        let steps = Planner.plan(id, desired: one[id], observed: both[id])
        let link = try #require(steps.firstIndex { if case .deleteLink = $0 { true } else { false } })
        let change = try #require(steps.firstIndex { if case .changeSet = $0 { true } else { false } })
        #expect(link < change)
    }

    @Test("a changed device is made anew with everything that hung on it")
    func changedDevice() async throws {
        let network = try Sample.network()
        let view = Sample.view([network])
        let kernel = ModelKernel()
        let wanted = desired([network], view, endpoints: [Sample.endpoint(1, of: network)])
        try await converge(kernel, wanted)
        let vni = try #require(VNI(99))
        await kernel.tamper(.network(network.id)) {
            $0.links["vxlan"]?.kind = .vxlan(VXLAN(vni: vni, port: 1, local: me.underlay))
        }
        try await converge(kernel, wanted)
        let state = try #require(await kernel.observe(.network(network.id), fresh: true))
        #expect(state.routes == wanted[.network(network.id)]?.routes)
    }

    @Test("whatever an adversary deletes or alters comes back, and nothing else is touched", arguments: 0..<200)
    func adversary(seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        let network = try Sample.network()
        let view = Sample.view([network], nodes: 6)
        let kernel = ModelKernel()
        let wanted = desired([network], view, endpoints: (1...3).map { Sample.endpoint($0, of: network) })
        try await converge(kernel, wanted)
        let id = NamespaceID.network(network.id)
        let before = await kernel.observe(id, fresh: true)
        await kernel.forgetHistory()
        let kind = Int.random(in: 0..<8, using: &random)
        await kernel.tamper(id) { state in
            switch kind {
            case 0: if let key = state.routes.keys.sorted(by: { $0.destination < $1.destination }).randomElement(using: &random) { state.routes[key] = nil }
            case 1: if let key = state.routes.keys.sorted(by: { $0.destination < $1.destination }).randomElement(using: &random) { state.routes[key] = .foreign }
            case 2: if let key = state.neighbors.keys.sorted(by: { $0.address < $1.address }).randomElement(using: &random) { state.neighbors[key] = MACAddress(bits: 1) }
            case 3: if let key = state.forwarding.keys.sorted(by: { $0.mac < $1.mac }).randomElement(using: &random) { state.forwarding[key] = nil }
            case 4: state.links["vxlan"]?.mtu = 99
            case 5: state.links["vxlan"]?.mac = MACAddress(bits: 0x02)
            case 6: state.addresses = []
            default: state.filter = nil
            }
        }
        try await converge(kernel, wanted)
        #expect(await kernel.observe(id, fresh: true) == before)
        #expect(await kernel.history.count <= 6)
    }

    @Test("the kernel's state depends on where we are, not on how we came there", arguments: 0..<60)
    func pathIndependence(seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        let networks = try [Sample.network(1), Sample.network(2), Sample.network(3, isInternal: true)]
        let view = Sample.view(networks)
        let pool = networks.flatMap { network in (1...3).map { Sample.endpoint($0, of: network) } }
        let wandering = ModelKernel()
        var present: Set<LocalEndpoint> = []
        for _ in 0..<12 {
            guard let endpoint = pool.randomElement(using: &random) else { continue }
            if present.remove(endpoint) == nil { present.insert(endpoint) }
            // Sometimes several changes at once.
            if Bool.random(using: &random) { try await converge(wandering, desired(networks, view, endpoints: Array(present))) }
        }
        let last = desired(networks, view, endpoints: Array(present))
        try await converge(wandering, last)
        let straight = ModelKernel()
        try await converge(straight, last)
        let (one, other) = (await wandering.states, await straight.states)
        for id in Set(one.keys).union(other.keys) {
            #expect(one[id]?.links == other[id]?.links)
            #expect(one[id]?.routes == other[id]?.routes)
            #expect(one[id]?.addresses == other[id]?.addresses)
            #expect(one[id]?.neighbors == other[id]?.neighbors)
            #expect(one[id]?.filter == other[id]?.filter)
        }
    }

    @Test("a failed link stops what hangs on it and nothing else")
    func failedLink() async throws {
        let network = try Sample.network()
        let kernel = ModelKernel()
        let broken = Sample.endpoint(1, of: network), fine = Sample.endpoint(2, of: network)
        await kernel.setFault { step in
            if case .createLink(_, broken.outerLink, _) = step { "no space" } else { nil }
        }
        let wanted = desired([network], Sample.view([network]), endpoints: [broken, fine])
        let id = NamespaceID.network(network.id)
        let failures = await kernel.apply(Planner.plan(id, desired: wanted[id], observed: nil))
        #expect(!failures.isEmpty)
        #expect(failures.allSatisfy { $0.step.link == broken.outerLink })
        let state = try #require(await kernel.observe(id, fresh: true))
        #expect(state.routes[RouteKey(destination: IPPrefix(fine.addresses[0]))] == .link(fine.outerLink))
    }
}
