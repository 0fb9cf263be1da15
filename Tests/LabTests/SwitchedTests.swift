import Addressing
import LocalAPI
import TestKit
import Testing

/// The containers of a switched network, and beside it a routed one: two on h1, one on h2, one on h3.
private enum Segment {
    static let network = "seg"
    @Sendable static func prepare(_ lab: Lab) async throws {
        let hosts = lab.hosts(LabTrait.hostCount)
        try hosts[0].createNetwork(network, "--opt tulle.mode=switched --ipv6 --subnet 10.34.0.0/16 --subnet fd00:34::/64")
        _ = try await runEverywhere("seg", on: network, Stage.privileged, hosts: hosts)
        try hosts[0].runContainer("near", on: network, Stage.privileged)
        try hosts[0].createNetwork("plain", "--subnet 10.35.0.0/16")
        _ = try await runEverywhere("plain", on: "plain", hosts: hosts)
    }
    static var one: Container { Container(host: h1, name: "seg1") }
    static var two: Container { Container(host: h2, name: "seg2") }
    static var three: Container { Container(host: h3, name: "seg3") }
    static var near: Container { Container(host: h1, name: "near") }
    static var all: [Container] { [one, near, two, three] }
}

/// One Ethernet segment over three hosts.
@Suite("a switched network", .serialized, .needsLab, .lab("switched", prepare: Segment.prepare))
struct SwitchedTests {
    let network = Segment.network

    /// A frame within a tunnel packet: outer UDP and VXLAN headers are 8 bytes each, its type is behind two MACs.
    private func inTunnel(type: String) -> String { "udp port 7941 and udp[28:2] = \(type)" }

    /// Counts datagrams of a group or broadcast address on a port, into a file.
    private func listen(_ container: Container, port: Int, group: String? = nil, file: String = "/tmp/heard") throws {
        let join = group.map { ",ip-add-membership=\($0):eth0" } ?? ""
        try container.sh("rm -f \(file)")
        try container.host.docker(["exec", "-d", container.name, "socat", "-u", "UDP4-RECV:\(port)\(join)", "CREATE:\(file)"])
        try container.sh("for i in 1 2 3 4 5 6 7 8 9 10; do ss -uln | grep -q :\(port) && exit; sleep 0.1; done; exit 1")
    }
    private func heard(_ container: Container, file: String = "/tmp/heard") throws -> Int {
        try container.sh("cat \(file) 2>/dev/null || true").lines.count
    }
    private func silence(_ containers: [Container]) throws {
        for container in containers { _ = try container.succeeds("killall socat") }
    }
    private func send(_ count: Int, from container: Container, to target: String, _ options: String) throws {
        try container.sh("for i in $(seq \(count)); do echo word; sleep 0.01; done | while read word; do echo $word | socat -u - UDP4-DATAGRAM:\(target),\(options); done")
    }

    @Test("all pairs reach each other over IPv4 and IPv6, also by their link-local addresses; the routed network beside it too")
    func allPairs() throws {
        let addresses = try Segment.all.flatMap { try [$0.address(on: network), $0.address6(on: network)] }
        #expect(try unreachablePairs(Segment.all, addresses: addresses) == [])
        let local = try #require(MACAddress(Segment.two.mac(on: network))).linkLocal
        #expect(try Segment.one.succeeds("ping -6 -q -c 1 -W 2 \(local)%eth0"))
        let plain = hosts.map { Container(host: $0, name: "plain\($0.number)") }
        #expect(try unreachablePairs(plain, addresses: plain.map { try $0.address(on: "plain") }) == [])
        #expect(try !Segment.one.reaches(plain[1].address(on: "plain")))
    }

    @Test("containers have the whole subnet on their link, the gateway answers, and what leaves bears the host's address")
    func egress() async throws {
        #expect(try Segment.one.sh("ip -4 -o address show eth0").contains("/16 "))
        #expect(try Segment.one.reaches("10.34.0.1"))
        #expect(try Segment.one.reaches("fd00:34::1"))
        let echo = try Echo(on: h3)
        #expect(try echo.ask(from: Segment.one) == h1.address)
        #expect(try echo.ask(from: Segment.two) == h2.address)
        #expect(try echo.ask6(from: Segment.one) == h1.address6)
        try echo.stop()
    }

