import DNS
import FoundationEssentials
import LocalAPI
import TestKit
import Testing

/// Containers find each other by name across hosts, and nobody has set anything for it.
@Suite("names across hosts", .serialized, .needsLab, .lab("dns"))
struct NameTests {
    init() async throws { try await lab.clear() }

    static let network = "shop"

    private func createNetwork(_ options: String = "--subnet 10.32.0.0/16") async throws {
        try h1.createNetwork(Self.network, options)
        try await networkIsEverywhere(Self.network)
    }

    @Test("a container is found on another host by name, name.network, alias, wildcard, hostname and short id, by UDP and TCP")
    func names() async throws {
        try await createNetwork("--subnet 10.32.0.0/16 --ipv6 --subnet fd00:32::/64")
        let web = try h1.runContainer(
            "Web", on: Self.network, "--hostname front --network-alias www --network-alias a.b.c --network-alias *.cdn")
        let other = try h2.runContainer("other", on: Self.network)
        let (v4, v6) = (try web.address(on: Self.network), try web.address6(on: Self.network))
        let id = String(try h1.docker("inspect -f {{.Id}} Web").prefix(12))
        try await other.mustFind("www", [v4])
        for name in ["web", "Web", "WEB.shop", "www", "www.shop", "a.b.c", "x.cdn", "y.x.cdn.shop", "front", id] {
            #expect(try other.lookUp(name) == [v4], "\(name)")
        }
        #expect(try other.lookUp("web", .aaaa) == [v6])
        #expect(try other.lookUp("web", overTCP: true) == [v4])
        // What a program of the container's sees.
        #expect(try other.sh("ping -q -c 1 -W 2 web").contains("1 packets received"))
        #expect(try other.sh("nslookup www.shop").contains(v4))
        // And at home, where Docker would know it too.
        #expect(try web.lookUp("other") == [try other.address(on: Self.network)])
        #expect(try web.lookUp("front") == [v4])
    }

    @Test("a name without an address of a family is answered with nothing, and what nobody is called goes to Docker and the host's resolver")
    func unknown() async throws {
        let upstream = try Upstream(answering: "203.0.113.7")
        defer { upstream.stop() }
        try await createNetwork()
        let all = try await runEverywhere("c", on: Self.network, hosts: [h1, h2])
        try await all[0].mustFind("c2", [all[1].address(on: Self.network)])
        let nothing = try #require(try all[0].ask("c2", .aaaa))
        #expect(nothing.code == .noError && nothing.answers == [] && nothing.authorities.map(\.type) == [.soa])
        let outside = try #require(try all[0].ask("www.example.com", patience: 3))
        #expect(outside.answers.map { "\($0.data)" } == ["203.0.113.7"] && !outside.isAuthoritative)
        #expect(try all[0].ask("nobody.invalid", patience: 3)?.code == .noSuchName)
    }

    @Test("a network that only Docker knows is answered by Docker, in a container of both too, and names of a network it is not in do not exist for it")
    func dockerOnly() async throws {
        try await createNetwork()
        try h1.createNetwork("bank", "--subnet 10.33.0.0/16")
        try await networkIsEverywhere("bank")
        try h1.docker("network create plain")
        defer { _ = try? h1.attempt("docker rm -f side both >/dev/null; docker network rm plain") }
        let side = try h1.runContainer("side", on: "plain")
        let both = try h1.runContainer("both", on: Self.network)
        try h1.docker("network connect plain both")
        let far = try h2.runContainer("far", on: Self.network)
        let safe = try h2.runContainer("safe", on: "bank")
        try await both.mustFind("far", [far.address(on: Self.network)])
        #expect(try both.lookUp("side") == [try side.address(on: "plain")])
        #expect(try both.lookUp("safe") == [])
        #expect(try far.lookUp("safe.bank") == [])
        try h1.docker("network connect bank both")
        try await both.mustFind("safe", [safe.address(on: "bank")])
        try h1.docker("network disconnect bank both")
        try await both.mustFind("safe", [])
        #expect(try both.lookUp("far") == [try far.address(on: Self.network)])
    }

