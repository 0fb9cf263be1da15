import LocalAPI
import TestKit
import Testing

/// Names and subnets that more than one wants.
extension PropagationTests {
    @Test("one name created on two hosts at once with the same options is one network")
    func adoption() async throws {
        let options = "--subnet 10.32.0.0/16 --opt tulle.mtu=1400 twin"
        let running = try [h1, h2].map { host in
            try lab.start("docker \(host) network create -d tulle --ipam-driver tulle \(options)".labWords)
        }
        // The engine that hears of the other's first says that it has it already.
        let results = try running.map { try $0.finish(within: .seconds(40)) }
        #expect(results.contains { $0.status == 0 })
        for result in results where result.status != 0 { #expect(result.talk.contains("already exists"), "\(result.talk)") }
        try await networkIsEverywhere("twin")
        try await eventually("all agents see one network") {
            for host in hosts {
                guard try await host.agent.networks().map(\.state) == [.active], try host.engineNetworks() == ["twin"]
                else { return false }
            }
            return true
        }
        let all = try await runEverywhere("c", on: "twin")
        #expect(try unreachablePairs(all, addresses: all.map { try $0.address(on: "twin") }) == [])
    }

    @Test("a network of the same name and options, made while the agents did not see each other, is adopted")
    func adoptionAfterwards() async throws {
        // Whoever has no store cannot create; so the second engine is away from its agent when the first creates, and is told
        // by the user before its agent returns to it.
        let twin = "--subnet 10.32.0.0/16"
        try await withoutPropagation(to: h2) { try h1.createNetwork("twin", twin) } then: { try h2.createNetwork("twin", twin) }
        let all = try await runEverywhere("c", on: "twin")
        #expect(try unreachablePairs(all, addresses: all.map { try $0.address(on: "twin") }) == [])
        for host in hosts { #expect(try await host.agent.networks().map(\.state) == [.active]) }
    }

    @Test("a network of the same name with other options is quarantined, and says why and what to do")
    func quarantine() async throws {
        try await withoutPropagation(to: h2) {
            try h1.createNetwork("twin", "--subnet 10.32.0.0/16")
        } then: {
            try h2.createNetwork("twin", "--subnet 10.40.0.0/16")
        }
        let report = try await obtain("h2 has it in quarantine") {
            try await h2.agent.networks().first { $0.state == .quarantined }
        }
        #expect(report.name == "twin")
        #expect(report.reason?.contains("another subnet") == true, "\(report)")
        #expect(report.reason?.contains("docker network rm twin") == true, "\(report)")
        let answer = try h2.dockerRefuses("run -d --name quiet --network twin lab sleep 60")
        #expect(answer.contains("another subnet"), "\(answer)")
        #expect(answer.contains("docker network rm twin"), "\(answer)")
        // The others are not disturbed.
        let pair = try await runEverywhere("c", on: "twin", hosts: [h1, h3])
        try await pair[0].mustReach(pair[1].address(on: "twin"))
        // After the remedy the cluster's network takes its place.
        try h2.docker("rm -f quiet")
        try h2.docker("network rm twin")
        try await eventually("h2 has the cluster's network") {
            try await h2.agent.networks().map(\.state) == [.active] && h2.engineNetworks() == ["twin"]
        }
        let third = try h2.runContainer("c2", on: "twin")
        try await third.mustReach(pair[0].address(on: "twin"))
    }

    @Test("a network in quarantine is one of its own when the other is removed, and is shown with its own subnet until then")
    func quarantineEnds() async throws {
        try await withoutPropagation(to: h2) {
            try h1.createNetwork("twin", "--subnet 10.32.0.0/16")
        } then: {
            try h2.createNetwork("twin", "--subnet 10.40.0.0/16")
        }
        let report = try await obtain("h2 has it in quarantine") {
            try await h2.agent.networks().first { $0.state == .quarantined }
        }
        #expect(report.subnets.map(\.prefix) == ["10.40.0.0/16"])
        // Beside it the cluster's, as it is.
        #expect(try await h2.agent.networks().filter { $0.state == .active }.flatMap(\.subnets).map(\.prefix) == ["10.32.0.0/16"])
        try h1.docker("network rm twin")
        for host in hosts {
            try await eventually("\(host) has the other one") {
                let networks = try await host.agent.networks()
                return try networks.map(\.state) == [.active] && networks[0].subnets.map(\.prefix) == ["10.40.0.0/16"] && host.engineNetworks() == ["twin"]
            }
        }
        let pair = try await runEverywhere("c", on: "twin", hosts: [h1, h2])
        try await pair[0].mustReach(pair[1].address(on: "twin"))
    }

    @Test(
        "a subnet that overlaps another network's is refused, with the remedy",
        arguments: ["10.32.0.0/16", "10.32.8.0/24", "10.0.0.0/8"])
    func overlap(subnet: String) async throws {
        try h1.createNetwork("shop", "--subnet 10.32.0.0/16")
        try await networkIsEverywhere("shop")
        for host in [h1, h2] {
            let answer = try host.dockerRefuses("network create -d tulle --ipam-driver tulle --subnet \(subnet) other")
            #expect(answer.contains("overlaps") || answer.contains("has it"), "\(answer)")
            #expect(answer.contains("shop"), "\(answer)")
            #expect(answer.contains("--opt tulle.network=KEY --ipam-opt tulle.network=KEY"), "\(answer)")
        }
        #expect(try h2.engineNetworks() == ["shop"])
    }

    @Test("a subnet that overlaps the host's own network is refused")
    func overlapWithHost() throws {
        let answer = try h1.dockerRefuses("network create -d tulle --ipam-driver tulle --subnet 192.168.0.0/16 other")
        #expect(answer.contains("this host has a route to 192.168.99.0/24"), "\(answer)")
    }

    @Test("with a key of their own two networks have the same subnet, and not a packet goes across")
    func sameSubnet() async throws {
        let subnet = "--subnet 10.32.0.0/16"
        try h1.createNetwork("red", "\(subnet) --opt tulle.network=red --ipam-opt tulle.network=red")
        try h1.createNetwork("blue", "\(subnet) --opt tulle.network=blue --ipam-opt tulle.network=blue")
        try await networkIsEverywhere("red")
        try await networkIsEverywhere("blue")
        // The same address on one host, and another that only red has, there and elsewhere.
        for (color, name) in [("red", "r"), ("blue", "b")] {
            try h1.runContainer("\(name)1", on: color, "--ip 10.32.0.10 \(Stage.privileged)")
            try h2.runContainer("\(name)2", on: color, "--ip 10.32.0.20 \(Stage.privileged)")
        }
        let lonely = try h3.runContainer("r3", on: "red", "--ip 10.32.0.30")
        let beside = try h1.runContainer("r4", on: "red", "--ip 10.32.0.40")
        func container(_ host: LabHost, _ name: String) -> Container { Container(host: host, name: name) }
        for (host, name) in [(h1, "r1"), (h1, "b1"), (h2, "r2"), (h2, "b2")] {
            try container(host, name).sh("echo \(name) >/tmp/index.html; httpd -p 80 -h /tmp")
        }
        // Each reaches those of its color.
        let ask = "curl -sS -m 2 --retry 3 --retry-connrefused http://10.32.0"
        #expect(try container(h1, "r1").sh("\(ask).20/") == "r2")
        #expect(try container(h1, "b1").sh("\(ask).20/") == "b2")
        #expect(try container(h2, "r2").sh("\(ask).10/") == "r1")
        #expect(try container(h2, "b2").sh("\(ask).10/") == "b1")
        #expect(try container(h1, "r1").reaches("10.32.0.30"))
        #expect(try container(h1, "r1").reaches("10.32.0.40"))
        // And nobody of the other.
        for name in ["b1", "b2"] {
            let host = name == "b1" ? h1 : h2
            for address in ["10.32.0.30", "10.32.0.40"] { #expect(try !container(host, name).reaches(address)) }
        }
        for target in [lonely, beside] { #expect(try target.sh("ip neigh").contains("10.32.0.10") == false) }
        // Both agents agree that these are two.
        let reports = try await h3.agent.networks()
        #expect(reports.map(\.key) == ["blue", "red"])
        #expect(Set(reports.map(\.vni)).count == 2)
        try await eventually("four endpoints of red") { try await h3.network("red")?.endpointsTotal == 4 }
    }

    @Test("an option and an address option that name different keys are refused")
    func differentKeys() throws {
        let answer = try h1.dockerRefuses(
            "network create -d tulle --ipam-driver tulle --subnet 10.32.0.0/16 --opt tulle.network=red --ipam-opt tulle.network=blue x")
        #expect(answer.contains("--ipam-opt tulle.network"), "\(answer)")
    }

    @Test("without the address driver a network is refused, with what to type instead")
    func withoutAddressDriver() throws {
        let answer = try h1.dockerRefuses("network create -d tulle --subnet 10.32.0.0/16 x")
        #expect(answer.contains("--ipam-driver tulle"), "\(answer)")
        #expect(try h1.docker("network ls -q --filter name=^x$").isEmpty)
        // Docker has released what it asked for: the same subnet is free.
        try h1.createNetwork("x", "--subnet 10.32.0.0/16")
    }

    @Test("a wrong option is refused and named", arguments: [
        ("--opt tulle.mtu=big", "big"), ("--opt tulle.mtu=100", "100"), ("--opt tulle.mut=1400", "tulle.mut"),
        ("--ipam-opt tulle.block-size=8", "tulle.block-size"), ("--opt tulle.mode=bridged", "bridged"),
        ("--ip-range 10.99.0.0/24", "10.99.0.0/24"),
    ])
    func wrongOption(option: String, named: String) throws {
        let answer = try h1.dockerRefuses("network create -d tulle --ipam-driver tulle --subnet 10.32.0.0/16 \(option) x")
        #expect(answer.contains(named), "\(answer)")
        #expect(try h1.engineNetworks().isEmpty)
    }

    @Test("while the store is away a network is refused, and the message names the store", .needsEmbeddedStore("the store goes away with its agent; EtcdTests has it for etcd"))
    func storeAway() async throws {
        try h1.stopAgent()
        try await eventually("h2 has noticed", within: .seconds(20)) { try await !h2.agent.status().store.reachable }
        let answer = try h2.dockerRefuses("network create -d tulle --ipam-driver tulle --subnet 10.32.0.0/16 x")
        #expect(answer.contains("store does not answer"), "\(answer)")
        #expect(try h2.engineNetworks().isEmpty)
        try h1.startAgent()
        try await eventually("it works again", within: .seconds(15)) { try await lab.isWhole() }
        try h2.createNetwork("x", "--subnet 10.32.0.0/16")
    }

    /// `first` happens while `host` does not hear of it; then `second`, before it does. The host's engine is cut from its agent, so
    /// that the agent cannot make the network there; the socket it asks is put back at the end.
    private func withoutPropagation(to host: LabHost, _ first: () throws -> Void, then second: () throws -> Void) async throws {
        let socket = "/run/docker.sock"
        try host.restartAgent(with: "--docker-socket /run/nobody.sock")
        try await eventually("\(host) is back", within: .seconds(15)) {
            let status = try await host.agent.status()
            return status.store.reachable && status.lease.state == .held
        }
        try first()
        try await eventually("\(host) knows the network") { try await host.agent.networks().count == 1 }
        try second()
        try host.restartAgent(with: "--docker-socket \(socket)")
        try await eventually("\(host) is back", within: .seconds(15)) { try await lab.isWhole() }
    }
}
