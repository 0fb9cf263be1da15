import LocalAPI
import TestKit
import Testing

/// Somebody deletes or alters what is ours in the kernel of h1, and finds it restored within a second.
@Suite("somebody's changes to the kernel", .serialized, .needsLab, .lab("drift", prepare: Stage.prepare))
struct DriftTests {
    init() async throws { try await expectTraffic(within: .seconds(10)) }

    struct Act: Sendable, CustomTestStringConvertible {
        let testDescription: String
        /// In the network's namespace, or on the host.
        var onHost = false
        let script: String
        /// The label of the counter.
        let kind: String

        init(_ description: String, _ script: String, _ kind: String, onHost: Bool = false) {
            testDescription = description
            self.script = script
            self.kind = kind
            self.onHost = onHost
        }
    }

    // $peer: the tunnel MAC of h2; $hop: its link-local address; $block: its block; $ep: web1's link; $address: web1's.
    static let acts = [
        Act("a forwarding row is deleted", "bridge fdb del $peer dev vxlan self", "fdb"),
        Act("a forwarding row leads elsewhere", "bridge fdb replace $peer dev vxlan dst 192.168.99.3 self permanent", "fdb"),
        Act(
            "a forwarding row leads to another port",
            "bridge fdb replace $peer dev vxlan dst 192.168.99.2 port 4789 self permanent", "fdb"),
        Act("a foreign forwarding row is added", "bridge fdb add 02:00:00:00:00:99 dev vxlan dst 192.168.99.99 self permanent", "fdb"),
        Act("a next hop's neighbour is deleted", "ip -6 neigh del $hop dev vxlan", "neighbour"),
        Act(
            "a next hop's neighbour has another MAC",
            "ip -6 neigh replace $hop lladdr 02:00:00:00:00:99 dev vxlan nud permanent", "neighbour"),
        Act("a container's neighbour is deleted", "ip neigh del $address dev $ep", "neighbour"),
        Act("all neighbours are flushed", "ip neigh flush all nud permanent; ip -6 neigh flush all nud permanent", "neighbour"),
        Act("a block's route is deleted", "ip route del $block", "route"),
        Act("a block's route leads elsewhere", "ip route replace unreachable $block", "route"),
        Act("a foreign route hides a container", "ip route add blackhole $peerAddress/32", "route"),
        Act("a container's route is deleted", "ip route del $address/32", "route"),
        Act("all routes are flushed", "ip route flush table main; ip -6 route flush table main", "route"),
        Act("the refusal of unknown addresses is deleted", "ip route del unreachable 10.32.0.0/16 metric 2147483647", "route"),
        Act("the gateway's address is deleted", "ip address del 10.32.0.1/32 dev lo", "address"),
        Act("the IPv6 gateway's address is deleted", "ip address del fd00:32::1/128 dev $ep", "address"),
        Act("the tunnel is down", "ip link set vxlan down", "link"),
        Act("a container's link is down", "ip link set $ep down", "link"),
        Act("the way out is down", "ip link set out down", "link"),
        Act("the tunnel is deleted", "ip link del vxlan", "link"),
        Act("the way out is deleted", "ip link del out", "link"),
        Act("the tunnel has another MTU", "ip link set vxlan mtu 1300", "link"),
        Act("a container's link has another MTU", "ip link set $ep mtu 1300", "link"),
        Act("the tunnel has another MAC", "ip link set vxlan address 02:00:00:00:00:77", "link"),
        Act("the tunnel has another name", "ip link set vxlan down; ip link set vxlan name stolen", "link"),
        Act("a foreign link is added", "ip link add stranger type veth peer name stranger2", "link"),
        Act("the filter is flushed", "nft flush ruleset", "filter"),
        Act("a rule is deleted", "nft flush chain inet tulle raw", "filter"),
        Act("an element of a set is deleted", "nft flush set inet tulle guards4", "filter"),
        Act("the host's end of the way out is deleted", "ip link del $out", "link", onHost: true),
        Act("the host's end of the way out is down", "ip link set $out down", "link", onHost: true),
        Act("the host's address of the way out is deleted", "ip -4 address flush dev $out", "address", onHost: true),
        Act("the host's filter is deleted", "nft delete table inet tulle", "filter", onHost: true),
        Act("a peer is deleted from the host's filter", "nft delete element inet tulle peers4 { 192.168.99.2 }", "filter", onHost: true),
        Act("all of the host's rules are flushed", "nft flush table inet tulle", "filter", onHost: true),
    ]

    /// All that we keep in the kernel, as sorted lines, without counts, indices and what the kernel does by itself.
    private func observe() async throws -> [String] {
        let table = "nft -s list table inet tulle | grep -v packets"
        let inside = try await h1.sh(
            in: h1.namespace(of: Stage.network),
            "ip -d link; ip -o address; ip route; ip -6 route; ip neigh show nud permanent; bridge fdb; \(table)")
        let outside = try h1.sh("ip -d link | grep -A2 tulle; ip -o address | grep tulle; \(table)")
        let lines = inside.lines.map { "in the network: \($0)" } + outside.lines.map { "on the host: \($0)" }
        let ownDoing = /link\/ether|inet6 fe80|33:33:|01:00:5e|proto kernel/
        return lines.filter { !$0.contains(ownDoing) }.map { $0.replacing(/\ [0-9]+: |@if[0-9]+|link-netnsid [0-9]+/, with: " ") }.sorted()
    }

