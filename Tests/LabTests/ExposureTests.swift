import Addressing
import LocalAPI
import TestKit
import Testing

/// `tulle expose` and `tulle hide`: the host itself on a network.
@Suite("a host on a network", .serialized, .needsLab, .lab("expo", prepare: Stage.prepare))
struct ExposureTests {
    /// What a network leaves on a host, without what the kernel counts.
    private static let look = """
        ip -o address | grep -v fe80 | sed 's/valid_lft.*//; s/^[0-9]*: //'; ip route; ip -6 route | grep -v fe80; ip rule; ip netns; nft list table inet tulle | grep -v packets
        """

    init() async throws {
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
        for host in hosts { _ = try host.tulleAttempt("hide shop") }
    }

    @discardableResult
    private func expose(_ line: String, on host: LabHost) throws -> [String] { try host.tulle("expose \(line)").lines }

    @Test("it and the containers of all nodes reach each other by its address there, over IPv4 and IPv6")
    func reach() async throws {
        let mine = try expose("shop", on: h1)
        #expect(mine.count == 2)
        let (mine4, mine6) = (try #require(mine.first { !$0.contains(":") }), try #require(mine.first { $0.contains(":") }))
        let echo = try Echo(on: h1)
        for container in Stage.all {
            try Service.start(in: container, port: 9000)
            for kind in Service.Kind.allCases {
                let address = try kind.isV6 ? container.address6(on: Stage.network) : container.address(on: Stage.network)
                try await eventually("the host gets an answer of \(container) over \(kind)") {
                    let answer = try h1.asks(kind, address, 9000)
                    return answer?.name == container.name && answer?.client == (kind.isV6 ? mine6 : mine4)
                }
            }
            try await container.mustReach(mine4)
            try await container.mustReach(mine6)
            // A connection of theirs: the host sees the container's own address.
            #expect(try echo.ask(from: container, at: mine4) == container.address(on: Stage.network))
            #expect(try echo.ask6(from: container, at: mine6) == container.address6(on: Stage.network))
        }
        try echo.stop()
        // A megabyte each way: the links' MTU fit.
        let target = try Stage.web2.address(on: Stage.network)
        try h2.docker(["exec", "-d", "web2", "socat", "TCP4-LISTEN:9001,reuseaddr", "EXEC:cat"])
        let size = try h1.sh("head -c 1000000 /dev/zero | socat -t 10 - TCP4:\(target):9001,retry=50,interval=0.1 | wc -c")
        #expect(size == "1000000")
        let row = try #require(try await h3.agent.endpoints().first { $0.container == "(host)" })
        #expect(row.node == "h1" && Set(row.addresses) == Set(mine) && row.state == .joined)
        #expect(try h1.tulle("endpoints").contains("(host)"))
        #expect(try expose("shop", on: h1) == mine)
        try h1.tulle("hide shop")
        try await eventually("its address is nobody's") { try !Stage.web3.reaches(mine4) }
        try await eventually("lists do not have it") { try await h3.agent.endpoints().allSatisfy { $0.container != "(host)" } }
    }

    @Test("nobody else comes in by that way: no other address of the host, no container of another bridge, nobody from outside")
    func guards() async throws {
        try expose("shop", on: h1)
        let target = try Stage.web2.address(on: Stage.network)
        let target6 = try Stage.web2.address6(on: Stage.network)
        try h1.sh("busybox ping -q -c 1 -W 2 \(target) && busybox ping -q -c 1 -W 2 \(target6)")
        let before = try await h1.dropped("uninvited")
        #expect(try h1.attempt("busybox ping -q -c 1 -W 1 -I \(h1.address) \(target)").status != 0)
        #expect(try await h1.dropped("uninvited") > before)
        // By Docker's bridge, whose NAT would write whatever address the link has.
        try h1.docker("run -d --name stranger --cap-add NET_ADMIN lab sleep 3600")
        let stranger = Container(host: h1, name: "stranger")
        #expect(try !stranger.reaches(target))
        // By another network's way out.
        try h1.createNetwork("other", "--ipv6 --subnet 10.40.0.0/16 --subnet fd00:40::/64")
        let other = try h1.runContainer("other1", on: "other")
        #expect(try other.reaches(h2.address))
        #expect(try !other.reaches(target))
        #expect(try !other.reaches(target6))
        // One of the same wire that takes h1 for its router, with its own address and with h1's.
        let mine = try expose("shop", on: h1)
        try h3.sh("ip route add 10.32.0.0/16 via \(h1.address) && ip -6 route add fd00:32::/64 via \(h1.address6)")
        #expect(try h3.attempt("busybox ping -q -c 1 -W 1 \(target)").status != 0)
        #expect(try h3.attempt("busybox ping -q -c 1 -W 1 \(target6)").status != 0)
        try h2.docker(["exec", "-d", "web2", "socat", "-u", "UDP6-RECV:4444", "CREATE:/tmp/heard"])
        let mine6 = try #require(mine.first { $0.contains(":") })
        try h3.sh("ip -6 address add \(mine6)/128 dev lo nodad; for i in 1 2 3; do echo forged | socat -u - UDP6:[\(target6)]:4444,bind=[\(mine6)] || true; done; ip -6 address del \(mine6)/128 dev lo")
        // What is sent afterwards by right arrives alone.
        try await eventually("the listener hears") {
            try h1.sh("echo true | socat -u - UDP6:[\(target6)]:4444")
            return try Stage.web2.sh("cat /tmp/heard").contains("true")
        }
        #expect(try !Stage.web2.sh("cat /tmp/heard").contains("forged"))
        try h3.sh("ip route del 10.32.0.0/16; ip -6 route del fd00:32::/64")
        try h1.docker("rm -f stranger other1")
        try h1.docker("network rm other")
        try h1.tulle("hide shop")
    }

    @Test("an internal network too; its containers reach the host's address there and nothing else")
    func internalNetwork() async throws {
        try h2.createNetwork("inside", "--internal --ipv6 --subnet 10.41.0.0/24 --subnet fd00:41::/64")
        let containers = try await runEverywhere("in", on: "inside", Stage.privileged)
        let mine = try expose("inside --address 10.41.0.77", on: h2)
        #expect(mine.contains("10.41.0.77"))
        for container in containers {
            try await container.mustReach("10.41.0.77")
            try await container.mustReach(try #require(mine.first { $0.contains(":") }))
            try h2.sh("busybox ping -q -c 1 -W 2 \(container.address(on: "inside"))")
            // Even with a route of its own.
            try container.sh("ip route add default via 10.41.0.1; ip -6 route add default via fd00:41::1")
            #expect(try !container.reaches(h1.address))
            #expect(try !container.reaches(h1.address6))
        }
        try h2.tulle("hide inside")
        for container in containers { try container.remove() }
        try h1.docker("network rm inside")
    }

    @Test("a segment too: the host is one more port of it, whatever else it has is not", arguments: ["", "--internal"])
    func segment(more: String) async throws {
        try h1.createNetwork("seg", "\(more) --ipv6 --subnet 10.44.0.0/24 --subnet fd00:44::/64 --opt tulle.mode=switched")
        let before = try h2.sh(Self.look)
        let containers = try await runEverywhere("seg", on: "seg", Stage.privileged)
        let mine = try expose("seg", on: h2)
        let (mine4, mine6) = (try #require(mine.first { !$0.contains(":") }), try #require(mine.first { $0.contains(":") }))
        for container in containers {
            try await container.mustReach(mine4)
            try await container.mustReach(mine6)
            try Service.start(in: container, port: 9000)
            for kind in Service.Kind.allCases {
                let address = try kind.isV6 ? container.address6(on: "seg") : container.address(on: "seg")
                try await eventually("the host gets an answer of \(container) over \(kind)") {
                    let answer = try h2.asks(kind, address, 9000)
                    return answer?.name == container.name && answer?.client == (kind.isV6 ? mine6 : mine4)
                }
            }
            // By the host's port to the rest of it, and through it.
            try container.sh("ip route replace \(h2.address) via \(mine4); ip route replace \(h3.address) via \(mine4)")
            #expect(try !container.reaches(h2.address))
            if container.host.number != 3 { #expect(try !container.reaches(h3.address)) }
        }
        try h2.restartAgent("KILL")
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
        #expect(try await h2.agent.plan() == [])
        try await containers[0].mustReach(mine4)
        try h2.tulle("hide seg")
        try await eventually("its address is nobody's") { try !containers[0].reaches(mine4) }
        for container in containers { try container.remove() }
        try await eventually("nothing is left") { try h2.sh(Self.look) == before }
        try h1.docker("network rm seg")
    }

    @Test("several hosts join one network, and each has an address of its own")
    func several() async throws {
        let all = try hosts.map { try expose("shop", on: $0) }
        #expect(Set(all.flatMap { $0 }).count == 6)
        for host in hosts {
            for address in all.flatMap({ $0 }) { try host.sh("busybox ping -q -c 1 -W 2 \(address)") }
        }
        for host in hosts { try host.tulle("hide shop") }
    }

    @Test("it lasts over a restart of the agent, without a lost packet, and over one of the host")
    func restarts() async throws {
        let mine = try expose("shop", on: h3)
        let mine4 = try #require(mine.first { !$0.contains(":") })
        let flow = try Pinger(from: Stage.web1, to: mine4)
        try h3.restartAgent("KILL")
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
        #expect(try await h3.agent.plan() == [])
        try flow.expectNoLoss()
        #expect(try await h3.metric("tulle_drift_repaired_total") == 0)
        // As after a boot: the agent finds nothing of it.
        try h3.docker("rm -f web3")
        let namespace = try await h3.namespace(of: Stage.network)
        try h3.stopAgent()
        try h3.sh("ip netns del \(namespace); nft delete table inet tulle; true")
        try h3.startAgent()
        try await Stage.web1.mustReach(mine4, within: .seconds(10))
        try await eventually("the host reaches web1 over IPv6") {
            try h3.attempt("busybox ping -q -c 1 -W 1 \(Stage.web1.address6(on: Stage.network))").status == 0
        }
        try h3.tulle("hide shop")
        try h3.runContainer("web3", on: Stage.network, Stage.privileged)
    }

    @Test("what somebody takes of it comes back within seconds")
    func drift() async throws {
        let mine = try #require(expose("shop", on: h1).first { !$0.contains(":") })
        for act in [
            "ip route del 10.32.0.0/16 metric 7940", "ip address del \(mine)/32 dev $(ip -o address | grep ' \(mine)/32' | cut -d' ' -f2)",
            "ip link set $(ip -o address | grep ' \(mine)/32' | cut -d' ' -f2) down", "nft delete table inet tulle",
        ] {
            try h1.sh(act)
            try await Stage.web2.mustReach(mine, within: .seconds(5))
            try await eventually("nothing is left to do after '\(act)'") { try await h1.agent.plan() == [] }
        }
        try h1.tulle("hide shop")
    }

    @Test("hiding leaves nothing on the host")
    func nothingLeft() async throws {
        try h1.createNetwork("once", "--ipv6 --subnet 10.42.0.0/24 --subnet fd00:42::/64")
        try await networkIsEverywhere("once")
        let before = try h3.sh(Self.look)
        try expose("once", on: h3)
        #expect(try h3.sh(Self.look) != before)
        try h3.tulle("hide once")
        #expect(try h3.sh(Self.look) == before)
        #expect(try await h3.agent.plan() == [])
        try h1.docker("network rm once")
    }

    @Test("a subnet that the host has already, an unknown network and a taken address are refused with cause and remedy")
    func refusals() async throws {
        func refusal(_ line: String, on host: LabHost) throws -> String {
            let result = try host.tulleAttempt("expose \(line)")
            #expect(result.status != 0, "expose \(line)")
            return result.talk
        }
        #expect(try refusal("nosuch", on: h1).contains("shop"))
        let taken = try Stage.web2.address(on: Stage.network)
        for (line, word) in [
            ("shop --address \(taken)", taken), ("shop --address 10.99.0.1", "10.32.0.0/16"), ("shop --address nonsense", "no address"),
            ("shop --address 10.32.0.1", "gateway"), ("shop --address 10.32.0.9 --address 10.32.0.10", "one address"),
        ] {
            let answer = try refusal(line, on: h1)
            #expect(answer.contains(word), "\(line): \(answer)")
        }
        try h1.createNetwork("twin", "--subnet 10.32.0.0/16 --opt tulle.network=twin --ipam-opt tulle.network=twin")
        try await networkIsEverywhere("twin")
        try expose("shop", on: h1)
        let twin = try refusal("twin", on: h1)
        #expect(twin.contains("10.32.0.0/16") && twin.contains("tulle hide shop"), "\(twin)")
        #expect(try refusal("shop --address 10.32.99.9", on: h1).contains("tulle hide shop"))
        try h1.tulle("hide shop")
        try h1.sh("ip route add 10.32.128.0/24 dev lo")
        let route = try refusal("shop", on: h1)
        #expect(route.contains("10.32.128.0/24") && route.contains("ip route"), "\(route)")
        try h1.sh("ip route del 10.32.128.0/24 dev lo")
        // Nothing of a refused one is left.
        #expect(try await h1.agent.endpoints().allSatisfy { $0.container != "(host)" })
        try expose("twin", on: h1)
        try h1.tulle("hide twin")
        try h1.docker("network rm twin")
        #expect(try h1.tulleAttempt("hide shop").status != 0)
    }

    @Test("a network that a host has joined stays when it is removed in Docker, and says why")
    func removal() async throws {
        try h1.createNetwork("held", "--subnet 10.43.0.0/24")
        try await networkIsEverywhere("held")
        try expose("held", on: h2)
        try await eventually("h1 knows of it") { try await h1.agent.endpoints().contains { $0.network == "held" } }
        try h1.docker("network rm held")
        try await eventually("it says why it stays", within: .seconds(10)) { try await h1.network("held")?.reason?.contains("tulle hide") ?? false }
        try h2.tulle("hide held")
        try await eventually("it can go", within: .seconds(20)) {
            if try h1.engineNetworks().contains("held") { _ = try? h1.docker("network rm held") }
            return try await h2.network("held") == nil
        }
    }
}
