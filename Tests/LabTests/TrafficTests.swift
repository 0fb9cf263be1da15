import Addressing
import TestKit
import Testing

/// Each test has the containers of the stage: two on h1, one on h2, one on h3, on one network with both families.
@Suite("packets between containers", .serialized, .needsLab, .lab("traffic", prepare: Stage.prepare))
struct TrafficTests {
    @Test("all pairs reach each other over IPv4 and IPv6, on one host and across hosts")
    func allPairs() throws {
        let all = Stage.all
        let addresses = try all.flatMap { try [$0.address(on: Stage.network), $0.address6(on: Stage.network)] }
        #expect(Set(addresses).count == 2 * all.count)
        #expect(try unreachablePairs(all, addresses: addresses) == [])
    }

    @Test("each name of a container on the same engine resolves, and leads to it")
    func names() throws {
        #expect(try Stage.web1.reaches("beside"))
        #expect(try Stage.beside.succeeds("ping -6 -q -c 1 -W 1 web1"))
    }

    @Test("64 MB over TCP arrive unchanged on another host", arguments: ["TCP4", "TCP6"])
    func transfer(family: String) async throws {
        let (sender, receiver) = (Stage.web1, Stage.web2)
        let address = try family == "TCP4" ? receiver.address(on: Stage.network) : "[\(receiver.address6(on: Stage.network))]"
        try receiver.sh("rm -f /tmp/got")
        try receiver.host.docker(
            ["exec", "-d", receiver.name, "socat", "-u", "\(family)-LISTEN:9000,reuseaddr", "CREATE:/tmp/got"])
        let sent = try sender.sh("""
            head -c 67108864 /dev/urandom >/tmp/sent; socat -u OPEN:/tmp/sent \(family):\(address):9000,retry=50,interval=0.1
            sha256sum </tmp/sent
            """)
        try await eventually("the same bytes are on \(receiver)") { try receiver.sh("sha256sum </tmp/got") == sent }
    }

    @Test("an address that nobody has is refused at once, wherever its block is", arguments: ["own", "another's", "free"])
    func nobody(place: String) throws {
        let base = switch place {
        case "own": try Stage.web1.address(on: Stage.network)
        case "another's": try Stage.web2.address(on: Stage.network)
        default: "10.32.0.62"
        }
        // The last of the 64 of its block: blocks are filled from their beginning.
        var bytes = base.split(separator: ".").compactMap { UInt8($0) }
        bytes[3] |= 63 - 1
        let address = bytes.map(String.init).joined(separator: ".")
        let start = ContinuousClock.now
        let answer = try Stage.web1.sh("socat - TCP:\(address):80,connect-timeout=10 2>&1 </dev/null || true")
        #expect(answer.contains("No route to host"), "\(address): \(answer)")
        #expect(ContinuousClock.now - start < .seconds(2))
    }

    @Test("an IPv6 address that nobody has is refused at once, wherever its block is", arguments: ["own", "another's", "free"])
    func nobody6(place: String) throws {
        let base = switch place {
        case "own": try Stage.web1.address6(on: Stage.network)
        case "another's": try Stage.web2.address6(on: Stage.network)
        default: "fd00:32::dead:0"
        }
        let address = try #require(IPAddress(base)?.advanced(by: 0xbeef))
        let start = ContinuousClock.now
        let answer = try Stage.web1.sh("socat - TCP6:[\(address)]:80,connect-timeout=10 2>&1 </dev/null || true")
        #expect(answer.contains("No route to host") || answer.contains("Network is unreachable"), "\(address): \(answer)")
        #expect(ContinuousClock.now - start < .seconds(3))
    }

    @Test("a published port is listed and answers from another host, while the overlay works")
    func publishedPorts() async throws {
        let container = try h1.runContainer("published", on: Stage.network, "-p 8080:80")
        #expect(try h1.docker("port published").contains("80/tcp -> 0.0.0.0:8080"))
        try container.sh("echo published >/tmp/index.html; httpd -p 80 -h /tmp")
        try await eventually("h2 reads the page") {
            try h2.sh("curl -sS -m 2 http://\(h1.address):8080/") == "published"
        }
        let (address, address6) = try (container.address(on: Stage.network), container.address6(on: Stage.network))
        #expect(try Stage.web2.sh("curl -sS -m 2 http://\(address)/") == "published")
        #expect(try Stage.web2.reaches(address6))
        for other in Stage.all {
            #expect(try container.reaches(other.address(on: Stage.network)), "\(other)")
            #expect(try container.reaches(other.address6(on: Stage.network)), "\(other)")
        }
        // Its default route is Docker's, and leads out.
        #expect(try container.reaches(h3.address))
        try container.remove()
    }

    @Test("what leaves for the outside bears the host's address, over IPv4 and IPv6")
    func egress() async throws {
        let echo = try Echo(on: h3)
        #expect(try echo.ask(from: Stage.web1) == h1.address)
        #expect(try echo.ask(from: Stage.web2) == h2.address)
        #expect(try echo.ask6(from: Stage.web1) == h1.address6)
        try echo.stop()
    }

    @Test("an internal network connects containers across hosts and leads nowhere else")
    func internalNetwork() async throws {
        try h1.createNetwork("inside", "--internal --subnet 10.33.0.0/16")
        let all = try await runEverywhere("inside", on: "inside")
        let addresses = try all.map { try $0.address(on: "inside") }
        #expect(try unreachablePairs(all, addresses: addresses) == [])
        for host in hosts { #expect(try !all[0].reaches(host.address)) }
        #expect(try all[0].sh("ip route") .contains("default") == false)
        for container in all { try container.remove() }
        try h1.docker("network rm inside")
    }
}