    @Test("is restored within 1 s, told in the log and counted", arguments: acts)
    func drift(act: Act) async throws {
        let namespace = try await h1.namespace(of: Stage.network)
        let before = try await observe()
        let drifts = try await h1.metric("tulle_drift_repaired_total", ["kind": act.kind])
        let script = try variables(in: namespace) + "\n" + act.script
        _ = act.onHost ? try h1.sh(script) : try h1.sh(in: namespace, script)
        do {
            try await eventually("all is as it was", within: .seconds(1)) { try await observe() == before }
        } catch {
            let now = try await observe()
            Issue.record("missing \(before.filter { !now.contains($0) }), too much \(now.filter { !before.contains($0) })")
            // For the acts that follow: a start reads everything.
            try h1.restartAgent()
            return
        }
        try await eventually("it is counted as \(act.kind)", within: .seconds(1)) {
            try await h1.metric("tulle_drift_repaired_total", ["kind": act.kind]) > drifts
        }
        // Each kind of thing once in ten seconds, so perhaps not for this act.
        try await eventually("the log names a \(act.kind)", within: .seconds(1)) {
            let word = act.kind == "filter" ? "nft" : act.kind
            return try h1.log().lines.contains { $0.contains("what somebody changed") && $0.contains(word) }
        }
        #expect(try await h1.agent.plan() == [])
        try await expectTraffic()
    }

    @Test("a container's link is deleted: the container gets it back with all that was on it")
    func container() async throws {
        let namespace = try await h1.namespace(of: Stage.network)
        let look = """
            ip -o address show dev eth0 scope global; ip route; ip -6 route | grep -v fe80
            cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu
            """
        func inside() throws -> String { try Stage.web1.sh(look).replacing(/[0-9]+: eth0/, with: "eth0") }
        let before = try inside()
        for place in ["the network's side", "the container's side"] {
            if place == "the network's side" {
                try h1.sh(in: namespace, variables(in: namespace) + "\nip link del $ep")
            } else {
                try Stage.web1.sh("ip link del eth0")
            }
            try await eventually("the container has its link back, \(place)", within: .seconds(1)) { try inside() == before }
            try await expectTraffic()
        }
        #expect(try await h1.agent.plan() == [])
    }

    @Test("a container that loses its address or route inside is none of ours, and does not disturb the others")
    func insideContainer() async throws {
        try Stage.beside.sh("ip address flush dev eth0")
        #expect(try await h1.agent.plan() == [])
        #expect(try Stage.web1.reaches(Stage.web2.address(on: Stage.network)))
        try h1.docker("restart -t 0 beside")
        try await expectTraffic()
    }

    @Test("the namespace's pin is removed: the containers keep talking, or do again within 1 s")
    func pin() async throws {
        let namespace = try await h1.namespace(of: Stage.network)
        try h1.sh("umount /run/netns/\(namespace); rm -f /run/netns/\(namespace)")
        try await eventually("the pin is back", within: .seconds(1)) {
            try h1.attempt("mountpoint -q /run/netns/\(namespace)").status == 0
        }
        try await expectTraffic()
        // And a restarted agent finds it.
        try h1.restartAgent()
        try await expectTraffic()
        #expect(try await h1.agent.plan() == [])
    }

    @Test("the underlay's link goes and comes: the tunnels with it")
    func underlay() async throws {
        // With the link go its IPv6 addresses and all routes; with the address its routes.
        let addresses = "ip address replace 192.168.99.1/24 dev eth0; ip address replace fd99:99::1/64 dev eth0 nodad"
        let routes = "ip route replace default via 192.168.99.254; ip route replace default via fd99:99::fe"
        for loss in ["ip link set eth0 down; ip link set eth0 up", "ip address flush dev eth0"] {
            try h1.sh("\(loss); \(addresses); \(routes)")
            try await expectTraffic(within: .seconds(5))
        }
    }

    /// There and back, over both families, on the host, across, and out.
    private func expectTraffic(within limit: Duration = .seconds(3)) async throws {
        let targets = try [Stage.web2, Stage.web3, Stage.beside].flatMap {
            try [$0.address(on: Stage.network), $0.address6(on: Stage.network)]
        } + [h2.address, h2.address6]
        try await eventually("web1 reaches all", within: limit) { try unreachablePairs([Stage.web1], addresses: targets) == [] }
    }

    /// What scripts call things.
    private func variables(in namespace: String) throws -> String {
        let (address, other) = try (Stage.web1.address(on: Stage.network), Stage.web2.address(on: Stage.network))
        return """
            address=\(address) peerAddress=\(other)
            ep=$(ip netns exec \(namespace) ip -o route get \(address) | grep -o 'ep[0-9a-f]*')
            hop=$(ip netns exec \(namespace) ip -o route get \(other) | grep -o 'fe80[0-9a-f:]*')
            block=$(ip netns exec \(namespace) ip -o route | grep "via inet6 $hop" | head -1 | cut -d' ' -f1)
            peer=$(ip netns exec \(namespace) ip -6 neigh show $hop dev vxlan | grep -o '02:[0-9a-f:]*')
            out=$(ip -o link | grep -o 'tulle[0-9a-f]*' | head -1)
            """
    }
}
