import LocalAPI
import TestKit
import Testing

/// A node is its identity, not its address: hosts move, and their containers stay where they are.
@Suite("an underlay whose addresses change", .serialized, .needsLab, .lab("underlay", prepare: Stage.prepare))
struct UnderlayTests {
    /// As a renewed DHCP lease does it.
    private func move(_ host: LabHost, from old: String, to new: String) throws {
        try host.sh("ip address del \(old)/24 dev eth0; ip address add \(new)/24 dev eth0; ip route replace default via 192.168.99.254")
    }

    private func expectTraffic(between all: [Container] = Stage.all) async throws {
        let addresses = try all.map { try $0.address(on: Stage.network) }
        do {
            try await eventually("\(all) reach each other", within: .seconds(6)) { try unreachablePairs(all, addresses: addresses) == [] }
        } catch {
            Issue.record("\(error): \(try unreachablePairs(all, addresses: addresses))")
        }
    }

    @Test("a node with another address is reached there within seconds, and its agent listens there", arguments: [("192.168.99.2", "192.168.99.22"), ("192.168.99.22", "192.168.99.2")])
    func node(old: String, new: String) async throws {
        let before = try Stage.web2.address(on: Stage.network)
        try move(h2, from: old, to: new)
        try await expectTraffic()
        for host in hosts {
            try await eventually("\(host) knows the address", within: .seconds(6)) {
                try await host.agent.nodes().contains { $0.name == "h2" && $0.address == new && $0.agentAddress == "\(new):7940" && $0.alive }
            }
        }
        #expect(try await h2.agent.createToken(TokenRequest(ttl: 60)).join == "\(new):7940")
        #expect(try Stage.web2.address(on: Stage.network) == before)
        // Its agent is still one that others are told the store by.
        #expect(try h3.sh("timeout 3 bash -c ': </dev/tcp/\(new)/7940' && echo open") == "open")
        try await eventually("its watch goes on", within: .seconds(6)) { try await h2.agent.status().store.reachable }
        try h1.createNetwork("other", "--subnet 10.40.0.0/16")
        try await networkIsEverywhere("other")
        try h1.docker("network rm other")
    }

    @Test("the store's host has another address: the others follow it, those that were away too", .needsEmbeddedStore("no host serves it"))
    func store() async throws {
        try h3.stopAgent("KILL")
        try move(h1, from: "192.168.99.1", to: "192.168.99.11")
        try await eventually("h2 follows", within: .seconds(5)) {
            let store = try await h2.agent.status().store
            return store.reachable && store.address == "192.168.99.11:7940"
        }
        try await expectTraffic(between: [Stage.web1, Stage.beside, Stage.web2])
        // It has to ask, and the one that it joined is not where it was.
        try h3.startAgent()
        try await eventually("h3 follows", within: .seconds(10)) {
            let store = try await h3.agent.status().store
            return store.reachable && store.address == "192.168.99.11:7940"
        }
        try await expectTraffic()
        try h3.createNetwork("later", "--subnet 10.41.0.0/16")
        try await networkIsEverywhere("later")
        try h3.docker("network rm later")
        // Back, while the store's own agent is down.
        try h1.stopAgent()
        try move(h1, from: "192.168.99.11", to: "192.168.99.1")
        try h1.startAgent()
        for host in [h2, h3] {
            try await eventually("\(host) follows back", within: .seconds(10)) {
                let store = try await host.agent.status().store
                return store.reachable && store.address == "192.168.99.1:7940"
            }
        }
        try await eventually("all are alive", within: .seconds(20)) { try await lab.isWhole() }
        try await expectTraffic()
    }

    @Test("a host without its address for seconds does not take one of the other family, and is reached again when it is back")
    func otherFamily() async throws {
        let log = try await h2.logged {
            // Longer than the agent takes to confirm a change; an IPv6 address is there all the while.
            try h2.sh("ip -4 address flush dev eth0; sleep 2; ip address add 192.168.99.2/24 dev eth0; ip route replace default via 192.168.99.254")
            try await expectTraffic()
        }
        #expect(!log.contains("the underlay changed"))
        #expect(try await h2.agent.status().node.address == "192.168.99.2")
        // Nor does an agent that starts meanwhile.
        try h2.stopAgent()
        try h2.sh("ip -4 address flush dev eth0")
        let refusal = try SecondAgent("apart", on: h2, stateDirectory: "/var/lib/tulle").refused()
        #expect(refusal.contains("has IPv4 addresses, and no interface has one now") || refusal.contains("has no IPv4 address"), "\(refusal)")
        try h2.sh("ip address add 192.168.99.2/24 dev eth0; ip route replace default via 192.168.99.254")
        try h2.startAgent()
        try await expectTraffic()
    }

    @Test("an address that is away for a moment changes nothing")
    func flap() async throws {
        let log = try await h2.logged {
            try h2.sh("ip -4 address flush dev eth0; ip address add 192.168.99.2/24 dev eth0; ip route replace default via 192.168.99.254")
            try await expectTraffic()
            #expect(try await h2.agent.plan() == [])
        }
        #expect(!log.contains("the underlay changed"))
    }
}
