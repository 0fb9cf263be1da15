import Addressing
import LocalAPI
import TestKit
import Testing

/// Packets that somebody would like to arrive.
@Suite("forged packets", .serialized, .needsLab, .lab("forge", prepare: Stage.prepare))
struct SecurityTests {
    /// Runs `attack`, then waits until the counter shows that packets were dropped for that reason, and for no other.
    private func expectDropped(_ reason: String, on host: LabHost, _ attack: () async throws -> Void) async throws {
        let before = try await host.dropped(reason)
        try await attack()
        try await eventually("\(host) counts \(reason) packets") { try await host.dropped(reason) > before }
    }

    // MARK: False source addresses

    /// Gives web1 a second address for a moment, and sends three packets from it. (The shell's own `ip` is a lesser one.)
    private func send(from source: String, length: Int, to target: String, bind: String) throws {
        try Stage.web1.sh("""
            /bin/ip address add \(source)/\(length) dev eth0 \(length == 128 ? "nodad" : "")
            for i in 1 2 3; do echo false | socat -u - \(target):9,bind=\(bind); done
            /bin/ip address del \(source)/\(length) dev eth0
            """)
    }

    @Test("a source address that is not the container's does not arrive, on the host or across", arguments: [
        ("10.32.99.99", "a free one"), ("10.32.0.1", "the gateway's"), ("192.0.2.7", "a foreign one"), ("neighbor", "a neighbour's"),
    ])
    func falseSource(address: String, whose: String) async throws {
        let source = try address == "neighbor" ? Stage.web3.address(on: Stage.network) : address
        for target in [Stage.beside, Stage.web2] {
            let arrived = try Capture(in: target, "udp and src host \(source)")
            try await expectDropped("spoofed", on: h1) {
                try send(from: source, length: 32, to: "UDP4-SENDTO:\(target.address(on: Stage.network))", bind: source)
            }
            #expect(arrived.count() == 0, "\(target)")
        }
        #expect(try Stage.web1.reaches(Stage.web2.address(on: Stage.network)))
    }

    @Test("a false IPv6 source address does not arrive", arguments: ["fd00:32::9999", "fd00:32::1", "2001:db8::7"])
    func falseSource6(source: String) async throws {
        for target in [Stage.beside, Stage.web2] {
            let arrived = try Capture(in: target, "udp and src host \(source)")
            try await expectDropped("spoofed", on: h1) {
                try send(from: source, length: 128, to: "UDP6-SENDTO:[\(target.address6(on: Stage.network))]", bind: "[\(source)]")
            }
            #expect(arrived.count() == 0, "\(target)")
        }
        // (Its own neighbour discovery has to recover from it.)
        try await Stage.web1.mustReach(Stage.web2.address6(on: Stage.network))
    }

    @Test("a false MAC address does not arrive")
    func falseMAC() async throws {
        let mac = try Stage.web1.mac(on: Stage.network)
        let arrived = try Capture(in: Stage.beside, "icmp and src host \(Stage.web1.address(on: Stage.network))")
        try await expectDropped("spoofed", on: h1) {
            try Stage.web1.sh("""
                ip link set eth0 address 02:00:00:00:00:99
                ping -q -c 3 -i 0.1 -W 1 \(Stage.beside.address(on: Stage.network)); ip link set eth0 address \(mac)
                """)
        }
        #expect(arrived.count() == 0)
        try await Stage.web1.mustReach(Stage.beside.address(on: Stage.network))
    }

    @Test("the captures of these tests see what does arrive")
    func positiveControl() async throws {
        let arrived = try Capture(in: Stage.beside, "icmp and src host \(Stage.web1.address(on: Stage.network))")
        #expect(try Stage.web1.reaches(Stage.beside.address(on: Stage.network)))
        try await eventually("it is captured") { arrived.count() > 0 }
    }

    // MARK: Tunnel packets

