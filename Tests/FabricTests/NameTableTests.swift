import Addressing
import DNS
import Fabric
import TestKit
import Testing

@Suite("names")
struct NameTableTests {
    static let me = NodeID(random: 1), other = NodeID(random: 2), third = NodeID(random: 3)
    static let shop = NetworkID(random: 11), bank = NetworkID(random: 12)

    static func network(_ id: NetworkID, _ name: String) -> NetworkObject {
        NetworkObject(
            id: id, key: id.description, name: name, state: .active, vni: VNI(1_000_000)!, subnets: [], isInternal: false, mtu: nil, options: [:],
            addressOptions: [:], origin: me)
    }

    static func endpoint(_ name: String?, _ addresses: [String], on network: NetworkID = shop, node: NodeID = other, _ names: ContainerNames? = nil) -> EndpointObject {
        var object = EndpointObject(
            id: EndpointID("\(name ?? "-")\(addresses)"), network: network, node: node, name: name, addresses: addresses.compactMap { IPAddress($0) },
            mac: MACAddress.local(1), created: 0)
        object.names = names
        return object
    }

    static func table(_ endpoints: [EndpointObject], alive: Set<NodeID> = [me, other, third]) -> NameTable {
        var view = ClusterView()
        view.networks = [shop: network(shop, "Shop"), bank: network(bank, "bank")]
        view.alive = alive
        for endpoint in endpoints { _ = view.set(.endpoint(endpoint.network, endpoint.id, endpoint)) }
        var table = NameTable(me: me)
        table.replace(view, isHeard: true)
        return table
    }