    @Test("an address has a name, and a published port is a service")
    func reverse() async throws {
        try await createNetwork()
        let web = try h1.runContainer("web", on: Self.network, "-p 8080:80")
        let other = try h2.runContainer("other", on: Self.network)
        let address = try web.address(on: Self.network)
        let name = address.split(separator: ".").reversed().joined(separator: ".") + ".in-addr.arpa"
        try await other.mustFind("_80._tcp.web", ["0 1 80 web.shop"], .srv)
        let service = try #require(try other.ask("_80._tcp.web", .srv))
        #expect(service.additionals.map { "\($0.data)" } == [address])
        #expect(try other.lookUp(name, .ptr) == ["web.shop"])
        #expect(try other.lookUp("_8080._tcp.web", .srv) == [])
    }

    @Test("all addresses of an alias are told, each first at times; an answer too long for UDP says so and is whole over TCP")
    func many() async throws {
        try await createNetwork()
        let all = try await runEverywhere("c", on: Self.network, "--network-alias web")
        let addresses = try all.map { try $0.address(on: Self.network) }
        try await all[0].mustFind("web", addresses)
        var first: Set<String> = []
        for _ in 0..<6 { first.formUnion(try all[0].lookUp("web").prefix(1)) }
        #expect(first == Set(addresses))
        // 16 bytes each: 33 are too many for 512.
        for round in 0..<10 { _ = try await runEverywhere("m\(round)", on: Self.network, "--network-alias web") }
        try await eventually("all are known", within: .seconds(5)) { try all[0].lookUp("web", overTCP: true).count == 33 }
        let cut = try #require(try all[0].ask("web"))
        #expect(cut.isTruncated && cut.answers.count < 33)
        let whole = try #require(try all[0].ask("web", size: 1232))
        #expect(!whole.isTruncated && whole.answers.count == 33 && whole.options != nil)
    }

    @Test("the first lookup of a container's first instruction finds the other hosts' containers")
    func firstInstruction() async throws {
        try await createNetwork()
        let web = try h1.runContainer("web", on: Self.network)
        let address = try web.address(on: Self.network)
        let probe = try h2.runContainer("probe", on: Self.network)
        try await probe.mustFind("web", [address])
        for _ in 0..<5 {
            let output = try h2.docker(["run", "--rm", "--network", Self.network, "lab", "nslookup", "-type=a", "web."])
            #expect(output.contains(address), "\(output)")
        }
    }

    @Test("a container's names are gone everywhere within 2 s of its end, and a new one of the name is found with its address")
    func end() async throws {
        try await createNetwork()
        let all = try await runEverywhere("c", on: Self.network, hosts: [h1, h2])
        try await all[0].mustFind("c2", [all[1].address(on: Self.network)])
        try all[1].remove()
        try await all[0].mustFind("c2", [], within: .seconds(2))
        let fresh = try h2.runContainer("c2", on: Self.network).address(on: Self.network)
        try await all[0].mustFind("c2", [fresh], within: .seconds(2))
        try h2.docker("rename c2 renamed")
        try await all[0].mustFind("renamed", [fresh], within: .seconds(2))
        #expect(try all[0].lookUp("c2") == [])
    }

