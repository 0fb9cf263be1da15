import LocalAPI
import TestKit
import Testing

/// Engines that share a store of their own: a network is on all of them at once, under one id, and each request of Docker's comes to one
/// agent alone.
@Suite(
    "scope global, on engines with a cluster store", .serialized, .needsLab, .needsClusterStore,
    .lab("global", agents: nil, prepare: ClusterStore.prepare))
struct GlobalScopeTests {
    private static let both = "--ipv6 --subnet 10.32.0.0/16 --subnet fd00:32::/64"

    init() async throws { try await lab.clear() }

    /// Requests of that kind that the host's agent has answered.
    private func calls(_ call: String, on host: LabHost) async throws -> Double {
        try await host.metric("tulle_plugin_call_seconds_count", ["call": call])
    }

    private func isGone(_ name: String) async throws -> Bool {
        for host in hosts {
            guard try !host.engineNetworks().contains(name), try await host.network(name) == nil else { return false }
        }
        return true
    }

    /// Waits until each agent lists exactly these containers' endpoints, rightly.
    private func endpointsAreRight(_ containers: [Container], on network: String) async throws {
        var wanted: [String] = []
        for container in containers {
            let addresses = [try container.address(on: network), try container.address6(on: network)].filter { !$0.isEmpty }
            wanted.append("\(container.name) \(container.host) \(network) \(addresses.joined(separator: ","))")
        }
        for host in hosts {
            try await eventually("\(host) lists \(wanted)", within: .seconds(12)) {
                try await host.agent.endpoints().map {
                    "\($0.container ?? "-") \($0.node) \($0.network) \($0.addresses.joined(separator: ","))"
                }.sorted() == wanted.sorted()
            }
            let report = try #require(try await host.network(network))
            let here = containers.filter { $0.host.number == host.number }.count
            #expect([report.endpointsHere, report.endpointsTotal] == [here, containers.count])
            // Those that still own a block are told too.
            #expect(Set(containers.map { "\($0.host)" }).isSubset(of: report.nodes))
        }
    }

    @Test("a network made on h1 is on all engines under one id, and containers reach each other where no agent was asked for it")
    func everywhere() async throws {
        var before: [Double] = []
        for host in hosts { before.append(try await calls("NetworkDriver.CreateNetwork", on: host)) }
        let id = try h1.createNetwork("shop", "\(Self.both) --label kept=yes")
        for host in hosts {
            #expect(try host.docker("network inspect -f {{.Id}} shop") == id)
            #expect(try host.docker("network ls --filter driver=tulle --format {{.Name}}-{{.Scope}}") == "shop-global")
        }
        let all = try await runEverywhere("c", on: "shop", hosts: [h2, h3]) + [h1.runContainer("c1", on: "shop")]
        for (index, host) in hosts.enumerated() {
            #expect(try await calls("NetworkDriver.CreateNetwork", on: host) == before[index] + (index == 0 ? 1 : 0))
        }
        let addresses = try all.flatMap { [try $0.address(on: "shop"), try $0.address6(on: "shop")] }
        #expect(Set(addresses).count == 6 && !addresses.contains(""))
        try await eventually("all reach all") { try unreachablePairs(all, addresses: addresses) == [] }
        #expect(try all[0].reaches("c3"), "Docker tells names")
        try await endpointsAreRight(all, on: "shop")
        for host in hosts {
            let report = try #require(try await host.network("shop"))
            #expect(report.state == .active && report.dockerNetworkID == id && report.key == nil)
            #expect(report.subnets.map(\.blocksOwned) == [1, 1])
            #expect(try await host.agent.plan() == [])
        }
    }

    @Test("a container may follow its network's creation on another host at once", arguments: 1...3)
    func atOnce(round: Int) async throws {
        try h1.createNetwork("fresh", Self.both)
        try h3.runContainer("first", on: "fresh")
    }

    @Test("a network made on h1 and removed on h3 is gone everywhere within 2 s, and its subnet is free", arguments: [1, 2, 3])
    func removal(next: Int) async throws {
        try h1.createNetwork("gone", Self.both)
        let container = try h2.runContainer("c2", on: "gone")
        try container.remove()
        try h3.docker("network rm gone")
        try await eventually("it is gone", within: .seconds(2)) { try await isGone("gone") }
        #expect(try await always(for: .seconds(1)) { try await isGone("gone") })
        try await eventually("no node keeps a block of it", within: .seconds(5)) {
            try await h1.agent.nodes().allSatisfy { $0.blocks == 0 }
        }
        // Any host may have the subnet and the name now, and containers come to the new network.
        try lab.host(next).createNetwork("gone", "\(Self.both) --label second=time")
        let all = try await runEverywhere("c", on: "gone")
        #expect(Set(try all.map { try $0.address(on: "gone") }).count == 3)
        try await all[0].mustReach(all[1].address(on: "gone"))
    }