    /// A tunnel packet for web1, as h2 would send it: UDP to port 9000 from web2.
    private func tunnelPacket(_ text: String) async throws -> [UInt8] {
        let network = try #require(try await h1.network(Stage.network))
        let device = try await h1.sh(in: h1.namespace(of: Stage.network), "cat /sys/class/net/vxlan/address")
        return try TunnelPacket(
            vni: network.vni, mac: #require(MACAddress(device)),
            source: #require(IPAddress(Stage.web2.address(on: Stage.network))),
            destination: #require(IPAddress(Stage.web1.address(on: Stage.network))), text: text
        ).bytes
    }

    @Test("a tunnel packet arrives from a peer's address, and the same bytes from a stranger's do not")
    func stranger() async throws {
        let packet = try await tunnelPacket("from-the-underlay")
        let send = "socat -u STDIN UDP4-SENDTO:\(h1.address):7941"
        let arrived = try Capture(in: Stage.web1, "udp dst port 9000")
        try await expectDropped("strangers", on: h1) { try lab.underlay(send, input: packet) }
        #expect(arrived.count() == 0)

        let control = try Capture(in: Stage.web1, "udp dst port 9000")
        try lab.run(["exec", "h2"] + send.labWords, input: packet)
        try await eventually("the packet is right: the sender was what was wrong") { control.count() == 1 }
    }

    @Test("a stranger over IPv6 is dropped too")
    func stranger6() async throws {
        let packet = try await tunnelPacket("over-ipv6")
        try await expectDropped("strangers", on: h1) {
            try lab.underlay("socat -u STDIN UDP6-SENDTO:[\(h1.address6)]:7941", input: packet)
        }
    }

    @Test("a tunnel packet that a container sends to a node does not arrive", arguments: ["shop", "bridge", "published"])
    func fromContainer(place: String) async throws {
        let packet = try await tunnelPacket("from-a-container")
        let sender: Container
        switch place {
        case "shop": sender = Stage.web2
        case "bridge": sender = try h2.runContainer("plain", on: "bridge")
        default: sender = try h2.runContainer("out", on: Stage.network, "-p 8088:80")
        }
        // To another node, and to the container's own.
        for target in [h1, h2] {
            let arrived = try Capture(in: target.number == 1 ? Stage.web1 : Stage.web2, "udp dst port 9000")
            let before = try await (h2.dropped("forged"), h2.dropped("strangers"), h1.dropped("strangers"))
            try lab.run(
                ["docker", "h2", "exec", "-i", sender.name] + "socat -u STDIN UDP4-SENDTO:\(target.address):7941".labWords, input: packet)
            try await eventually("it is counted") {
                let now = try await (h2.dropped("forged"), h2.dropped("strangers"), h1.dropped("strangers"))
                return now != before
            }
            #expect(arrived.count() == 0)
        }
        if place != "shop" { try sender.remove() }
    }

    /// A machine behind h2, by a link of any name, that says it is h3: as a virtual machine of h2 that is a node, where h2 has a route to it,
    /// and as a container that forges, where it has none.
    @Test("a tunnel packet with a node's address arrives from where that node is, through a router too, and from nowhere else", arguments: [
        (1, true, true), (1, true, false), (1, false, true), (2, true, true), (2, true, false),
    ])
    func routed(number: Int, isNode: Bool, isRouted: Bool) async throws {
        let target = number == 1 ? h1 : h2
        let packet = try await tunnelPacket("through-a-router")
        let source = isNode ? h3.address : "203.0.113.7"
        let arrived = try Capture(in: number == 1 ? Stage.web1 : Stage.web2, "udp dst port 9000")
        try h2.sh("""
            ip netns add behind; ip link add web0 type veth peer eth0 netns behind
            ip address add 169.254.77.1/30 dev web0; ip link set web0 up; echo 0 >/proc/sys/net/ipv4/conf/web0/rp_filter
            iptables -I FORWARD -i web0 -j ACCEPT
            ip -n behind address add 169.254.77.2/30 dev eth0; ip -n behind address add \(source)/32 dev eth0
            ip -n behind link set eth0 up; ip -n behind route add default via 169.254.77.1
            \(isRouted ? "ip route add \(source)/32 via 169.254.77.2" : "")
            """)
        defer { try? h2.sh("iptables -D FORWARD -i web0 -j ACCEPT; ip netns del behind; ip link del web0 2>/dev/null || true") }
        let send = ["exec", "h2"] + "ip netns exec behind socat -u STDIN UDP4-SENDTO:\(target.address):7941,bind=\(source)".labWords
        if isNode && isRouted, number == 1 {
            try lab.run(send, input: packet)
            try await eventually("it arrives") { arrived.count() == 1 }
        } else if isNode && isRouted {
            // To h2 itself the packet is right but for the tunnel device's MAC, which is h1's: the filter lets it pass.
            let before = try await h2.dropped("forged")
            try lab.run(send, input: packet)
            #expect(try await h2.dropped("forged") == before)
        } else {
            try await expectDropped("forged", on: h2) { try lab.run(send, input: packet) }
            #expect(arrived.count() == 0)
        }
    }

