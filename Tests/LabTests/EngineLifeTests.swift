import LocalAPI
import TestKit
import Testing

/// What the engine does to containers, and what becomes of their endpoints.
@Suite("the engine's life", .serialized, .needsLab, .lab("engine"))
struct EngineLifeTests {
    init() async throws {
        try await lab.clear()
        try h1.createNetwork("shop", "--ipv6 --subnet 10.32.0.0/16 --subnet fd00:32::/64")
        try await networkIsEverywhere("shop")
    }

    private func endpoints(of host: LabHost) async throws -> [EndpointReport] {
        try await h1.agent.endpoints().filter { $0.node == "\(host)" }
    }

    @Test("a container that is stopped and started, or restarted, is reached at once, under its MAC")
    func restart() async throws {
        let fixed = try h1.runContainer("fixed", on: "shop", "--ip 10.32.0.77 --ip6 fd00:32::77")
        let other = try h2.runContainer("other", on: "shop")
        try await other.mustReach("10.32.0.77")
        let mac = try fixed.mac(on: "shop")
        for act in ["stop -t 0", "restart -t 0", "kill"] {
            try h1.docker("\(act) fixed")
            if act != "restart -t 0" {
                #expect(try !other.reaches("10.32.0.77"))
                try h1.docker("start fixed")
            }
            #expect(try other.succeeds("ping -q -c 1 -W 1 10.32.0.77"), "at once after \(act)")
            #expect(try other.succeeds("ping -q -c 1 -W 1 fd00:32::77"), "at once after \(act)")
            #expect(try fixed.mac(on: "shop") == mac)
            #expect(try fixed.sh("cat /sys/class/net/eth0/address") == mac)
        }
    }

    @Test("a container without a fixed address keeps talking after a restart, wherever its address went")
    func restartFree() async throws {
        let container = try h1.runContainer("free", on: "shop")
        let other = try h2.runContainer("other", on: "shop")
        for _ in 0..<3 {
            try h1.docker("restart -t 0 free")
            #expect(try other.reaches(container.address(on: "shop")))
            #expect(try container.reaches(other.address(on: "shop")))
        }
    }

    @Test("rm -f frees the endpoint at once, and an endpoint is never left over")
    func removal() async throws {
        let all = try await runEverywhere("c", on: "shop")
        try await eventually("all are known", within: .seconds(12)) { try await h1.agent.endpoints().count == 3 }
        let address = try all[1].address(on: "shop")
        for container in all { try container.remove() }
        try await eventually("all endpoints are gone") { try await h1.agent.endpoints().isEmpty }
        for host in hosts { try await eventually("\(host) has no namespace for nothing") { try host.sh("ip netns").isEmpty } }
        let probe = try h1.runContainer("probe", on: "shop")
        #expect(try !probe.reaches(address))
    }

    @Test("a container is connected to a second network and disconnected again, and talks on both")
    func connect() async throws {
        try h1.createNetwork("second", "--subnet 10.40.0.0/16")
        try await networkIsEverywhere("second")
        let container = try h1.runContainer("both", on: "shop")
        let (a, b) = (try h2.runContainer("first", on: "shop"), try h2.runContainer("second", on: "second"))
        try await container.mustReach(a.address(on: "shop"))
        for _ in 0..<2 {
            try h1.docker("network connect second both")
            try await container.mustReach(b.address(on: "second"))
            #expect(try b.reaches(container.address(on: "second")))
            #expect(try container.reaches(a.address(on: "shop")))
            #expect(try a.reaches(container.address(on: "shop")))
            // The two networks do not become one by it.
            #expect(try !a.reaches(b.address(on: "second")))
            try h1.docker("network disconnect second both")
            #expect(try !container.reaches(b.address(on: "second")))
            #expect(try container.reaches(a.address(on: "shop")))
        }
        try h1.docker("network disconnect shop both")
        #expect(try !a.reaches("10.32.0.1") || !container.reaches(a.address(on: "shop")))
        try h1.docker("network connect shop both")
        try await container.mustReach(a.address(on: "shop"))
    }

    @Test("the program of a container that ends by itself frees its endpoint")
    func exit() async throws {
        try h1.docker("run -d --name short --network shop lab true")
        try await eventually("it has ended") { try h1.docker("inspect -f {{.State.Running}} short") == "false" }
        try await eventually("the endpoint is gone", within: .seconds(2)) {
            let counts = [try await h1.agent.status().endpoints, try await endpoints(of: h1).count]
            return counts == [0, 0]
        }
    }

    @Test("an engine that dies with its containers: their endpoints are freed when it is back, their addresses not before")
    func crash() async throws {
        let dead = try h2.runContainer("dead", on: "shop")
        let address = try dead.address(on: "shop")
        let other = try h1.runContainer("other", on: "shop")
        try await other.mustReach(address)
        try await eventually("it is known", within: .seconds(12)) { try await endpoints(of: h2).count == 1 }
        try lab.run(["docker-crash", "h2"])
        #expect(try await endpoints(of: h2).count == 1, "a silent engine proves nothing")
        try lab.run(["docker-start", "h2"], within: .seconds(60))
        try await eventually("the dead endpoint is freed", within: .seconds(20)) { try await endpoints(of: h2).isEmpty }
        let next = try h2.runContainer("next", on: "shop", "--ip \(address)")
        try await other.mustReach(next.address(on: "shop"))
    }

    @Test("an engine with live-restore may restart or be killed: nothing is lost, nothing freed")
    func liveRestore() async throws {
        try lab.run(["docker-restart", "h2", "--live-restore"], within: .seconds(60))
        let container = try h2.runContainer("lives", on: "shop")
        let other = try h1.runContainer("other", on: "shop")
        try await other.mustReach(container.address(on: "shop"))
        try await eventually("it is known", within: .seconds(12)) { try await endpoints(of: h2).count == 1 }
        let pings = try Pinger(from: other, to: container.address(on: "shop"))
        try lab.run(["docker-restart", "h2", "--live-restore"], within: .seconds(60))
        try await eventually("h2 has its engine back") { try await h2.agent.status().docker?.reachable == true }
        try lab.run(["docker-crash", "h2"])
        try lab.run(["docker-start", "h2", "--live-restore"], within: .seconds(60))
        // Long enough for several looks at the engine's lists.
        #expect(try await always(for: .seconds(6)) { try await endpoints(of: h2).count == 1 })
        try pings.expectNoLoss()
        #expect(try h2.docker("ps --format {{.Names}}") == "lives")
        try container.remove()
        try await eventually("it is freed when it goes") { try await endpoints(of: h2).isEmpty }
        try lab.run(["docker-restart", "h2"], within: .seconds(60))
    }

    @Test("a container that starts with its engine gets its network back")
    func boot() async throws {
        let container = try h2.runContainer("boots", on: "shop", "--restart always")
        let other = try h1.runContainer("other", on: "shop")
        try lab.run(["docker-restart", "h2"], within: .seconds(60))
        try await eventually("it runs", within: .seconds(20)) { try h2.docker("inspect -f {{.State.Running}} boots") == "true" }
        try await other.mustReach(container.address(on: "shop"))
    }
}
