import LocalAPI
import TestKit
import Testing

/// The agent's end and its next start, while containers talk.
@Suite("the agent's life", .serialized, .needsLab, .lab("life", prepare: Stage.prepare))
struct AgentLifeTests {
    init() async throws {
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
    }

    /// Both families, both directions, on the host and across.
    private func expectNoLoss(while body: () async throws -> Void) async throws {
        let there = try Pinger(from: Stage.web1, to: Stage.web2.address(on: Stage.network))
        let back = try Pinger(from: Stage.web2, to: Stage.web1.address6(on: Stage.network))
        let here = try Pinger(from: Stage.web1, to: Stage.beside.address(on: Stage.network))
        let elsewhere = try Pinger(from: Stage.web3, to: Stage.web1.address(on: Stage.network))
        try await body()
        try there.expectNoLoss()
        try back.expectNoLoss()
        try here.expectNoLoss()
        try elsewhere.expectNoLoss()
    }

    /// Nothing to do and nothing done: all that is there was taken over as it is.
    private func expectAdopted(by host: LabHost) async throws {
        #expect(try await host.agent.plan() == [])
        #expect(try await host.metric("tulle_drift_repaired_total") == 0)
        #expect(try await host.metric("tulle_kernel_failures_total") == 0)
        let here = [host.number == 1 ? 2 : 1, 4]
        let status = try await host.agent.status()
        #expect([status.endpoints, try await host.agent.endpoints().count] == here)
    }

    @Test("SIGTERM and SIGINT end it with status 0 within 2 s", arguments: ["TERM", "INT"])
    func termination(signal: String) throws {
        let start = ContinuousClock.now
        try h2.stopAgent(signal)
        #expect(ContinuousClock.now - start < .seconds(2))
        #expect(try h2.exitStatus("agent") == 0)
        try h2.startAgent()
    }

    @Test(
        "no packet is lost while the agent is gone and when it comes back, and it adopts what it finds",
        arguments: ["TERM", "KILL"], [1, 2])
    func restart(signal: String, number: Int) async throws {
        let host = lab.host(number)
        let namespace = try await host.namespace(of: Stage.network)
        // Not what the kernel does by itself: link-local addresses, multicast.
        let look = "(ip -d address; ip route; ip -6 route; ip neigh show nud permanent; bridge fdb; nft list ruleset)"
            + " | grep -vE 'fe80|33:33|01:00:5e|packets'"
        let before = try host.sh(in: namespace, look).lines
        try await expectNoLoss {
            try host.stopAgent(signal)
            let isAway = try await always(for: .seconds(1)) { try host.exitStatus("agent") != nil }
            #expect(isAway)
            try host.startAgent()
            try await eventually("\(host) is back", within: .seconds(15)) { try await lab.isWhole() }
        }
        try await expectAdopted(by: host)
        let after = try host.sh(in: namespace, look).lines
        #expect(after.filter { !before.contains($0) } == [])
        #expect(before.filter { !after.contains($0) } == [])
    }

    @Test("a TCP transfer between hosts survives kills of both agents")
    func transfer() async throws {
        let (sender, receiver) = (Stage.web1, Stage.web3)
        let address = try receiver.address(on: Stage.network)
        try receiver.host.docker(["exec", "-d", receiver.name, "socat", "-u", "TCP-LISTEN:9100,reuseaddr", "CREATE:/tmp/long"])
        // 60 MB in steps, for about 3 s.
        let running = try lab.start([
            "docker", "h1", "exec", sender.name, "sh", "-c",
            """
            head -c 2000000 /dev/urandom >/tmp/part
            for i in $(seq 30); do cat /tmp/part; sleep 0.1; done | tee /tmp/sent | socat -u - TCP:\(address):9100,retry=50,interval=0.1
            sha256sum </tmp/sent
            """,
        ])
        for host in [h1, h3, h1] { try host.restartAgent("KILL") }
        let sent = try running.finish(within: .seconds(30))
        #expect(sent.status == 0, "\(sent.talk)")
        try await eventually("all has arrived") { try receiver.sh("sha256sum </tmp/long") == sent.output.trimmed }
    }

    @Test("a second start with --join does not make or change a cluster")
    func joinAgain() async throws {
        let cluster = try #require(try await h2.agent.status().cluster?.id)
        let token = try await h1.agent.joinToken()
        try h2.restartAgent(with: "--join \(h3.address) --token \(token)")
        try await eventually("h2 is back", within: .seconds(15)) { try await lab.isWhole() }
        #expect(try await h2.agent.status().cluster?.id == cluster)
        #expect(try await h2.agent.nodes().count == 3)
        try h2.restartAgent(with: "--join 192.168.99.77 --token tulle-of-nobody-at-all")
        try await eventually("h2 is back", within: .seconds(15)) { try await lab.isWhole() }
        #expect(try await h2.agent.status().cluster?.id == cluster)
    }