    @Test("a tunnel packet from the host itself to itself does not arrive from an address that is no peer's")
    func loopback() async throws {
        let packet = try await tunnelPacket("from-loopback")
        let arrived = try Capture(in: Stage.web1, "udp dst port 9000")
        try lab.run(["exec", "h1"] + "socat -u STDIN UDP4-SENDTO:127.0.0.1:7941".labWords, input: packet)
        #expect(arrived.count() == 0)
    }

    @Test("the outside cannot send into a network by the host, although the host has a way out")
    func uninvited() async throws {
        let target = try Stage.web1.address(on: Stage.network)
        let arrived = try Capture(in: Stage.web1, "dst host \(target)")
        func ping(from host: LabHost, via route: String) throws {
            // The agent of h1 may be faster and remove a route that is none of its own.
            try host.sh("ip route add 10.32.0.0/16 \(route); busybox ping -c 1 -W 1 -q \(target); ip route del 10.32.0.0/16 || true")
        }
        // A stranger that takes h1 for its router, and the host itself by the egress link.
        try ping(from: h3, via: "via \(h1.address)")
        let link = try h1.sh("ip -o -4 address | awk '/169.254/ {print $2}'")
        try ping(from: h1, via: "dev \(link) via 169.254.1.1")
        #expect(arrived.count() == 0)
    }

    @Test("a container does not reach another network's containers by the host's addresses")
    func acrossByEgress() async throws {
        try h1.createNetwork("other", "--subnet 10.40.0.0/16")
        let other = try h1.runContainer("other", on: "other")
        let address = try other.address(on: "other")
        #expect(try !Stage.web1.reaches(address))
        let arrived = try Capture(in: other, "icmp")
        for target in ["169.254.1.0", "169.254.1.1", "169.254.1.2", "169.254.1.3"] { _ = try Stage.web1.reaches(target) }
        try Stage.web1.sh("""
            /bin/ip route add \(address) via 169.254.1.3 dev eth0 onlink; ping -c 1 -W 1 -q \(address)
            /bin/ip route del \(address)
            """)
        #expect(arrived.count() == 0)
        try other.remove()
        try h1.docker("network rm other")
    }

    @Test("nothing answers at the agent's port without the cluster's token")
    func withoutToken() throws {
        for path in ["/", "/v1/cluster", "/v1/store/list", "/metrics"] {
            // In the clear: no answer at all. Over TLS without a certificate: that one is needed.
            let plain = try h3.attempt("curl -s -m 3 -o /dev/null -w '%{http_code}' http://\(h1.address):7940\(path)")
            #expect(plain.output.trimmed == "000", "\(path): \(plain.output)")
            let secure = try h3.sh("curl -sk -m 3 -w '%{http_code}' https://\(h1.address):7940\(path)")
            #expect(secure.hasSuffix("403") && secure.contains("no certificate of the cluster's was shown"), "\(path): \(secure)")
        }
    }

    @Test("only root and its group may open the agent's sockets")
    func sockets() throws {
        #expect(try h1.sh("stat -c %a /run/tulle/tulle.sock") == "660")
        #expect(try h1.sh("stat -c %a /run/docker/plugins/tulle.sock") == "600")
        #expect(try h1.sh("stat -c %a /var/lib/tulle") == "700")
        for file in try h1.sh("ls /var/lib/tulle").lines { #expect(try h1.sh("stat -c %a /var/lib/tulle/\(file)") == "600") }
    }
}
