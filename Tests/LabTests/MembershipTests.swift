import LocalAPI
import TestKit
import Testing

/// Nodes that go for good, and come again as new ones.
@Suite("who is in the cluster", .serialized, .needsLab, .lab("member"))
struct MembershipTests {
    private func join(_ host: LabHost) async throws {
        try host.startAgent("--join \(h1.address) --token \(await h1.agent.joinToken())")
        try await eventually("all three are alive", within: .seconds(20)) { try await lab.isWhole() }
    }

    @Test("reset is refused while an agent has the state, also one that does not answer")
    func silentAgent() async throws {
        try h3.stop("agent", "STOP")
        let refusal = try h3.tulleAttempt("reset --yes")
        try h3.stop("agent", "CONT")
        #expect(refusal.status == 1)
        #expect(refusal.talk.contains("its agent runs") || refusal.talk.contains("an agent runs"), "\(refusal.talk)")
        try await eventually("it goes on") { try await h3.agent.status().store.reachable }
        let second = try h3.tulleAttempt("reset --yes --run-dir /run/another")
        #expect(second.status == 1)
        #expect(second.talk.contains("an agent runs that has /var/lib/tulle/agent.db"), "\(second.talk)")
    }

    @Test("a host that is reset with containers leaves the cluster: nothing of it holds a network, and it joins as a new node")
    func reset() async throws {
        try h1.createNetwork("stay", "--subnet 10.32.0.0/16")
        try h1.createNetwork("gone", "--subnet 10.33.0.0/16")
        try await networkIsEverywhere("stay")
        try await networkIsEverywhere("gone")
        let web1 = try h1.runContainer("web1", on: "stay")
        let web3 = try h3.runContainer("web3", on: "stay")
        let lone = try h3.runContainer("lone", on: "gone")
        try await web1.mustReach(web3.address(on: "stay"))
        let old = try await h3.agent.status().node.id
        try h3.stopAgent()
        let said = try h3.tulle("reset --yes")
        #expect(said.contains("left cluster"), "\(said)")

        #expect(try await !h1.agent.nodes().contains { $0.name == "h3" })
        #expect(try await h1.agent.endpoints().compactMap(\.container) == ["web1"])
        try h1.docker("network rm gone")
        try await eventually("it is removed everywhere") { try !h2.engineNetworks().contains("gone") }

        // The engine still has networks of the old node's.
        try await join(h3)
        #expect(try await h3.agent.status().node.id != old)
        try await eventually("what stands in the way is named") {
            try await h3.agent.status().problems.contains { $0.contains("stay") && $0.contains("remove its containers (web3)") }
        }
        try web3.remove()
        try await eventually("the cluster's network takes its place", within: .seconds(10)) {
            guard try await h3.agent.networks().contains(where: { $0.name == "stay" && $0.dockerNetworkID != nil }) else { return false }
            return try await h3.agent.status().problems.isEmpty
        }
        let next = try h3.runContainer("next", on: "stay")
        try await next.mustReach(web1.address(on: "stay"))
        #expect(try lone.succeeds("true"))
        try await clear()
    }

    private func clear() async throws {
        for host in hosts {
            for container in try host.docker("ps -aq").lines { try host.docker("rm -f \(container)") }
        }
        for host in hosts {
            for network in try host.engineNetworks() { try host.docker("network rm \(network)") }
        }
        try await eventually("no network is left") {
            for host in hosts where try await !host.agent.networks().isEmpty { return false }
            return true
        }
    }

    @Test("a removed node is out at once: cut off, refused, and its addresses free; after a reset it joins as a new one")
    func remove() async throws {
        try h1.createNetwork("shop", "--subnet 10.32.0.0/16")
        try await networkIsEverywhere("shop")
        let web1 = try h1.runContainer("web1", on: "shop")
        let web2 = try h2.runContainer("web2", on: "shop")
        let address = try web2.address(on: "shop")
        try await web1.mustReach(address)

        #expect(try h3.tulle("node remove h2").contains("removed node h2"))
        try await eventually("its own agent knows") {
            try await h2.agent.status().problems.contains { $0.contains("this node was removed from the cluster") }
        }
        for host in [h1, h3] { #expect(try await host.agent.nodes().map(\.name).sorted() == ["h1", "h3"], "\(host)") }
        try await eventually("neither reaches the other") { try !web1.reaches(address) && !web2.reaches(web1.address(on: "shop")) }
        let refusal = try h2.dockerRefuses("run -d --name more --network shop lab sleep 60")
        #expect(refusal.contains("this node was removed from the cluster"), "\(refusal)")
        try? h2.docker("rm -f more")
        // Another container has the address, and is the one that is reached.
        let heir = try h3.runContainer("heir", on: "shop", "--ip \(address)")
        try await web1.mustReach(address)
        try heir.remove()
        // Removed for ever: the same identity does not come back.
        try h2.restartAgent()
        try await eventually("it is still out") {
            try await h2.agent.status().problems.contains { $0.contains("this node was removed from the cluster") }
        }
        #expect(try await h1.agent.nodes().count == 2)
        try web2.remove()
        try h2.stopAgent()
        try h2.tulle("reset --yes")
        try await join(h2)
        try await eventually("the old network was replaced", within: .seconds(10)) { try await h2.agent.status().problems.isEmpty }
        try await h2.runContainer("again", on: "shop").mustReach(web1.address(on: "shop"))
        try await clear()
    }

    @Test("a node that cannot be removed: the message says why", arguments: [
        ("h1", "it is this node"), ("h9", "there is no such node"),
    ])
    func refused(node: String, cause: String) throws {
        let result = try h1.tulleAttempt("node remove \(node)")
        #expect(result.status == 1)
        #expect(result.talk.contains(cause), "\(result.talk)")
    }

    @Test("the host with the authority is not reset while others need it, unless forced")
    func resetAuthority() async throws {
        try h1.stopAgent()
        let result = try h1.tulleAttempt("reset --yes")
        #expect(result.status == 1)
        #expect(result.talk.contains("authority") && result.talk.contains("h2, h3") && result.talk.contains("--force"), "\(result.talk)")
        // Nothing was touched.
        try h1.startAgent()
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
    }

    @Test("the host that serves the store is not removed by another", .needsEmbeddedStore("no host serves it"))
    func storeHost() throws {
        #expect(try h2.tulleAttempt("node remove h1").talk.contains("it serves the cluster's store"))
    }
}