    @Test("a host that knows a member other than the first can join by it")
    func joinByAnother() async throws {
        let token = try await h1.agent.joinToken()
        try Stage.web3.remove()
        try await eventually("the network has left h3") { try !h3.sh("ip netns").contains("tulle") }
        try h3.stopAgent()
        // A new node on the same machine, beside nothing of the old one.
        try h3.startAgent("--state-dir /var/lib/other --node-name other --join \(h2.address) --token \(token)")
        try await eventually("h1 sees it", within: .seconds(10)) {
            try await h1.agent.nodes().contains { $0.name == "other" && $0.alive }
        }
        #expect(try await h3.agent.status().cluster?.id == h1.agent.status().cluster?.id)
        try h3.restartAgent()
        try await eventually("h3 is itself again", within: .seconds(20)) {
            try await h1.agent.nodes().contains { $0.name == "h3" && $0.alive }
        }
        // The engine's copies are the other node's: they are made anew.
        try await eventually("its engine has its copy", within: .seconds(15)) {
            guard let copy = try await h3.network(Stage.network)?.dockerNetworkID else { return false }
            return try h3.docker("network ls --no-trunc -q").lines.contains(copy)
        }
        try h3.runContainer("web3", on: Stage.network, Stage.privileged)
        try await Stage.web1.mustReach(Stage.web3.address(on: Stage.network))
        try await eventually("all know its name") {
            for host in hosts where try await !host.agent.endpoints().contains(where: { $0.container == "web3" }) { return false }
            return true
        }
    }

    @Test("all endpoints and nodes are shown, and the table says what JSON says")
    func reports() async throws {
        for host in hosts {
            let endpoints = try await host.agent.endpoints()
            #expect(Set(endpoints.compactMap(\.container)) == ["web1", "web2", "web3", "beside"], "\(host)")
            #expect(endpoints.allSatisfy { $0.state == .joined && $0.addresses.count == 2 })
            let table = try host.tulle("endpoints")
            for container in Stage.all { #expect(table.contains(try container.address(on: Stage.network))) }
            for command in ["status", "networks", "endpoints", "nodes", "plan"] {
                #expect(try host.tulle("\(command) --output json").first.map { "{[".contains($0) } == true)
            }
        }
        #expect(try h1.tulle("networks").contains("10.32.0.0/16"))
    }

    @Test("an agent that knows nothing of the host's networks does not start, and touches none of them")
    func stranger() async throws {
        let talk = try SecondAgent("stranger", on: h1).refused()
        #expect(talk.contains(try await h1.namespace(of: Stage.network)) && talk.contains("--state-dir"), "\(talk)")
        #expect(try await h1.agent.plan() == [])
        #expect(try Stage.web1.reaches(Stage.web2.address(on: Stage.network)))
    }

    /// The last: it takes h3 out of the cluster.
    @Test("reset removes every trace from the host and nothing from the others")
    func reset() async throws {
        let running = try h3.tulleAttempt("reset --yes")
        #expect(running.status == 1)
        #expect(running.talk.contains("its agent runs"), "\(running.talk)")
        try h3.stopAgent()
        // The engine still has a container of ours.
        #expect(try h3.docker("ps -q") != "")
        let done = try h3.tulleAttempt("reset --yes")
        #expect(done.status == 0, "\(done.talk)")
        #expect(try h3.sh("ip netns; ls /run/netns").contains("tulle") == false)
        #expect(try h3.sh("ip -o link").contains("tulle") == false)
        #expect(try h3.sh("nft list tables").contains("tulle") == false)
        #expect(try h3.sh("iptables-save; ip6tables-save").contains("tulle") == false)
        #expect(try h3.sh("ls /run/tulle /var/lib/tulle /run/docker/plugins 2>/dev/null || true").contains("tulle") == false)
        #expect(try Stage.web1.reaches(Stage.web2.address(on: Stage.network)))
        try await h3.startAgent("--join \(h1.address) --token \(h1.agent.joinToken()) --node-name again")
        try await eventually("it can join again", within: .seconds(10)) {
            try await h3.agent.status().cluster?.id == h1.agent.status().cluster?.id
        }
    }
}
