import Agent
import Glibc
import LocalAPI
import Store
import TestKit
import Testing

private enum SmallStage {
    /// h3 has no containers: other agents may start there.
    @Sendable static func prepare(_ lab: Lab) async throws {
        let (h1, h2) = (lab.host(1), lab.host(2))
        try h1.createNetwork(Stage.network, "--ipv6 --subnet 10.32.0.0/16 --subnet fd00:32::/64")
        try await networkIsEverywhere(Stage.network, on: lab.hosts(LabTrait.hostCount))
        try h1.runContainer("web1", on: Stage.network)
        try h1.runContainer("beside", on: Stage.network)
        try h2.runContainer("web2", on: Stage.network)
    }
}

/// A cluster as version 0.1 left it, with containers that talk, gets agents of this version, one host after the other.
@Suite("joining: the upgrade from version 0.1", .serialized, .needsLab, .needsEmbeddedStore("version 0.1 is made up in store.db"),
    .lab("upgrade", prepare: SmallStage.prepare))
struct JoiningUpgradeTests {
    private func pingers() throws -> [Pinger] {
        let (first, second) = (Stage.web1, Stage.web2)
        return [
            try Pinger(from: first, to: second.address(on: Stage.network)), try Pinger(from: second, to: first.address6(on: Stage.network)),
            try Pinger(from: first, to: Stage.beside.address(on: Stage.network)),
        ]
    }