    @Test("while containers use it a network is removed on no host, and nothing of it is lost by trying")
    func inUse() async throws {
        try h1.createNetwork("used", Self.both)
        let pair = try await runEverywhere("c", on: "used", hosts: [h2, h3])
        let pings = try Pinger(from: pair[0], to: pair[1].address(on: "used"))
        for host in hosts { #expect(try host.dockerRefuses("network rm used").contains("active endpoints")) }
        try pings.expectNoLoss()
        for host in hosts {
            let report = try #require(try await host.network("used"))
            #expect(report.state == .active && report.reason == nil)
        }
        let third = try h1.runContainer("c1", on: "used")
        try await third.mustReach(pair[0].address(on: "used"))
        try await endpointsAreRight(pair + [third], on: "used")
        for container in pair + [third] { try container.remove() }
        // At once after the last one, whose end h1 hears of in a moment.
        try h1.docker("network rm used")
        try await eventually("it is gone", within: .seconds(3)) { try await isGone("used") }
    }

    @Test("a subnet that overlaps is refused on every host", arguments: ["10.32.0.0/16", "10.32.8.0/24", "10.0.0.0/8"])
    func overlap(subnet: String) async throws {
        try h1.createNetwork("shop", "--subnet 10.32.0.0/16")
        for host in hosts {
            let answer = try host.dockerRefuses("network create -d tulle --ipam-driver tulle --subnet \(subnet) other")
            #expect(answer.contains("overlaps 10.32.0.0/16 of network shop"), "\(answer)")
            #expect(answer.contains("--opt tulle.network=KEY --ipam-opt tulle.network=KEY"), "\(answer)")
            #expect(try host.engineNetworks() == ["shop"])
        }
        // Nothing is left of the attempts.
        try h2.createNetwork("beside", "--subnet 10.33.0.0/16")
        try await eventually("all know both") {
            for host in hosts where try await host.agent.networks().map(\.name) != ["beside", "shop"] { return false }
            return true
        }
    }

    @Test("of two networks with one subnet, created at once on two hosts, one is refused")
    func race() async throws {
        let running = try [h2, h3].map { host in
            try lab.start("docker \(host) network create -d tulle --ipam-driver tulle --subnet 10.32.0.0/16 on\(host)".labWords)
        }
        let results = try running.map { try $0.finish(within: .seconds(40)) }
        #expect(results.filter { $0.status == 0 }.count == 1)
        for result in results where result.status != 0 { #expect(result.talk.contains("overlaps"), "\(result.talk)") }
        let name = results[0].status == 0 ? "onh2" : "onh3"
        for host in hosts { #expect(try host.engineNetworks() == [name]) }
        let all = try await runEverywhere("c", on: name)
        try await all[0].mustReach(all[2].address(on: name))
    }

    @Test("with keys of their own two networks have the same subnet on hosts that made neither, and not a packet goes across")
    func keys() async throws {
        for color in ["red", "blue"] {
            try h1.createNetwork(color, "--subnet 10.32.0.0/16 --opt tulle.network=\(color) --ipam-opt tulle.network=\(color)")
            try h2.runContainer("\(color)2", on: color, "--ip 10.32.0.20")
            try h3.runContainer("\(color)3", on: color, "--ip 10.32.0.30")
        }
        func container(_ host: LabHost, _ name: String) -> Container { Container(host: host, name: name) }
        let lonely = try h1.runContainer("red1", on: "red", "--ip 10.32.0.10")
        for color in ["red", "blue"] {
            try await container(h2, "\(color)2").mustReach("10.32.0.30")
            #expect(try container(h3, "\(color)3").reaches("10.32.0.10") == (color == "red"))
        }
        #expect(try lonely.reaches("10.32.0.20"))
        let reports = try await h3.agent.networks()
        #expect(reports.map(\.key) == ["blue", "red"] && reports.map(\.endpointsTotal) == [2, 3])
    }

    @Test("a fixed address is given once, wherever it is asked for, and again after its release")
    func fixedAddress() async throws {
        try h1.createNetwork("shop", Self.both)
        let fixed = try h2.runContainer("fixed", on: "shop", "--ip 10.32.0.77 --ip6 fd00:32::77")
        let answer = try h3.dockerRefuses("run -d --name thief --network shop --ip 10.32.0.77 lab sleep 60")
        #expect(answer.contains("10.32.0.77"), "\(answer)")
        try h3.docker("rm -f thief")
        try fixed.remove()
        let next = try h3.runContainer("next", on: "shop", "--ip 10.32.0.77 --ip6 fd00:32::77")
        let other = try h2.runContainer("other", on: "shop")
        try await other.mustReach("10.32.0.77")
        try await other.mustReach("fd00:32::77")
        try await endpointsAreRight([next, other], on: "shop")
    }

    @Test("agents that end and start again keep everything", arguments: ["TERM", "KILL"])
    func restart(signal: String) async throws {
        try h1.createNetwork("shop", Self.both)
        let all = try await runEverywhere("c", on: "shop")
        let addresses = try all.flatMap { [try $0.address(on: "shop"), try $0.address6(on: "shop")] }
        try await endpointsAreRight(all, on: "shop")
        let ids = try await h1.agent.endpoints().map(\.id)
        let pings = try Pinger(from: all[1], to: all[2].address6(on: "shop"))
        for host in [h2, h3, h1] {
            try host.restartAgent(signal)
            try await eventually("\(host) is back", within: .seconds(20)) { try await lab.isWhole() }
        }
        try pings.expectNoLoss()
        for host in hosts {
            #expect(try await host.agent.endpoints().map(\.id) == ids)
            #expect(try await host.agent.plan() == [])
            #expect(try await host.metric("tulle_drift_repaired_total") == 0)
        }
        let more = try await runEverywhere("more", on: "shop")
        for container in more { #expect(try !addresses.contains(container.address(on: "shop"))) }
        try await eventually("all reach all") { try unreachablePairs(all + more, addresses: addresses) == [] }
        for container in all + more { try container.remove() }
        try h2.docker("network rm shop")
        try await eventually("it is gone", within: .seconds(3)) { try await isGone("shop") }
    }

    @Test("what was removed on h3 while the agent that made it, or the store, was away, is gone when they are back", arguments: [1, 2])
    func removalWhileAway(away: Int) async throws {
        let host = lab.host(away)
        try host.createNetwork("gone", Self.both)
        try await eventually("h3 knows it") { try await h3.network("gone") != nil }
        try host.stopAgent()
        try h3.docker("network rm gone")
        try host.startAgent()
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
        try await eventually("it is gone", within: .seconds(12)) { try await isGone("gone") }
        // Its pool too, on the host that was asked for it.
        try await eventually("the subnet is free there") {
            try host.createNetwork("again", Self.both)
            return true
        }
    }

    @Test("an engine that dies with its containers: their endpoints are freed when it is back")
    func crash() async throws {
        try h1.createNetwork("shop", Self.both)
        let dead = try h2.runContainer("dead", on: "shop", "--ip 10.32.0.88")
        let other = try h3.runContainer("other", on: "shop")
        try await other.mustReach("10.32.0.88")
        try await endpointsAreRight([dead, other], on: "shop")
        try lab.run(["docker-crash", "h2"])
        try lab.run(["docker-start", "h2"] + ClusterStore.dockerArguments, within: .seconds(60))
        try await endpointsAreRight([other], on: "shop")
        try h2.docker("rm -f dead")
        try h2.runContainer("next", on: "shop", "--ip 10.32.0.88")
        try await other.mustReach("10.32.0.88")
    }

    @Test("while the engines' store is away nothing is removed and nothing is lost, and afterwards everything works")
    func engineStoreAway() async throws {
        try h1.createNetwork("shop", Self.both)
        let all = try await runEverywhere("c", on: "shop", hosts: [h2, h3])
        try await endpointsAreRight(all, on: "shop")
        let pings = try Pinger(from: all[0], to: all[1].address(on: "shop"))
        try h1.stop("etcd")
        try await eventually("the engines list it no more") { try hosts.allSatisfy { try $0.engineNetworks().isEmpty } }
        // Long enough for several looks at the engines' lists.
        #expect(try await always(for: .seconds(12)) {
            for host in hosts { guard try await host.network("shop")?.endpointsTotal == 2 else { return false } }
            return true
        })
        try ClusterStore.start(on: h1)
        try await networkIsEverywhere("shop", within: .seconds(20))
        try pings.expectNoLoss()
        let third = try h1.runContainer("c1", on: "shop")
        try await third.mustReach(all[0].address(on: "shop"))
        for container in all + [third] { try container.remove() }
        try h3.docker("network rm shop")
        try await eventually("it is gone", within: .seconds(3)) { try await isGone("shop") }
    }

    @Test("ports are published and names resolve for a container where the network was not made")
    func ports() async throws {
        try h1.createNetwork("shop", Self.both)
        let web = try h2.runContainer("web", on: "shop", "-p 8080:80")
        try web.sh("echo here >/tmp/index.html; httpd -p 80 -h /tmp")
        let client = try h3.runContainer("client", on: "shop")
        let ask = "curl -sS -m 3 --retry 3 --retry-connrefused"
        #expect(try client.sh("\(ask) http://web/") == "here")
        #expect(try h3.sh("\(ask) http://\(h2.address):8080/") == "here")
    }
}