    @Test("without an agent Docker answers again within 2.5 s, and with the next one the other hosts' names are back, also for its running containers", arguments: ["TERM", "KILL"])
    func agent(signal: String) async throws {
        try await createNetwork()
        let all = try await runEverywhere("c", on: Self.network, hosts: [h1, h2])
        let beside = try h1.runContainer("beside", on: Self.network)
        let (near, far) = (try beside.address(on: Self.network), try all[1].address(on: Self.network))
        try await all[0].mustFind("c2", [far])
        // On other hosts nothing is noticed.
        let stays = Task { try await always(for: .seconds(4)) { try all[1].lookUp("c1") == [all[0].address(on: Self.network)] } }
        try h1.stopAgent(signal)
        if signal == "TERM" { #expect(try all[0].lookUp("beside") == [near], "at once") }
        if signal == "KILL" {
            try await all[0].mustFind("beside", [near], within: .milliseconds(2_500))
            #expect(try all[0].lookUp("c2") == [], "Docker knows its own")
        }
        try h1.startAgent()
        try await all[0].mustFind("c2", [far], within: .seconds(1))
        #expect(try all[0].lookUp("beside") == [near])
        #expect(try await stays.value)
    }

    @Test("a host that is cut off goes on with what it knew; others withhold its containers within 25 s, and find them again within 5 s of its return")
    func cutOff() async throws {
        try await createNetwork()
        let all = try await runEverywhere("c", on: Self.network)
        let addresses = try all.map { try $0.address(on: Self.network) }
        try await all[0].mustFind("c3", [addresses[2]])
        try await all[2].mustFind("c1", [addresses[0]])
        try lab.run(["link", "h3", "down"])
        try await all[0].mustFind("c3", [], within: .seconds(25))
        #expect(try all[0].lookUp("c2") == [addresses[1]])
        #expect(try all[2].lookUp("c1") == [addresses[0]] && all[2].lookUp("c3") == [addresses[2]])
        try lab.run(["link", "h3", "up"])
        try await all[0].mustFind("c3", [addresses[2]], within: .seconds(5))
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
    }

    @Test("a Compose service is all its containers, on whichever hosts they run", .needsCompose)
    func compose() async throws {
        let project = Project.tulle(config: ["subnet: 10.32.0.0/16"])
        for host in hosts { try project.run("up -d", on: host) }
        let addresses = try project.webs().map { try $0.address(on: project.networkName) }
        for web in project.webs() { try await web.mustFind("web", addresses) }
        try project.run("down", on: h3)
        try await project.web(on: h1).mustFind("web", Array(addresses.prefix(2)), within: .seconds(2))
        for host in [h1, h2] { try project.run("down", on: host) }
    }

    @Test("tulle dns lists names and says what a container would be told")
    func command() async throws {
        try await createNetwork()
        let web = try h1.runContainer("web", on: Self.network, "--network-alias www -p 8081:80")
        let other = try h2.runContainer("other", on: Self.network)
        let address = try web.address(on: Self.network)
        try await other.mustFind("www", [address])
        let row = try #require(try h2.tulle("dns").lines.first { $0.contains("www") })
        #expect(row.contains(address) && row.contains("web") && row.contains("h1") && row.contains("answered") && row.contains("80/tcp"))
        #expect(try h2.tulle("dns www --network shop").contains(address))
        #expect(try h2.tulle("dns \(address)").contains("web.shop"))
        #expect(try h2.tulle("dns _80._tcp.web --type SRV").contains("0 1 80 web.shop"))
        #expect(try h2.tulleAttempt("dns nobody").talk.contains("Docker's resolver"))
        #expect(try h2.tulleAttempt("dns web --network nothing").talk.contains("there is no network nothing"))
        #expect(try h2.tulle("dns --output json").contains(#""answered" : true"#))
    }
}

/// The resolver that the lab's hosts have in /etc/resolv.conf: answers every question for an IPv4 address with the same one, and says of names below `invalid` that
/// there are none. A shell's work, for the lab has no other resolver.
private struct Upstream {
    private let process: LabProcess

    init(answering address: String) throws {
        let data = address.split(separator: ".").compactMap { UInt8($0) }.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        // From a question's digits: the id, flags, counts, what follows the header; "invalid" in hexadecimal digits.
        let script = """
            #!/bin/bash
            q=$(od -An -v -tx1 | tr -d ' \\n')
            case $q in
              *07696e76616c696400*) a="${q:0:4}818300010000000000""00${q:24}" ;;
              *) a="${q:0:4}818000010001000000""00${q:24}c00c000100010000003c0004\(data)" ;;
            esac
            printf "$(sed 's/../\\\\x&/g' <<<"$a")"
            """
        let place = "\(lab.directory)/upstream"
        try script.write(toFile: place, atomically: true, encoding: .utf8)
        try lab.shell("chmod +x \(place)")
        process = try lab.start(["exec", "net", "socat", "UDP-RECVFROM:53,fork", "EXEC:\(place)"])
    }

    func stop() { process.signal(15) }
}
