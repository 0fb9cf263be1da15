import LocalAPI
import TestKit
import Testing

/// The size of packets.
extension TrafficTests {
    private func mtu(_ container: Container) throws -> Int? {
        Int(try container.sh("cat /sys/class/net/eth0/mtu"))
    }

    @Test("a packet as large as the MTU passes between hosts in one piece, and a larger one is refused")
    func largest() async throws {
        let (sender, receiver) = (Stage.web1, Stage.web3)
        #expect(try mtu(sender) == 1450)
        #expect(try mtu(receiver) == 1450)
        // 1422 bytes of payload, 8 of UDP, 20 of IPv4; 2 is IP_PMTUDISC_DO: never a fragment.
        try receiver.host.docker(["exec", "-d", receiver.name, "socat", "-u", "-b", "65535", "UDP4-RECV:9000", "CREATE:/tmp/got"])
        try await eventually("it listens") { try receiver.succeeds("netstat -lun | grep -q :9000") }
        let address = try receiver.address(on: Stage.network)
        func send(_ bytes: Int) throws -> Bool {
            try sender.succeeds("head -c \(bytes) /dev/zero | socat -u -b 65535 - UDP4-SENDTO:\(address):9000,ip-mtu-discover=2")
        }
        #expect(try send(1422))
        try await eventually("the packet has arrived") { try receiver.sh("wc -c </tmp/got") == "1422" }
        #expect(try !send(1423))
    }

    @Test("a network's MTU can be set", arguments: ["tulle.mtu", "com.docker.network.driver.mtu"])
    func override(option: String) async throws {
        try h2.createNetwork("small", "--opt \(option)=1300 --subnet 10.34.0.0/16")
        let all = try await runEverywhere("small", on: "small")
        for container in all { #expect(try mtu(container) == 1300, "\(container)") }
        #expect(try unreachablePairs(all, addresses: all.map { try $0.address(on: "small") }) == [])
        for container in all { try container.remove() }
        try h1.docker("network rm small")
        try await eventually("it is gone") { try hosts.allSatisfy { try !$0.engineNetworks().contains("small") } }
    }

    @Test("containers everywhere follow the lowest underlay MTU, down and up again")
    func underlay() async throws {
        for (underlay, expected) in [(1400, 1350), (1500, 1450)] {
            try h2.sh("ip link set eth0 mtu \(underlay)")
            for container in Stage.all {
                try await eventually("\(container) has MTU \(expected)") { try mtu(container) == expected }
            }
            let status = try await h2.agent.status()
            #expect(status.node.mtu == underlay)
            for host in hosts { #expect(try await host.network(Stage.network)?.mtu == expected) }
            let addresses = try Stage.all.map { try $0.address(on: Stage.network) }
            #expect(try unreachablePairs(Stage.all, addresses: addresses) == [])
        }
    }
}