    /// What the store has at a key, as a node of the cluster is answered.
    private func stored(_ prefix: String) throws -> String {
        try h1.sh(#"curl -sk -m 5 --cert /var/lib/tulle/node.pem -X POST -d '{"prefix":"\#(prefix)"}' https://192.168.99.1:7940/v1/store/list"#)
    }
    /// Values are strings of JSON within the answer.
    private func isSealed() throws -> Bool { try stored("cluster").contains(#"\"isSealed\":true"#) }
    private func certified() throws -> Int { try stored("nodes/").split(separator: #"\"fingerprint\":\""#).count - 1 }

    private func goBack() async throws -> ClusterToken {
        for host in hosts where !host.hasEnded("agent") { try host.stopAgent() }
        return try await OldState.make(on: hosts)
    }

    private func start(_ host: LabHost) async throws {
        try host.startAgent()
        try await eventually("\(host) has its store", within: .seconds(15)) {
            let status = try await host.agent.status()
            return status.store.reachable && status.lease.state == .held
        }
    }

    @Test("the last node's certificate seals the cluster, no packet is lost, and the shared secret opens nothing afterwards")
    func upgrade() async throws {
        let secret = try await goBack()
        let pingers = try pingers()
        try await start(h1)
        #expect(try h1.tulle("token show").contains(secret.text))
        try await start(h2)
        try await eventually("h2 has a certificate", within: .seconds(15)) { try certified() == 2 }
        try await eventually("who is missing is said") {
            try await h1.agent.status().problems.contains { $0.contains("shared secret") && $0.contains("on h3") }
        }
        #expect(try !isSealed())
        // Meanwhile a host still joins in both ways.
        let older = SecondAgent("older", on: h3, "--join 192.168.99.1 --token \(secret.text)")
        try await older.start()
        try await eventually("it got a certificate", within: .seconds(15)) { try certified() == 3 }
        let token = try #require(try h2.tulle("token create").lines.first)
        let newer = SecondAgent("newer", on: h3, listen: "192.168.99.3:7951", "--join 192.168.99.2 --token \(token)")
        try await newer.start()
        try await eventually("it has one too", within: .seconds(15)) { try certified() == 4 }
        #expect(try !isSealed())

        try await start(h3)
        try await eventually("it is sealed", within: .seconds(15)) { try isSealed() && certified() == 5 }
        for host in hosts {
            try await eventually("\(host) forgets the secret", within: .seconds(15)) { try host.tulleAttempt("token show").status == 1 }
            #expect(try await host.agent.status().problems == [])
        }
        for agent in [older, newer] {
            try agent.stop()
            try h1.tulle("node remove \(agent.name)")
        }
        let talk = try SecondAgent("late", on: h3, "--join 192.168.99.1 --token \(secret.text)").refused()
        #expect(talk.contains("tulle token create") && talk.contains("the shared secret of version 0.1"), "\(talk)")
        #expect(!talk.contains(secret.text))
        let plain = try lab.attempt(["exec", "net", "curl", "-sS", "-m", "5", "-w", " %{http_code}", "http://192.168.99.1:7940/v1/store/identity"])
        #expect(plain.output.hasSuffix("403") || plain.output.hasSuffix("000"), "\(plain.output)")
        // Sealed for good, also for agents that start again.
        for host in hosts { try host.restartAgent() }
        try await eventually("all is back", within: .seconds(20)) { try await lab.isWhole() }
        for pinger in pingers { try pinger.expectNoLoss() }
        try await h3.runContainer("after", on: Stage.network).mustReach(Stage.web2.address(on: Stage.network))
        try h3.docker("rm -f after")
    }

    @Test("the store's host may be the last: the others go on with the secret until then")
    func storeLast() async throws {
        _ = try await goBack()
        try h3.startAgent()
        try h2.startAgent()
        try await eventually("they say that the store is away") { try await h2.agent.status().problems.contains { $0.contains("store") } }
        let pingers = try pingers()
        try h1.startAgent()
        try await eventually("it is sealed", within: .seconds(40)) { try isSealed() && certified() == 3 }
        try await eventually("all is whole", within: .seconds(20)) { try await lab.isWhole() }
        for pinger in pingers { try pinger.expectNoLoss() }
    }

    /// Runs only where somebody has built that version: its agents beside those of this one.
    static let oldProgram = getenv("TULLE_OLD").map { String(cString: $0) }

    @Test(
        "agents of version 0.1 and of this one form one cluster, whichever host is upgraded first",
        .enabled(if: oldProgram != nil, "it needs TULLE_OLD, the path of a program of version 0.1"), arguments: [[1, 2, 3], [3, 2, 1]])
    func mixed(order: [Int]) async throws {
        let old = try #require(Self.oldProgram)
        let secret = try await goBack()
        for host in hosts { try host.spawn("agent", [old, "agent"]) }
        try await eventually("the old agents know each other", within: .seconds(20)) {
            for host in hosts {
                let status = try await host.agent.status()
                guard status.store.reachable, status.lease.state == .held, status.cluster?.nodesAlive == 3 else { return false }
            }
            return try hosts.allSatisfy { try $0.tulle("token show").contains(secret.text) }
        }
        let pingers = try pingers()
        for number in order {
            let host = lab.host(number)
            try host.stopAgent()
            try host.startAgent()
            try await eventually("\(host) has its store", within: .seconds(15)) {
                let status = try await host.agent.status()
                return status.store.reachable && status.lease.state == .held
            }
            // What one makes, all have.
            try host.createNetwork("by\(number)", "--subnet 10.4\(number).0.0/16")
            try await networkIsEverywhere("by\(number)", within: .seconds(10))
        }
        try await eventually("it is sealed", within: .seconds(60)) { try isSealed() && certified() == 3 }
        try await eventually("all is whole", within: .seconds(20)) { try await lab.isWhole() }
        for pinger in pingers { try pinger.expectNoLoss() }
        for number in order { try h1.docker("network rm by\(number)") }
    }

    // The last: a node that was removed stays so.
    @Test("a node that is away keeps the cluster open; after its removal the cluster is sealed, and it is told what to do when it comes back")
    func away() async throws {
        _ = try await goBack()
        try await start(h1)
        try await start(h2)
        try await eventually("h2 has a certificate", within: .seconds(15)) { try certified() == 2 }
        #expect(try !isSealed())
        // One of version 0.1 that lives would not know that it was removed.
        try await eventually("it is taken for dead", within: .seconds(30)) { try h1.tulleAttempt("node remove h3").status == 0 }
        try await eventually("it is sealed", within: .seconds(15)) { try isSealed() }
        for host in [h1, h2] { try await eventually("\(host) has forgotten the secret") { try host.tulleAttempt("token show").status == 1 } }
        try h3.startAgent()
        let problems = try await obtain("it says so", within: .seconds(15)) {
            let problems = try await h3.agent.status().problems.joined(separator: "\n")
            return problems.isEmpty ? nil : problems
        }
        #expect(problems.contains("tulle reset") && problems.contains("join"), "\(problems)")
    }
}