    static func ask(_ table: NameTable, _ name: String, _ type: DNSType = .a, in networks: [NetworkID] = [shop], rotation: Int = 0) throws -> [String]? {
        let answer = table.answer(DNSQuestion(try #require(DNSName(name)), type), asking: networks, rotation: rotation)
        return answer?.answers.map { "\($0.data)" }
    }

    static let web = endpoint(
        "Web", ["10.32.0.2", "fd00::2"],
        ContainerNames(
            container: "0123456789abcdef", hostname: "front", aliases: ["www", "a.b.c", "*.cdn.x"], ports: [PublishedPort(port: 80, protocol: "tcp")]))

    @Test(
        "a container is found by name, name.network, hostname, short id, aliases with and without dots, in any case",
        arguments: ["web", "WEB", "web.shop", "Web.SHOP.", "front", "front.shop", "0123456789ab", "www", "www.shop", "a.b.c", "a.b.c.shop"])
    func names(name: String) throws {
        #expect(try Self.ask(Self.table([Self.web]), name) == ["10.32.0.2"])
        #expect(try Self.ask(Self.table([Self.web]), name, .aaaa) == ["fd00::2"])
    }

    @Test("a wildcard covers all names below it, and not the one itself nor what has a name of its own")
    func wildcards() throws {
        let table = Self.table([Self.web, Self.endpoint("own.cdn.x", ["10.32.0.9"])])
        #expect(try Self.ask(table, "a.cdn.x") == ["10.32.0.2"])
        #expect(try Self.ask(table, "b.a.cdn.x") == ["10.32.0.2"])
        #expect(try Self.ask(table, "b.a.cdn.x.shop") == ["10.32.0.2"])
        #expect(try Self.ask(table, "own.cdn.x") == ["10.32.0.9"])
        #expect(try Self.ask(table, "cdn.x") == nil)
    }

    @Test("all addresses of a name are told, another one first each time")
    func rotation() throws {
        let table = Self.table((1...3).map { Self.endpoint("c\($0)", ["10.32.0.\($0)"], node: $0 == 1 ? Self.other : Self.third, ContainerNames(container: "c\($0)", aliases: ["web"])) })
        let answers = try (0..<3).map { try Self.ask(table, "web", rotation: $0) ?? [] }
        #expect(answers.map(\.first) == ["10.32.0.1", "10.32.0.2", "10.32.0.3"])
        for answer in answers { #expect(answer.sorted() == ["10.32.0.1", "10.32.0.2", "10.32.0.3"]) }
    }

    @Test("a known name without an address of that family, or a record of that type, is answered with nothing and for how long", arguments: [DNSType.aaaa, DNSType(15), .srv])
    func nothing(type: DNSType) throws {
        let table = Self.table([Self.endpoint("web", ["10.32.0.2"])])
        let name = try #require(DNSName("web"))
        let answer = try #require(table.answer(DNSQuestion(name, type), asking: [Self.shop], rotation: 0))
        #expect(answer.answers == [] && answer.authorities.map(\.type) == [.soa])
    }

    @Test("what nobody is called, and what is of a network that the asker is not in, is not ours")
    func others() throws {
        let table = Self.table([Self.web, Self.endpoint("safe", ["10.33.0.1"], on: Self.bank)])
        #expect(try Self.ask(table, "example.com") == nil)
        #expect(try Self.ask(table, "safe") == nil)
        #expect(try Self.ask(table, "safe.bank") == nil)
        #expect(try Self.ask(table, "1.0.33.10.in-addr.arpa", .ptr) == nil)
        #expect(try Self.ask(table, "safe", in: [Self.shop, Self.bank]) == ["10.33.0.1"])
        #expect(try Self.ask(table, "web", in: []) == nil)
        let name = try #require(DNSName("web"))
        #expect(table.answer(DNSQuestion(name, .a, kind: 3), asking: [Self.shop], rotation: 0) == nil)
    }

    @Test("the first of the asker's networks that knows a name answers")
    func order() throws {
        let table = Self.table([Self.web, Self.endpoint("web", ["10.33.0.1"], on: Self.bank)])
        #expect(try Self.ask(table, "web", in: [Self.bank, Self.shop]) == ["10.33.0.1"])
        #expect(try Self.ask(table, "web", in: [Self.shop, Self.bank]) == ["10.32.0.2"])
        #expect(try Self.ask(table, "web.bank", in: [Self.shop, Self.bank]) == ["10.33.0.1"])
    }

    @Test("an address is called name.network, in both families")
    func reverse() throws {
        let table = Self.table([Self.web])
        #expect(try Self.ask(table, "2.0.32.10.in-addr.arpa", .ptr) == ["Web.shop"])
        let digits = "2." + String(repeating: "0.", count: 27) + "0.0.d.f"
        #expect(try Self.ask(table, digits + ".IP6.arpa", .ptr) == ["Web.shop"])
        #expect(try Self.ask(table, "9.0.32.10.in-addr.arpa", .ptr) == nil)
        #expect(try Self.ask(table, "300.0.32.10.in-addr.arpa", .ptr) == nil)
    }

    @Test("a published port is a service, with the addresses beside")
    func services() throws {
        let table = Self.table([Self.web])
        let name = try #require(DNSName("_80._TCP.www"))
        let answer = try #require(table.answer(DNSQuestion(name, .srv), asking: [Self.shop], rotation: 0))
        #expect(answer.answers.map { "\($0.data)" } == ["0 1 80 Web.shop"])
        #expect(answer.additionals.map { "\($0.name) \($0.data)" } == ["Web.shop 10.32.0.2", "Web.shop fd00::2"])
        #expect(try Self.ask(table, "_81._tcp.www", .srv) == nil)
        #expect(try Self.ask(table, "_80._udp.www", .srv) == nil)
    }

    @Test("names of a node that is not alive are withheld until it is; before the store was heard of, all count; a removed one never")
    func alive() throws {
        var table = Self.table([Self.web], alive: [Self.me])
        #expect(try Self.ask(table, "web") == nil)
        #expect(try Self.ask(table, "2.0.32.10.in-addr.arpa", .ptr) == nil)
        table.set(.alive(Self.other, true))
        #expect(try Self.ask(table, "web") == ["10.32.0.2"])
        table.set(.alive(Self.other, false))
        #expect(try Self.ask(table, "web") == nil)
        var view = ClusterView()
        _ = view.set(.endpoint(Self.shop, Self.web.id, Self.web))
        table.replace(view, isHeard: false)
        #expect(try Self.ask(table, "web") == ["10.32.0.2"])
        var gone = NodeObject(id: Self.other, name: "h2", underlay: IPAddress(v4: 1), mtu: 1500, agent: "", version: "", instance: "")
        gone.removed = 1
        table.set(.node(Self.other, gone))
        #expect(try Self.ask(table, "web") == nil)
    }

    @Test("this node's own endpoints count at once and by themselves, whatever the store says of them")
    func local() throws {
        var table = Self.table([Self.endpoint("old", ["10.32.0.7"], node: Self.me)])
        #expect(try Self.ask(table, "old") == nil)
        var endpoint = LocalEndpoint(id: EndpointID("e"), network: Self.shop, addresses: [IPAddress(v4: 0x0a20_0008)], mac: .local(1), created: 0)
        endpoint.name = "new"
        endpoint.sandbox = "/s"
        let changes = [table.set(local: [endpoint.id: endpoint]), table.set(local: [endpoint.id: endpoint])]
        #expect(changes == [true, false])
        #expect(try Self.ask(table, "new") == ["10.32.0.8"])
        #expect(table.networks(of: "/s") == [Self.shop] && table.sandboxes == ["/s"])
        table.replace(ClusterView(), isHeard: true)
        #expect(try Self.ask(table, "new") == ["10.32.0.8"])
        table.set(local: [:])
        #expect(try Self.ask(table, "new") == nil)
    }

    @Test("after any changes it answers as one that is made anew of what there is", arguments: 0..<20)
    func incremental(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var view = ClusterView()
        view.networks = [Self.shop: Self.network(Self.shop, "shop"), Self.bank: Self.network(Self.bank, "bank")]
        view.alive = [Self.me, Self.other]
        var table = NameTable(me: Self.me)
        table.replace(view, isHeard: true)
        let names = ["a", "b", "*.a", "c.a", "b.shop"]
        for _ in 0..<200 {
            let network = random.next() % 2 == 0 ? Self.shop : Self.bank
            let id = EndpointID("e\(random.next() % 6)")
            var object: EndpointObject?
            if random.next() % 3 > 0 {
                var new = Self.endpoint(names[Int(random.next() % 5)], ["10.32.0.\(random.next() % 4)"], on: network)
                new.id = id
                new.names = ContainerNames(container: "c\(random.next() % 3)", aliases: [names[Int(random.next() % 5)]])
                object = new
            }
            _ = view.set(.endpoint(network, id, object))
            table.set(.endpoint(network, id, object))
            var fresh = NameTable(me: Self.me)
            fresh.replace(view, isHeard: true)
            for name in names + ["x.a", "a.shop", "c0", "1.0.32.10.in-addr.arpa"] {
                let type: DNSType = name.hasSuffix("arpa") ? .ptr : .a
                let all = [Self.shop, Self.bank]
                #expect(try Self.ask(table, name, type, in: all)?.sorted() == Self.ask(fresh, name, type, in: all)?.sorted(), "seed \(seed), \(name)")
            }
        }
    }
}
