import FoundationEssentials
import LocalAPI
import TestKit
import Testing

/// `docker network create` on one host, and what the others make of it.
@Suite("one network on every engine", .serialized, .needsLab, .lab("spread"))
struct PropagationTests {
    init() async throws { try await lab.clear() }

    static let shapes = [
        "--subnet 10.32.0.0/16",
        "--ipv6 --subnet 10.32.0.0/16 --subnet fd00:32::/64",
        "--subnet 10.32.0.0/16 --internal",
        "--subnet 10.32.0.0/16 --label shop=yes --label empty=",
        "--subnet 10.32.0.0/16 --opt tulle.mtu=1400 --opt com.example.unknown=x",
        "--subnet 10.32.0.0/16 --ip-range 10.32.4.0/24 --gateway 10.32.0.254 --aux-address router=10.32.4.1",
        "--subnet 10.32.0.0/24 --ipam-opt tulle.block-size=29",
        "--attachable --subnet 10.32.0.0/16",
        "--subnet 10.32.0.0/16 --opt tulle.network=key --ipam-opt tulle.network=key",
        "--ipv6 --subnet fd00:33::/64 --gateway fd00:33::99 --subnet 10.33.0.0/16",
        "--ipv6 --subnet fd00:34::/64",
        "",
    ]

    @Test("a network created on h1 is the same on all engines within 2 s", arguments: shapes)
    func same(options: String) async throws {
        try h1.createNetwork("shop", options)
        try await networkIsEverywhere("shop", within: .seconds(2))
        let first = try EngineNetwork(on: h1, "shop")
        for host in [h2, h3] {
            let copy = try EngineNetwork(on: host, "shop")
            #expect(copy == first, "\(host): \(copy), but h1: \(first)")
        }
        let ids = try hosts.map { try $0.docker("network inspect -f {{.Id}} shop") }
        #expect(Set(ids).count == 3)
        let report = try #require(try await h2.network("shop"))
        #expect(report.state == .active)
        #expect(report.internal == options.contains("--internal"))
        // Containers on two hosts, with whatever it has.
        let pair = try await runEverywhere("c", on: "shop", hosts: [h1, h3])
        try await pair[0].mustReach(pair[1].address(on: "shop"))
        if options.contains("--ipv6") { try await pair[1].mustReach(pair[0].address6(on: "shop")) }
        #expect(try pair[0].sh("ip route show default") == pair[1].sh("ip route show default"), "one gateway for all")
    }

    @Test("it does not matter on which host a network is created")
    func elsewhere() async throws {
        try h3.createNetwork("back", "--subnet 10.40.0.0/16")
        try await networkIsEverywhere("back", within: .seconds(2))
        let all = try await runEverywhere("c", on: "back")
        #expect(try unreachablePairs(all, addresses: all.map { try $0.address(on: "back") }) == [])
    }

    @Test("ten networks created at once on three hosts are on all engines, each with a VNI of its own")
    func many() async throws {
        let running = try (0..<10).map { index in
            let line = "docker h\(index % 3 + 1) network create -d tulle --ipam-driver tulle --subnet 10.\(50 + index).0.0/16 net\(index)"
            return try lab.start(line.labWords)
        }
        for process in running {
            let result = try process.finish(within: .seconds(40))
            #expect(result.status == 0, "\(result.talk)")
        }
        for index in 0..<10 { try await networkIsEverywhere("net\(index)", within: .seconds(5)) }
        #expect(Set(try await h1.agent.networks().map(\.vni)).count == 10)
    }