    @Test("no ARP and no neighbour discovery crosses, for addresses that somebody has and for those that nobody has")
    func suppression() async throws {
        let arp = try hosts.map { try Capture(on: $0, inTunnel(type: "0x0806")) }
        let discovery = try hosts.map { try Capture(on: $0, "udp port 7941 and udp[28:2] = 0x86dd and udp[36] = 58 and udp[70] >= 133 and udp[70] <= 137") }
        for container in Segment.all { try container.sh("/bin/ip neighbor flush dev eth0") }
        let addresses = try Segment.all.flatMap { try [$0.address(on: network), $0.address6(on: network)] }
        #expect(try unreachablePairs(Segment.all, addresses: addresses) == [])
        #expect(try !Segment.one.reaches("10.34.255.7"))
        #expect(try !Segment.one.reaches("fd00:34::dead"))
        #expect(arp.map { $0.count() } == [0, 0, 0])
        #expect(discovery.map { $0.count() } == [0, 0, 0])
    }

    @Test("a broadcast reaches all members")
    func broadcast() async throws {
        let others = [Segment.near, Segment.two, Segment.three]
        for container in others { try listen(container, port: 5551) }
        try send(5, from: Segment.one, to: "10.34.255.255:5551", "broadcast")
        for container in others { try await eventually("\(container) hears it") { try heard(container) == 5 } }
        try silence(others)
    }

    @Test("a multicast stream reaches listeners on two other hosts; a host without a listener gets no copy, and nobody does after they left")
    func multicast() async throws {
        let group = "239.1.2.3"
        try listen(Segment.two, port: 5552, group: group)
        func copies(_ capture: Capture) -> Int { capture.count() }
        let filter = "\(inTunnel(type: "0x0800")) and udp[46:4] = 0xef010203"
        let namespace = try await h1.namespace(of: network)
        func isKnown(_ count: Int) throws -> Bool {
            try h1.sh(in: namespace, "bridge mdb").lines.filter { $0.contains(group) && $0.contains("dev vxlan") }.count == count
        }
        try await eventually("h1 knows that h2 listens", within: .seconds(3)) { try isKnown(1) }
        var (atTwo, atThree) = (try Capture(on: h2, filter), try Capture(on: h3, filter))
        try send(20, from: Segment.one, to: "\(group):5552", "ip-multicast-ttl=4")
        try await eventually("h2's listener has all") { try heard(Segment.two) == 20 }
        #expect(copies(atTwo) == 20)
        #expect(copies(atThree) == 0)

        try listen(Segment.three, port: 5552, group: group)
        try await eventually("h1 knows that h3 listens", within: .seconds(3)) { try isKnown(2) }
        try send(20, from: Segment.one, to: "\(group):5552", "ip-multicast-ttl=4")
        try await eventually("both have all") { try heard(Segment.two) == 40 && heard(Segment.three) == 20 }
        #expect(copies(atThree) == 20)

        try silence([Segment.two, Segment.three])
        try await eventually("h1 knows that nobody listens", within: .seconds(8)) { try isKnown(0) }
        (atTwo, atThree) = (try Capture(on: h2, filter), try Capture(on: h3, filter))
        let unheard = try await h1.dropped("unheard")
        try send(5, from: Segment.one, to: "\(group):5552", "ip-multicast-ttl=4")
        #expect(try await h1.dropped("unheard") == unheard + 5)
        #expect(copies(atTwo) + copies(atThree) == 0)
    }

    @Test("a link-local group reaches all members without anybody's asking")
    func linkLocalGroup() async throws {
        let others = [Segment.near, Segment.two, Segment.three]
        for container in others { try listen(container, port: 5553, group: "224.0.0.251") }
        try send(5, from: Segment.one, to: "224.0.0.251:5553", "ip-multicast-ttl=1")
        for container in others { try await eventually("\(container) hears it") { try heard(container) == 5 } }
        try silence(others)
    }

    // MARK: What is not the container's

    private func expectDropped(_ reason: String, _ attack: () throws -> Void) async throws {
        let before = try await h1.dropped(reason)
        try attack()
        try await eventually("h1 counts \(reason) packets") { try await h1.dropped(reason) > before }
    }

