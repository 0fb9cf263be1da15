import LocalAPI
import TestKit
import Testing

/// A cluster without an embedded store: etcd's three members have the truth, and no agent serves it.
@Suite("etcd as the store", .serialized, .needsLab, .needsEmbeddedStore("it has an etcd of its own, and runs without STORE=etcd"), .lab("etcd", agents: nil, prepare: EtcdMembers.prepare))
struct EtcdTests {
    init() async throws {
        for host in hosts {
            if host.hasEnded("etcd") { try EtcdMembers.start(on: host) }
            if host.hasEnded("agent") { try host.startAgent() }
        }
        try await eventually("the cluster is whole", within: .seconds(30)) { try await lab.isWhole() }
    }

    @Test("every agent says where its store is, and etcd has the records under the prefix, in JSON")
    func records() async throws {
        for host in hosts {
            let store = try await host.agent.status().store
            #expect(store.kind == "etcd")
            #expect(store.address?.hasPrefix("etcd://192.168.99.1:2379,") == true, "\(store)")
        }
        // Base64 of "/tulle/nodes/" and of the key after all with that prefix.
        let found = try h1.sh("""
            curl -s http://192.168.99.2:2379/v3/kv/range -d '{"key":"L3R1bGxlL25vZGVzLw==","range_end":"L3R1bGxlL25vZGVzMA=="}' | jq -r '.kvs[].value' | base64 -d
            """)
        for name in ["h1", "h2", "h3"] { #expect(found.contains("\"name\":\"\(name)\""), "\(found)") }
    }

    @Test("a network made on any host is everywhere, containers reach each other, and removal is everywhere")
    func networks() async throws {
        try h3.createNetwork("second", "--subnet 10.44.0.0/16")
        try await networkIsEverywhere("second")
        let all = try await runEverywhere("s", on: "second")
        #expect(try unreachablePairs(all, addresses: all.map { try $0.address(on: "second") }) == [])
        for container in all { try container.remove() }
        try h2.docker("network rm second")
        try await eventually("it is gone everywhere", within: .seconds(6)) {
            for host in hosts where try host.engineNetworks().contains("second") { return false }
            return true
        }
    }

    @Test("one member's loss is not noticed: networks are made and containers start", arguments: [1, 2, 3])
    func member(number: Int) async throws {
        let victim = hosts[number - 1]
        let pings = try Pinger(from: Stage.web1, to: Stage.web2.address(on: Stage.network))
        try victim.stop("etcd", "KILL")
        try await eventually("a network is made", within: .seconds(15)) {
            (try? h2.createNetwork("third", "--subnet 10.45.0.0/16")) != nil
        }
        try await networkIsEverywhere("third", within: .seconds(10))
        let pair = try await runEverywhere("t", on: "third", hosts: [h1, h3])
        try await pair[0].mustReach(pair[1].address(on: "third"))
        for container in pair { try container.remove() }
        try h2.docker("network rm third")
        try pings.expectNoLoss()
        try EtcdMembers.start(on: victim)
        try await eventually("it is back", within: .seconds(20)) { try EtcdMembers.isServing(victim) }
    }

    @Test("without a majority traffic goes on and containers start, networks are refused with the reason; then all is as the record says")
    func majority() async throws {
        let pings = try Pinger(from: Stage.web1, to: Stage.web2.address(on: Stage.network))
        for host in [h1, h2] { try host.stop("etcd", "KILL") }
        for host in hosts {
            try await eventually("\(host) has noticed", within: .seconds(30)) { try await !host.agent.status().store.reachable }
        }
        let fresh = try h2.runContainer("fresh", on: Stage.network)
        try await Stage.web1.mustReach(fresh.address(on: Stage.network))
        let answer = try h1.dockerRefuses("network create -d tulle --ipam-driver tulle --subnet 10.46.0.0/16 never")
        #expect(answer.contains("store does not answer"), "\(answer)")
        // An agent that starts meanwhile works from what it remembers.
        try h3.restartAgent("KILL")
        #expect(try await h3.agent.networks().map(\.name) == [Stage.network])
        #expect(try await h3.agent.plan() == [])
        for host in [h1, h2] { try EtcdMembers.start(on: host) }
        try await eventually("the cluster is whole", within: .seconds(30)) { try await lab.isWhole() }
        try await eventually("all have heard of it", within: .seconds(10)) {
            for host in hosts where try await !host.agent.endpoints().contains(where: { $0.container == "fresh" }) { return false }
            return true
        }
        try pings.expectNoLoss()
        try fresh.remove()
    }

    @Test("a second cluster beside the first has a prefix of its own; an agent that does not join is told so")
    func beside() async throws {
        // An agent of another directory starts on no host that has networks.
        try Stage.web3.remove()
        try await eventually("the network has left h3") { try !h3.sh("ip netns").contains("tulle") }
        let refusal = try SecondAgent("alone", on: h3, "--store \(EtcdMembers.url)").refused()
        #expect(refusal.contains("has its store there"), "\(refusal)")
        #expect(refusal.contains("--join"), "\(refusal)")
        let other = SecondAgent("beside", on: h3, "--store \(EtcdMembers.url)/other")
        try await other.start()
        let status = try h3.tulle("status --run-dir /run/beside --output json")
        #expect(status.contains("etcd"))
        #expect(try await !status.contains(#require(h1.agent.status().cluster?.id)))
        try other.stop()
        try h3.runContainer("web3", on: Stage.network, Stage.privileged)
    }

    @Test("below a prefix of somebody else's no cluster is made: a key there is named, and nothing is written")
    func strangers() async throws {
        try Stage.web3.remove()
        try await eventually("the network has left h3") { try !h3.sh("ip netns").contains("tulle") }
        func etcd(_ path: String, _ body: String) throws -> String { try h1.sh("curl -sf http://192.168.99.2:2379/v3/kv/\(path) -d '\(body)'") }
        // "/registry/pods/x", and "/junk/store", where a store's identity would be; in base64, as their values.
        for key in ["L3JlZ2lzdHJ5L3BvZHMveA==", "L2p1bmsvc3RvcmU="] { _ = try etcd("put", #"{"key":"\#(key)","value":"dGhlaXJz"}"#) }
        let registry = try SecondAgent("stranger", on: h3, "--store \(EtcdMembers.url)/registry").refused()
        #expect(registry.contains("/registry/pods/x") && registry.contains("another prefix") && registry.contains("nothing was written"), "\(registry)")
        let junk = try SecondAgent("stranger", on: h3, "--store \(EtcdMembers.url)/junk").refused()
        #expect(junk.contains("/junk/store is not tulle's") && junk.contains("the key was left as it is"), "\(junk)")
        for (start, end) in [("L3JlZ2lzdHJ5Lw==", "L3JlZ2lzdHJ5MA=="), ("L2p1bmsv", "L2p1bmsw")] {
            let found = try etcd("range", #"{"key":"\#(start)","range_end":"\#(end)"}"#)
            #expect(found.contains(#""value":"dGhlaXJz""#) && found.contains(#""count":"1""#), "\(found)")
        }
        try h3.runContainer("web3", on: Stage.network, Stage.privileged)
    }

    @Test("an etcd that was emptied is not believed: nothing is removed, and accepting it on one node puts all back without a lost packet")
    func emptied() async throws {
        let pings = try Pinger(from: Stage.web1, to: Stage.web2.address(on: Stage.network))
        try h1.sh("curl -sf http://192.168.99.3:2379/v3/kv/deleterange -d '{\"key\":\"AA==\",\"range_end\":\"AA==\"}'")
        for host in hosts {
            try await eventually("\(host) refuses it", within: .seconds(20)) {
                try await host.agent.status().problems.contains { $0.contains("tulle store accept") }
            }
            #expect(try await host.agent.plan() == [])
            #expect(try host.engineNetworks() == [Stage.network])
        }
        try lab.run(["tulle", "h2", "store", "accept"], within: .seconds(40))
        try await eventually("the cluster is whole", within: .seconds(30)) { try await lab.isWhole() }
        try pings.expectNoLoss()
        #expect(try lab.run(["tulle", "h3", "store", "accept"]).contains("nothing to accept"))
        for host in hosts { #expect(try await host.network(Stage.network)?.state == .active) }
        try await eventually("its traffic too", within: .seconds(10)) {
            try unreachablePairs([Stage.web1, Stage.web2, Stage.web3], addresses: [Stage.web1, Stage.web2, Stage.web3].map { try $0.address(on: Stage.network) }) == []
        }
    }
}