    @Test("a network without containers is removed everywhere within 2 s")
    func removal() async throws {
        try h1.createNetwork("gone", "--subnet 10.32.0.0/16")
        try await networkIsEverywhere("gone")
        try h2.docker("network rm gone")
        try await eventually("it is gone from all engines", within: .seconds(2)) {
            try hosts.allSatisfy { try $0.engineNetworks().isEmpty }
        }
        #expect(try await always(for: .seconds(2)) { try hosts.allSatisfy { try $0.engineNetworks().isEmpty } })
        for host in hosts { #expect(try await host.network("gone") == nil) }
        // The subnet and the name are free again.
        try h3.createNetwork("gone", "--subnet 10.32.0.0/16 --label second=time")
        try await networkIsEverywhere("gone")
    }

    @Test("a network that is removed in the same breath as its last container is removed for good", arguments: 1...6)
    func removalAtOnce(round: Int) async throws {
        try h1.createNetwork("gone", "--subnet 10.32.0.0/16")
        try await networkIsEverywhere("gone")
        try h1.runContainer("web", on: "gone")
        // While the engine removes it, its list of networks lacks it, and the container's end makes the agent look.
        let ask = "-fsS --unix-socket /run/docker.sock -X DELETE http://docker"
        try h1.sh("curl \(ask)/containers/web'?force=1' --next \(ask)/networks/gone")
        try await eventually("it is gone from all engines", within: .seconds(5)) {
            try hosts.allSatisfy { try $0.engineNetworks().isEmpty }
        }
        #expect(try await always(for: .seconds(1)) { try hosts.allSatisfy { try $0.engineNetworks().isEmpty } })
    }

    @Test("a network that other hosts use comes back within 5 s on the engine where it was removed, and the log says why")
    func removalOfUsed() async throws {
        try h1.createNetwork("used", "--subnet 10.32.0.0/16 --label kept=yes")
        let pair = try await runEverywhere("c", on: "used", hosts: [h2, h3])
        try await eventually("h1 knows of both") { try await h1.network("used")?.endpointsTotal == 2 }
        let before = try EngineNetwork(on: h1, "used")
        let pings = try Pinger(from: pair[0], to: pair[1].address(on: "used"))
        let said = try await h1.logged {
            try h1.docker("network rm used")
            try await networkIsEverywhere("used", on: [h1], within: .seconds(5))
        }
        try pings.expectNoLoss()
        #expect(said.contains("other hosts have endpoints"), "\(said)")
        #expect(said.contains("used"), "\(said)")
        let report = try #require(try await h1.network("used"))
        #expect(report.reason?.contains("endpoint") == true, "tulle networks tells why it came back: \(report)")
        #expect(try EngineNetwork(on: h1, "used") == before)
        let back = try h1.runContainer("back", on: "used")
        try await back.mustReach(pair[0].address(on: "used"))
    }

    @Test("an agent that was away during a removal learns of it when it returns")
    func removalWhileAway() async throws {
        try h1.createNetwork("gone", "--subnet 10.32.0.0/16")
        try await networkIsEverywhere("gone")
        try h3.stopAgent()
        try h1.docker("network rm gone")
        try await eventually("it is gone from h2") { try h2.engineNetworks().isEmpty }
        #expect(try h3.engineNetworks() == ["gone"])
        try h3.startAgent()
        try await eventually("it is gone from h3") { try h3.engineNetworks().isEmpty }
    }

    @Test("an agent that was away during a creation makes the network when it returns")
    func creationWhileAway() async throws {
        try h3.stopAgent()
        try h1.createNetwork("new", "--subnet 10.32.0.0/16")
        try await networkIsEverywhere("new", on: [h1, h2])
        try h3.startAgent()
        try await networkIsEverywhere("new", on: [h3])
    }

    @Test("an engine that was away during a creation gets the network when it returns")
    func engineAway() async throws {
        try h3.lab.run(["docker-stop", "h3"])
        try h1.createNetwork("new", "--subnet 10.32.0.0/16")
        try await networkIsEverywhere("new", on: [h1, h2])
        try h3.lab.run(["docker-start", "h3"], within: .seconds(60))
        try await networkIsEverywhere("new", on: [h3])
    }
}

/// What `docker network inspect` shows, without what must differ from engine to engine.
struct EngineNetwork: Decodable, Equatable {
    struct Addresses: Decodable, Equatable {
        struct Subnet: Decodable, Equatable {
            var Subnet: String
            var IPRange: String?
            var Gateway: String?
            var AuxiliaryAddresses: [String: String]?
        }
        var Driver: String
        var Options: [String: String]?
        var Config: [Subnet]?
    }
    var Name: String
    var Driver: String
    var EnableIPv6: Bool
    var Internal: Bool
    var Attachable: Bool
    var IPAM: Addresses
    var Options: [String: String]
    var Labels: [String: String]

    /// Agents add to their copies the gateway, which an engine shows only where it was given.
    init(on host: LabHost, _ name: String) throws {
        let json = try host.docker(["network", "inspect", "-f", "{{json .}}", name])
        self = try JSONDecoder().decode(EngineNetwork.self, from: Data(json.utf8))
        IPAM.Options = IPAM.Options ?? [:]
        IPAM.Config = IPAM.Config?.map { subnet in
            var subnet = subnet
            subnet.Gateway = nil
            return subnet
        }.sorted { $0.Subnet < $1.Subnet }
    }
}