    @Test("a false source address, a false MAC, a false ARP message, a router's advertisement do not pass")
    func guards() async throws {
        let victim = try Segment.two.address(on: network), target = try Segment.near.address(on: network)
        let arrived = try [Segment.near, Segment.three].map { try Capture(in: $0, "(udp and src host \(victim)) or (arp and arp[14:4] = \(number(victim)))") }
        try await expectDropped("spoofed") {
            try Segment.one.sh("""
                /bin/ip address add \(victim)/32 dev eth0
                for i in 1 2 3; do echo false | socat -u - UDP4-SENDTO:\(target):9,bind=\(victim); done
                /bin/ip address del \(victim)/32 dev eth0
                """)
        }
        try await expectDropped("spoofed") {
            _ = try Segment.one.sh("/bin/ip address add \(victim)/32 dev eth0; arping -q -U -c 2 -I eth0 \(victim); /bin/ip address del \(victim)/32 dev eth0; true")
        }
        #expect(arrived.map { $0.count() } == [0, 0])
        let mac = try Segment.one.mac(on: network)
        try await expectDropped("spoofed") {
            _ = try Segment.one.sh("/bin/ip link set eth0 address 02:00:00:00:00:99; ping -q -c 1 -W 1 \(target); /bin/ip link set eth0 address \(mac); true")
        }
        let advertisements = try [Segment.near, Segment.three].map { try Capture(in: $0, "icmp6 and ip6[40] = 134") }
        try await expectDropped("unwanted") {
            _ = try Segment.one.sh("""
                for i in 1 2 3; do printf '\\206\\0\\0\\0\\100\\0\\007\\010\\0\\0\\0\\0\\0\\0\\0\\0' | socat -u - 'IP6-SENDTO:[ff02::1%eth0]:58'; done; true
                """)
        }
        #expect(advertisements.map { $0.count() } == [0, 0])
        try await Segment.one.mustReach(Segment.three.address(on: network))
    }
    private func number(_ address: String) throws -> String { "0x" + String(try #require(IPAddress(address)).bits, radix: 16) }

    // MARK: Life

    @Test("no packet is lost while the agent is gone and when it comes back, and it adopts what it finds", arguments: ["TERM", "KILL"])
    func restart(signal: String) async throws {
        let there = try Pinger(from: Segment.one, to: Segment.two.address(on: network))
        let back = try Pinger(from: Segment.two, to: Segment.near.address6(on: network))
        try h1.stopAgent(signal)
        try h1.startAgent()
        try await eventually("h1 is back", within: .seconds(15)) { try await lab.isWhole() }
        #expect(try await h1.agent.plan() == [])
        #expect(try await h1.metric("tulle_drift_repaired_total") == 0)
        try there.expectNoLoss()
        try back.expectNoLoss()
    }

    @Test("a container made again with the same address and another MAC is reached within a second, from its own host and from others")
    func newMAC() async throws {
        let address = try h2.runContainer("moved", on: network, "--ip 10.34.200.7").address(on: network)
        for container in [Segment.one, Segment.two] { try await container.mustReach(address) }
        try h2.docker("rm -f moved")
        try h2.runContainer("moved", on: network, "--ip \(address) --mac-address 02:00:00:00:77:77")
        for container in [Segment.one, Segment.two, Segment.three] { try await container.mustReach(address, within: .seconds(1)) }
        try h2.docker("rm -f moved")
        // From another host, with the same address and the MAC of before.
        let there = try h3.runContainer("moved", on: network, "--ip \(address)")
        for container in [Segment.one, Segment.two] { try await container.mustReach(address, within: .seconds(1)) }
        try there.remove()
    }

    @Test("what somebody else breaks is mended", arguments: [
        "ip link delete br0", "bridge link set dev vxlan learning on flood on", "bridge fdb flush dev vxlan master br0 static", "nft delete table bridge tulle",
        "ip neighbor flush dev br0 nud permanent", "ip link delete vxlan",
    ])
    func drift(command: String) async throws {
        let namespace = try await h1.namespace(of: network)
        _ = try h1.attempt("ip netns exec \(namespace) \(command)")
        try await eventually("it is mended", within: .seconds(5)) { try await h1.agent.plan() == [] && h1.sh(in: namespace, "nft list tables").contains("bridge") }
        for container in [Segment.two, Segment.near] { try await Segment.one.mustReach(container.address(on: network)) }
    }

    @Test("an internal switched network leads nowhere else, its removal leaves nothing, and lists tell the mode")
    func internalNetwork() async throws {
        try h1.createNetwork("inside", "--internal --opt tulle.mode=switched --subnet 10.36.0.0/16")
        let all = try await runEverywhere("inside", on: "inside")
        #expect(try unreachablePairs(all, addresses: all.map { try $0.address(on: "inside") }) == [])
        for host in hosts { #expect(try !all[0].reaches(host.address)) }
        #expect(try h2.tulle("networks").contains("switched"))
        let namespaces = try await h1.namespace(of: "inside")
        for container in all { try container.remove() }
        try h1.docker("network rm inside")
        try await eventually("nothing is left of it") {
            try hosts.allSatisfy { try !$0.sh("ls /run/netns; ip -o link").contains(namespaces) && !$0.engineNetworks().contains("inside") }
        }
    }

    @Test("a published port answers from another host, while the segment works")
    func publishedPort() async throws {
        let container = try h1.runContainer("published", on: network, "-p 8081:80")
        try container.sh("echo published >/tmp/index.html; httpd -p 80 -h /tmp")
        try await eventually("h2 reads the page") { try h2.sh("curl -sS -m 2 http://\(h1.address):8081/") == "published" }
        try await container.mustReach(Segment.three.address(on: network))
        try await Segment.two.mustReach(container.address6(on: network))
        try container.remove()
    }
}
