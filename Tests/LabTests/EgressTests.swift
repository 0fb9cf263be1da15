import LocalAPI
import TestKit
import Testing

/// `tulle.egress`: how containers leave for the outside. h1 has addresses of its own for it, and the others have not.
@Suite("the way out", .serialized, .needsLab, .lab("egr"))
struct EgressTests {
    private static let chosen = "192.168.99.201"
    private static let chosen6 = "fd99:99::201"

    private func has(_ isThere: Bool, on host: LabHost) throws {
        let verb = isThere ? "add" : "del"
        try host.sh("ip address \(verb) \(Self.chosen)/32 dev eth0; ip address \(verb) \(Self.chosen6)/128 dev eth0\(isThere ? " nodad" : "")")
    }

    @Test("containers bear the chosen addresses on a host that has them; elsewhere the host's, and status says what is missing", arguments: ["routed", "switched"])
    func chosen(mode: String) async throws {
        try has(true, on: h1)
        try h1.createNetwork(
            "signed", "--ipv6 --subnet 10.50.0.0/16 --subnet fd00:50::/64 --opt tulle.mode=\(mode) --opt tulle.egress=\(Self.chosen),\(Self.chosen6)")
        let all = try await runEverywhere("signed", on: "signed", hosts: [h1, h2])
        let echo = try Echo(on: h3)
        #expect(try echo.ask(from: all[0]) == Self.chosen)
        #expect(try echo.ask6(from: all[0]) == Self.chosen6)
        #expect(try echo.ask(from: all[1]) == h2.address)
        #expect(try echo.ask6(from: all[1]) == h2.address6)
        #expect(try await h1.agent.status().problems == [])
        let problems = try await h2.agent.status().problems
        #expect(problems.count == 2 && problems.allSatisfy { $0.contains("signed") && $0.contains("tulle.egress") }, "\(problems)")
        // Among each other they have their own.
        try Service.start(in: all[1], port: 9000, kinds: [.tcp4, .tcp6])
        try await eventually("an answer") {
            try all[0].asks(.tcp4, all[1].address(on: "signed"), 9000)?.client == all[0].address(on: "signed")
        }
        // The address goes and comes back.
        try has(false, on: h1)
        try await eventually("h1 says so") { try await h1.agent.status().problems.count == 2 }
        try await eventually("they bear the host's") { try echo.ask(from: all[0]) == h1.address }
        #expect(try echo.ask6(from: all[0]) == h1.address6)
        try has(true, on: h1)
        try await eventually("they bear the chosen one again") { try echo.ask(from: all[0]) == Self.chosen && echo.ask6(from: all[0]) == Self.chosen6 }
        // A new agent finds it so.
        try h1.restartAgent()
        #expect(try echo.ask(from: all[0]) == Self.chosen)
        try await eventually("nothing is left to do") { try await h1.agent.plan() == [] }
        try echo.stop()
        for container in all { try container.remove() }
        try h1.docker("network rm signed")
        try has(false, on: h1)
    }

    @Test("with 'none' nothing leaves, not by a published port's way either; the host that joins is reached", arguments: ["routed", "switched"])
    func none(mode: String) async throws {
        try h1.createNetwork("shut", "--ipv6 --subnet 10.51.0.0/16 --subnet fd00:51::/64 --opt tulle.mode=\(mode) --opt tulle.egress=none")
        let all = try await runEverywhere("shut", on: "shut", Stage.privileged)
        for container in all {
            for target in hosts.filter({ $0.number != container.host.number }) {
                #expect(try !container.reaches(target.address))
                #expect(try !container.reaches(target.address6))
            }
            for other in all {
                try await container.mustReach(other.address(on: "shut"))
                try await container.mustReach(other.address6(on: "shut"))
            }
        }
        let answer = try all[0].sh("socat - TCP:\(h2.address):80,connect-timeout=10 2>&1 </dev/null || true")
        #expect(answer.contains("unreachable"), "\(answer)")
        let refusal = try h1.dockerRefuses("run --rm --network shut -p 8080:80 lab true")
        #expect(refusal.contains("tulle.egress=none") && refusal.contains("-p"), "\(refusal)")
        let mine = try h1.tulle("expose shut").lines
        for address in mine {
            for container in all { try await container.mustReach(address) }
        }
        #expect(try !all[0].reaches(h2.address))
        try h1.tulle("hide shut")
        for container in all { try container.remove() }
        try h1.docker("network rm shut")
    }

    @Test("values that say no way out are refused when the network is made")
    func refusals() throws {
        for (options, word) in [
            ("--opt tulle.egress=", "masquerade, none"), ("--opt tulle.egress=nat", "masquerade, none"),
            ("--opt tulle.egress=192.0.2.1,192.0.2.2", "masquerade, none"), ("--opt tulle.egress=127.0.0.1", "masquerade, none"),
            ("--opt tulle.egress=fd99:99::201", "IPv6 subnet"), ("--opt tulle.egress=10.52.0.9", "within the network"),
            ("--internal --opt tulle.egress=192.0.2.1", "--internal"),
        ] {
            let answer = try h1.dockerRefuses("network create -d tulle --ipam-driver tulle --subnet 10.52.0.0/16 \(options) wrong")
            #expect(answer.contains(word), "\(options): \(answer)")
        }
    }
}
