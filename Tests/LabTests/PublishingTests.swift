import LocalAPI
import TestKit
import Testing

/// `-p`: what people know from Docker's bridge, on a network of ours.
@Suite("published ports", .serialized, .needsLab, .lab("pub", prepare: Stage.prepare))
struct PublishingTests {
    private static let both = "-p 8080:80 -p 8080:80/udp"

    init() async throws {
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
        // Of a test that failed.
        for host in hosts {
            for name in try host.docker("ps -a --format {{.Names}}").lines where !Stage.all.contains(where: { $0.name == name }) {
                try host.docker("rm -f \(name)")
            }
        }
    }

    private func publish(_ name: String, on host: LabHost, _ options: String, port: Int = 80) throws -> Container {
        let container = try host.runContainer(name, on: Stage.network, "\(Stage.privileged) \(options)")
        try Service.start(in: container, port: port)
        return container
    }

    private func expectAnswer(
        of name: String, from place: String, sourceLocation: SourceLocation = #_sourceLocation, _ ask: () throws -> (name: String, client: String)?
    ) async throws {
        // The server in the container may be about to start.
        try await eventually("\(name) answers \(place)", within: .seconds(8)) { try ask()?.name == name }
    }

    @Test("answer on the host itself, from other hosts and from containers, over TCP and UDP, IPv4 and IPv6, and Docker shows them")
    func everywhere() async throws {
        let web = try publish("pub", on: h1, Self.both)
        for kind in Service.Kind.allCases {
            let address = kind.isV6 ? h1.address6 : h1.address
            try await expectAnswer(of: "pub", from: "the host by loopback, \(kind)") { try h1.asks(kind, kind.isV6 ? "::1" : "127.0.0.1", 8080) }
            try await expectAnswer(of: "pub", from: "the host by its address, \(kind)") { try h1.asks(kind, address, 8080) }
            try await expectAnswer(of: "pub", from: "another host, \(kind)") { try h2.asks(kind, address, 8080) }
            // Over UDP Docker's proxy answers from another address of the host than was asked, on its own bridge too.
            if kind.isTCP {
                try await expectAnswer(of: "pub", from: "itself by the host's address, \(kind)") { try web.asks(kind, address, 8080) }
            }
            for other in [Stage.beside, Stage.web2] {
                if kind != .udp6 || other.host.number != 1 {
                    try await expectAnswer(of: "pub", from: "\(other) by the host's address, \(kind)") { try other.asks(kind, address, 8080) }
                }
                let inner = try kind.isV6 ? web.address6(on: Stage.network) : web.address(on: Stage.network)
                let own = try kind.isV6 ? other.address6(on: Stage.network) : other.address(on: Stage.network)
                try await eventually("pub answers \(other) by the network, \(kind), and sees \(own)", within: .seconds(8)) {
                    let answer = try other.asks(kind, inner, 80)
                    return answer?.name == "pub" && answer?.client == own
                }
            }
        }
        // As on Docker's bridge, the server sees who asks from another host.
        for kind in [Service.Kind.tcp4, .udp4] { #expect(try h2.asks(kind, h1.address, 8080)?.client == h2.address) }
        let shown = try h1.docker("port pub").lines
        for line in ["80/tcp -> 0.0.0.0:8080", "80/udp -> 0.0.0.0:8080"] { #expect(shown.contains(line), "\(shown)") }
        let listed = try h1.docker(["ps", "--filter", "name=pub", "--format", "{{.Ports}}"])
        #expect(listed.contains("0.0.0.0:8080->80/tcp") && listed.contains("0.0.0.0:8080->80/udp"), "\(listed)")
        try web.remove()
    }

    @Test("a container with published ports has the way out and the network, over IPv4 and IPv6")
    func wayOut() async throws {
        let web = try publish("pub", on: h1, Self.both)
        let echo = try Echo(on: h3)
        #expect(try echo.ask(from: web) == h1.address)
        #expect(try echo.ask6(from: web) == h1.address6)
        try echo.stop()
        for other in Stage.all {
            try await web.mustReach(other.address(on: Stage.network))
            try await web.mustReach(other.address6(on: Stage.network))
            try await other.mustReach(web.address6(on: Stage.network))
        }
        try web.remove()
    }

    @Test("on a segment they answer too, and its containers have the way out over IPv4 and IPv6")
    func segment() async throws {
        try h1.createNetwork("seg", "--ipv6 --subnet 10.62.0.0/24 --subnet fd00:62::/64 --opt tulle.mode=switched")
        try await networkIsEverywhere("seg")
        let web = try h1.runContainer("pub", on: "seg", "\(Stage.privileged) \(Self.both)")
        try Service.start(in: web)
        let other = try h2.runContainer("other", on: "seg")
        for kind in Service.Kind.allCases {
            try await expectAnswer(of: "pub", from: "another host, \(kind)") { try h3.asks(kind, kind.isV6 ? h1.address6 : h1.address, 8080) }
            try await expectAnswer(of: "pub", from: "the host, \(kind)") { try h1.asks(kind, kind.isV6 ? h1.address6 : h1.address, 8080) }
            let inner = try kind.isV6 ? web.address6(on: "seg") : web.address(on: "seg")
            try await expectAnswer(of: "pub", from: "\(other) by the network, \(kind)") { try other.asks(kind, inner, 80) }
        }
        #expect(try h1.docker("port pub").contains("80/tcp -> 0.0.0.0:8080"))
        let echo = try Echo(on: h3)
        for container in [web, other] {
            #expect(try echo.ask(from: container) == container.host.address)
            #expect(try echo.ask6(from: container) == container.host.address6)
        }
        try echo.stop()
        try web.remove()
        try other.remove()
        try h1.docker("network rm seg")
    }

    @Test("ports bound to an address answer there alone; ranges lead each to its own")
    func bindings() async throws {
        let bound = try publish("bound", on: h1, "-p \(h1.address):8081:80 -p 127.0.0.1:8082:80 -p [\(h1.address6)]:8083:80")
        try await expectAnswer(of: "bound", from: "its address") { try h2.asks(.tcp4, h1.address, 8081) }
        try await expectAnswer(of: "bound", from: "loopback") { try h1.asks(.tcp4, "127.0.0.1", 8082) }
        try await expectAnswer(of: "bound", from: "its IPv6 address") { try h2.asks(.tcp6, h1.address6, 8083) }
        #expect(try h1.asks(.tcp4, "127.0.0.1", 8081) == nil)
        #expect(try h2.asks(.tcp4, h1.address, 8082) == nil)
        #expect(try h2.asks(.tcp4, h1.address, 8083) == nil)
        #expect(try h1.docker("port bound").lines.contains("80/tcp -> \(h1.address):8081"))
        try bound.remove()

        let range = try h1.runContainer("range", on: Stage.network, "-p 8090-8092:90-92")
        for port in 90...92 { try Service.start(in: range, port: port, kinds: [.tcp4]) }
        for port in 8090...8092 { try await expectAnswer(of: "range", from: "\(port)") { try h2.asks(.tcp4, h1.address, port) } }
        // Of a range for one port, the first that is free.
        let one = try publish("one", on: h1, "-p 8090-8095:80")
        #expect(try h1.docker("port one").contains(":8093"))
        try await expectAnswer(of: "one", from: "8093") { try h2.asks(.tcp4, h1.address, 8093) }
        try range.remove()
        try one.remove()
    }

    @Test("a port that another container has is refused with its number, and is free on another host and after that one's end")
    func taken() async throws {
        let first = try publish("first", on: h1, "-p 8080:80")
        let answer = try h1.dockerRefuses("run -d --name second --network shop -p 8080:80 lab sleep 3600")
        #expect(answer.contains("8080") && answer.contains("already allocated"), "\(answer)")
        try h1.docker("rm -f second")
        let elsewhere = try publish("elsewhere", on: h2, "-p 8080:80")
        try await expectAnswer(of: "elsewhere", from: "h3") { try h3.asks(.tcp4, h2.address, 8080) }
        try first.remove()
        let third = try publish("third", on: h1, "-p 8080:80")
        try await expectAnswer(of: "third", from: "h3") { try h3.asks(.tcp4, h1.address, 8080) }
        // Nothing of the refused one is left on the network.
        try await eventually("lists have those that run") { try await h1.agent.endpoints().count == Stage.all.count + 2 }
        try third.remove()
        try elsewhere.remove()
    }

    @Test("they answer while the agent is away, and after restarts of agent and container")
    func lives() async throws {
        let web = try publish("pub", on: h1, "-p 8080:80")
        try await expectAnswer(of: "pub", from: "h2") { try h2.asks(.tcp4, h1.address, 8080) }
        try h1.stopAgent("KILL")
        #expect(try h2.asks(.tcp4, h1.address, 8080)?.name == "pub")
        try h1.startAgent()
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
        #expect(try h2.asks(.tcp4, h1.address, 8080)?.name == "pub")
        try h1.docker("restart -t 0 pub")
        try Service.start(in: web)
        try await expectAnswer(of: "pub", from: "h2 after its restart") { try h2.asks(.tcp4, h1.address, 8080) }
        #expect(try h1.docker("port pub").contains("0.0.0.0:8080"))
        try web.remove()
    }

    @Test("somebody flushes FORWARD, whose policy is DROP: they answer again within seconds, and Docker's own rules come back alone")
    func flush() async throws {
        let web = try publish("pub", on: h1, Self.both)
        try await expectAnswer(of: "pub", from: "h2") { try h2.asks(.tcp4, h1.address, 8080) }
        #expect(try !h1.sh("iptables-save").contains("tulle: published ports"))
        try h1.sh("iptables-save >/run/v4.save; iptables -P FORWARD DROP; iptables -F FORWARD")
        let answers = await Result.of {
            for kind in [Service.Kind.tcp4, .udp4] {
                try await expectAnswer(of: "pub", from: "h2 after the flush, \(kind)") { try h2.asks(kind, h1.address, 8080) }
            }
            try await web.mustReach(h2.address, within: .seconds(8))
            // A port that nobody published leads nowhere.
            #expect(try h2.asks(.tcp4, h1.address, 80) == nil)
        }
        try h1.sh("iptables-restore </run/v4.save")
        try answers.get()
        try await eventually("ours are gone", within: .seconds(8)) { try !h1.sh("iptables-save").contains("tulle: published ports") }
        #expect(try h2.asks(.tcp4, h1.address, 8080)?.name == "pub")
        try web.remove()
    }

    @Test("a second network changes nothing for them")
    func secondNetwork() async throws {
        try h1.createNetwork("back", "--internal --subnet 10.60.0.0/16")
        try h1.createNetwork("side", "--subnet 10.61.0.0/16")
        let web = try publish("pub", on: h1, "-p 8080:80")
        for network in ["back", "side"] {
            try h1.docker("network connect \(network) pub")
            try await expectAnswer(of: "pub", from: "h2 with \(network)") { try h2.asks(.tcp4, h1.address, 8080) }
            #expect(try h1.docker("port pub").contains("0.0.0.0:8080"))
        }
        try web.remove()
        for network in ["back", "side"] { try h1.docker("network rm \(network)") }
    }
}
