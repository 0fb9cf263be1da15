import Addressing
import Fabric
import Glibc
import Testing

@testable import Kernel

/// Real packets meet the rules.
@Suite("packets and the filter", filterLab, .timeLimit(.minutes(2)))
struct FilterTrafficTests {
    @Test("counters count the packets that match, and go on from there when the filter is replaced", arguments: ["127.0.0.1", "::1"])
    func counters(address: String) throws {
        let namespace = try FilterNamespace()
        let socket = try namespace.netfilter()
        let receiver = try namespace.udp(address, port: 7000)
        let sender = try namespace.udp(address)
        #expect(try NetfilterTable.counters(socket).isEmpty)
        func filter(_ counters: Set<String>) -> PacketFilter {
            let rules = [
                FilterRule([.udpPort(7001)], counter: "dropped", .drop),
                FilterRule([.inputLink("lo"), .udpPort(7000)], counter: "passed", .accept),
            ]
            return PacketFilter(chains: ["input": FilterChain(.filter, .input, priority: 0, rules: rules)], counters: counters)
        }
        try NetfilterTable.replace(filter(["dropped", "passed", "unused"]), socket)
        for _ in 0..<7 { sender.send("no", to: address, port: 7001) }
        for _ in 0..<3 { sender.send("yes", to: address, port: 7000) }
        for _ in 0..<3 { #expect(receiver.receive()?.text == "yes") }
        #expect(try NetfilterTable.counters(socket) == ["dropped": 7, "passed": 3, "unused": 0])
        try NetfilterTable.replace(filter(["dropped", "passed", "new"]), socket)
        sender.send("no", to: address, port: 7001)
        sender.send("yes", to: address, port: 7000)
        #expect(receiver.receive()?.text == "yes")
        #expect(try NetfilterTable.counters(socket) == ["dropped": 8, "passed": 4, "new": 0])
    }

    @Test("only packets with a guarded link, MAC and address come in", arguments: [AddressFamily.v4, .v6])
    func spoofGuard(family: AddressFamily) throws {
        let (router, container, neighbor) = (try FilterNamespace(), try FilterNamespace(), try FilterNamespace())
        let isV4 = family == .v4
        func host(_ low: Int) -> String { isV4 ? "10.9.0.\(low)" : "fd09::\(low)" }
        let length = isV4 ? "24" : "64"
        try router.connect("vethA", to: container, "eth0")
        try router.connect("vethB", to: neighbor, "eth0")
        func give(_ namespace: FilterNamespace, _ link: String, _ low: Int, _ mac: String) throws {
            try namespace("ip", "link", "set", link, "address", mac)
            try namespace("ip", "address", "add", host(low) + "/" + length, "dev", link, isV4 ? "noprefixroute" : "nodad")
        }
        let (macA, macB, macR) = ("02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:01")
        try give(container, "eth0", 2, macA)
        try give(neighbor, "eth0", 3, macB)
        for link in ["vethA", "vethB"] { try router("ip", "link", "set", link, "address", macR) }
        try router("ip", "address", "add", host(1) + "/" + (isV4 ? "32" : "128"), "dev", "lo", isV4 ? "noprefixroute" : "nodad")
        for sender in [container, neighbor] {
            try sender("ip", "route", "replace", host(1), "dev", "eth0")
            try sender("ip", "neigh", "replace", host(1), "lladdr", macR, "dev", "eth0")
        }
        /// A link that gets another MAC forgets all its neighbours.
        func disguise(_ mac: String) throws {
            try neighbor("ip", "link", "set", "eth0", "address", mac)
            try neighbor("ip", "neigh", "replace", host(1), "lladdr", macR, "dev", "eth0")
        }
        // A false address on the neighbour, as a container with NET_ADMIN would take it.
        try neighbor("ip", "address", "add", host(2) + "/" + length, "dev", "eth0", isV4 ? "noprefixroute" : "nodad")

        let set = isV4 ? "g4" : "g6"
        let type: FilterSet.ElementType = isV4 ? .guardV4 : .guardV6
        func guarded(_ link: String, _ text: String, _ low: Int) throws -> FilterElement {
            .guarded(link: link, mac: try mac(text), address: try address(host(low)))
        }
        let rules = [
            // Of UDP only: the links' own neighbour discovery is not counted here.
            FilterRule([.inputLinkPrefix("veth"), .udpPort(7000), .guardNotIn(set: set, family)], counter: "spoofed", .drop),
            FilterRule([.udpPort(7000)], counter: "passed", .accept),
        ]
        let socket = try router.netfilter()
        try NetfilterTable.replace(
            PacketFilter(
                chains: ["guard": FilterChain(.filter, .prerouting, priority: -300, rules: rules)],
                sets: [set: FilterSet(type, [try guarded("vethA", macA, 2), try guarded("vethB", macB, 3)])],
                counters: ["spoofed", "passed"]), socket)

        let receiver = try router.udp(host(1), port: 7000)
        let honestA = try container.udp(host(2))
        let honestB = try neighbor.udp(host(3))
        let falseB = try neighbor.udp(host(2))
        /// Sends false packets and then an honest one, which is the first that may arrive.
        func send(
            _ sender: FilterUDP, dropped count: Int, before honest: FilterUDP, from low: Int,
            sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            let before = try NetfilterTable.counters(socket)["spoofed"] ?? 0
            for _ in 0..<count { sender.send("false", to: host(1), port: 7000) }
            honest.send("honest", to: host(1), port: 7000)
            let received = try #require(receiver.receive(), sourceLocation: sourceLocation)
            #expect(received.text == "honest", sourceLocation: sourceLocation)
            #expect(received.from == host(low), sourceLocation: sourceLocation)
            let spoofed = try NetfilterTable.counters(socket)["spoofed"]
            #expect(spoofed == before + UInt64(count), sourceLocation: sourceLocation)
        }
        try send(honestA, dropped: 0, before: honestA, from: 2)
        try send(falseB, dropped: 5, before: honestB, from: 3)
        // The right address with another's MAC: dropped, until that is guarded.
        try disguise("02:00:00:00:00:0c")
        try send(honestB, dropped: 3, before: honestA, from: 2)
        try NetfilterTable.change(
            set: set, type: type, add: [try guarded("vethB", "02:00:00:00:00:0c", 3)], remove: [try guarded("vethB", macB, 3)], socket)
        try send(falseB, dropped: 1, before: honestB, from: 3)
        // The right pair of MAC and address by another link.
        try NetfilterTable.change(set: set, type: type, add: [try guarded("vethA", macA, 3)], remove: [], socket)
        try disguise(macA)
        try send(honestB, dropped: 2, before: honestA, from: 2)
        // The router's own packets to itself come in by no Ethernet.
        let own = try router.udp(host(1))
        try send(own, dropped: 0, before: own, from: 1)
    }

    @Test("what leaves by the link of the masquerade rule has that link's address, and its answers find back")
    func masquerade() throws {
        let (inside, router, outside) = (try FilterNamespace(), try FilterNamespace(), try FilterNamespace())
        try router.connect("in", to: inside, "eth0")
        try router.connect("out", to: outside, "eth0")
        try inside("ip", "address", "add", "10.1.0.2/24", "dev", "eth0")
        try router("ip", "address", "add", "10.1.0.1/24", "dev", "in")
        try router("ip", "address", "add", "10.2.0.1/24", "dev", "out")
        try outside("ip", "address", "add", "10.2.0.2/24", "dev", "eth0")
        try inside("ip", "route", "add", "default", "via", "10.1.0.1")
        try router.enableForwarding()
        let rule = FilterRule([.outputLink("out"), .source(try prefix("10.1.0.0/24"))], counter: "left", .masquerade)
        let established = FilterRule([.inputLink("out"), .established], counter: "returned", .accept)
        let socket = try router.netfilter()
        try NetfilterTable.replace(
            PacketFilter(
                chains: [
                    "leave": FilterChain(.nat, .postrouting, priority: 100, rules: [rule]),
                    "forward": FilterChain(
                        .filter, .forward, priority: 0, rules: [established, FilterRule([.inputLink("out")], counter: "refused", .drop)]),
                ],
                counters: ["left", "returned", "refused"]), socket)
        let client = try inside.udp("10.1.0.2", port: 6000)
        let server = try outside.udp("10.2.0.2", port: 7000)
        client.send("request", to: "10.2.0.2", port: 7000)
        let request = try #require(server.receive())
        #expect(request.text == "request")
        #expect(request.from == "10.2.0.1")
        server.send("answer", to: "10.2.0.1", port: 6000)
        let answer = try #require(client.receive())
        #expect(answer.text == "answer")
        #expect(answer.from == "10.2.0.2")
        #expect(try NetfilterTable.counters(socket) == ["left": 1, "returned": 1, "refused": 0])
        // A stranger outside does not get in by knowing the way.
        try outside("ip", "route", "add", "10.1.0.0/24", "via", "10.2.0.1")
        let stranger = try outside.udp("10.2.0.2", port: 7001)
        stranger.send("intruder", to: "10.1.0.2", port: 6000)
        server.send("answer", to: "10.2.0.1", port: 6000)
        #expect(client.receive()?.text == "answer")
        #expect(try NetfilterTable.counters(socket)["refused"] == 1)
    }

    @Test("untracked packets are unknown to connection tracking, and others are not")
    func untracked() throws {
        let namespace = try FilterNamespace()
        let socket = try namespace.netfilter()
        // Only a rule about connections makes the kernel track any.
        try namespace("nft", """
            table inet judge { counter new {}
              counter untracked {}
              chain input { type filter hook input priority 10;
                udp dport 7000-7001 ct state new counter name new
                udp dport 7000-7001 ct state untracked counter name untracked
              }
            }
            """)
        let notrack = FilterRule([.udpPort(7000)], .untracked)
        try NetfilterTable.replace(
            PacketFilter(chains: [
                "out": FilterChain(.filter, .output, priority: -300, rules: [notrack]),
                "in": FilterChain(.filter, .prerouting, priority: -300, rules: [notrack]),
            ]), socket)
        let untracked = try namespace.udp("127.0.0.1", port: 7000)
        let tracked = try namespace.udp("127.0.0.1", port: 7001)
        let sender = try namespace.udp("127.0.0.1")
        for _ in 0..<4 { sender.send("x", to: "127.0.0.1", port: 7000) }
        sender.send("x", to: "127.0.0.1", port: 7001)
        for _ in 0..<4 { #expect(untracked.receive() != nil) }
        #expect(tracked.receive() != nil)
        let listing = try namespace("nft", "list", "counters", "table", "inet", "judge")
        let counted = listing.split(separator: "\n").map { $0.drop { $0 == "\t" } }
        func packets(_ name: String) throws -> Substring? {
            let start = try #require(counted.firstIndex { $0 == "counter \(name) {" })
            return counted[start + 1].split(separator: " ").dropFirst().first
        }
        #expect(try packets("untracked") == "4")
        #expect(try packets("new") == "1")
    }
}
