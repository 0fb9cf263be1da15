import Addressing
import Fabric
import Glibc
import Testing

@testable import Kernel

@Suite("Links", .enabled(if: isRoot, needsRoot), .timeLimit(.minutes(2)))
struct LinkTests {
    let host: TestHost
    let id = NamespaceID.network(netA)
    init() throws { host = try TestHost() }

    private func tunnel(_ number: UInt32 = 0x100001, port: UInt16 = 7941, local: String = "192.0.2.1") throws -> Link {
        Link(
            .vxlan(VXLAN(vni: try #require(VNI(number)), port: port, local: try address(local))),
            mac: try mac("02:00:00:00:00:01"), mtu: 1450)
    }

    @Test("a VXLAN device is made in the network's namespace as asked, twice, and deleted", arguments: ["192.0.2.1", "2001:db8::1"])
    func vxlan(local: String) async throws {
        let link = try tunnel(local: local)
        await host.kernel.done([.createNamespace(id), .createLink(id, "vxlan", link)])
        #expect(try await host.kernel.state(id).links["vxlan"] == link)
        await host.kernel.done([.createLink(id, "vxlan", link)])
        #expect(try await host.kernel.state(id, fresh: true).links["vxlan"] == link)
        let shown = try host.ip("-d link show vxlan", in: id)
        #expect(shown.contains("nolearning") && shown.contains("dstport 7941") && !shown.contains(" dev "))
        await host.kernel.done([.deleteLink(id, "vxlan"), .deleteLink(id, "vxlan")])
        #expect(try await host.kernel.state(id).links.keys.sorted() == ["lo"])
    }

    @Test("a VXLAN device that learns is not taken for ours")
    func learning() async throws {
        await host.kernel.done([.createNamespace(id)])
        try host.ip("link add vxlan type vxlan id 1048577 local 192.0.2.1 dstport 7941", in: id)
        #expect(try await host.kernel.state(id).links["vxlan"]?.kind == .other("vxlan"))
    }

    @Test("a taken VNI is refused with the name of its holder")
    func takenVNI() async throws {
        try host.ip("link add flan type vxlan id 1048577 local 192.0.2.1 dstport 7941")
        let link = try tunnel()
        let failures = await host.kernel.apply([.createNamespace(id), .createLink(id, "vxlan", link), .deleteLink(id, "vxlan")])
        let failure = try #require(failures.first)
        #expect(failure.reason.contains("VNI 1048577 on UDP port 7941 is in use by link flan in the host's namespace"))
        #expect(failure.reason.contains("EEXIST"))
        #expect(failures.count == 2, "what needs the link is skipped")
        // Within our own namespaces too.
        try host.ip("link delete flan")
        await host.kernel.done([.createLink(id, "vxlan", link), .createNamespace(.network(netB))])
        let second = await host.kernel.apply([.createLink(.network(netB), "vxlan", link)])
        #expect(second.first?.reason.contains("link vxlan in tulle-aaaaaaaaaaaa") == true)
    }

    @Test("a taken UDP port is refused with the name of its holder")
    func takenPort() async throws {
        let holder = try Thread.run(in: host.descriptor, "take a port") { () throws(KernelError) -> Int32 in
            let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(7941).bigEndian
            let status = withUnsafeBytes(of: &address) {
                bind(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
            }
            guard status == 0 else { throw .last("bind") }
            return descriptor
        }
        defer { close(holder) }
        let failures = await host.kernel.apply([.createNamespace(id), .createLink(id, "vxlan", try tunnel())])
        let reason = try #require(failures.first?.reason)
        #expect(reason.contains("UDP port 7941 is in use by ") && reason.contains("(process \(getpid()))"), "\(reason)")
        #expect(try await host.kernel.state(id).links["vxlan"] == nil)
    }

    @Test("a pair's other end appears in the host's namespace, down, with name, MAC and MTU")
    func pairToHost() async throws {
        let inner = try mac("02:aa:00:00:00:02")
        let link = Link(.veth, mtu: 1400, peer: VethPeer(name: "tl000000000001", mac: inner, place: .namespace(.host)))
        await host.kernel.done([.createNamespace(id), .createLink(id, "ep000000000001", link)])
        let outer = try #require(try await host.kernel.state(id).links["ep000000000001"])
        #expect(outer.kind == .veth && outer.mtu == 1400 && outer.isUp)
        let shown = try host.ip("link show tl000000000001")
        #expect(shown.contains("mtu 1400") && shown.contains("02:aa:00:00:00:02") && shown.contains("state DOWN"))
        #expect(try await host.kernel.state(.host).links.isEmpty, "only links of our prefix are observed on the host")
        await host.kernel.done([.createLink(id, "ep000000000001", link), .deleteLink(id, "ep000000000001")])
        #expect(try host.ip("link show").contains("tl000000000001") == false)
    }

    @Test("the egress pair's host end is observed there and configured")
    func egressPair() async throws {
        let link = Link(.veth, mtu: 1450, peer: VethPeer(name: "tulleaaaaaaaaaa", place: .namespace(.host)))
        let row = LinkAddress(link: "tulleaaaaaaaaaa", address: try interface("169.254.1.0/31"))
        _ = try await host.kernel.state(.host)
        await host.kernel.done([
            .createNamespace(id), .createLink(id, "out", link),
            .changeLink(.host, "tulleaaaaaaaaaa", mac: nil, mtu: nil, isUp: true, sandbox: nil), .addAddress(.host, row),
        ])
        let state = try await host.kernel.state(.host)
        #expect(state.links.keys.sorted() == ["tulleaaaaaaaaaa"])
        #expect(state.links["tulleaaaaaaaaaa"]?.isUp == true)
        #expect(state.addresses == [row])
        #expect(try await host.kernel.state(.host, fresh: true) == state)
        await host.kernel.done([.deleteNamespace(id)])
        #expect(try await host.kernel.state(.host).links.isEmpty, "the far end went with the namespace")
    }

    @Test("MAC, MTU and state of a link are changed")
    func change() async throws {
        await host.kernel.done([.createNamespace(id), .createLink(id, "vxlan", try tunnel())])
        let other = try mac("02:00:00:00:00:99")
        await host.kernel.done([
            .changeLink(id, "lo", mac: nil, mtu: nil, isUp: true, sandbox: nil),
            .changeLink(id, "vxlan", mac: other, mtu: 1300, isUp: false, sandbox: nil),
        ])
        let state = try await host.kernel.state(id)
        #expect(state.links["lo"]?.isUp == true)
        let link = try #require(state.links["vxlan"])
        #expect(link.mac == other && link.mtu == 1300 && !link.isUp)
    }

    @Test("what the kernel refuses is told in its own words, and what depends on it is skipped")
    func refusal() async throws {
        try host.ip("link add tltaken type veth peer name other")
        let bad = Link(.veth, peer: VethPeer(name: "tltaken", place: .namespace(.host)))
        let row = LinkAddress(link: "epbad", address: try interface("10.0.0.1/32"))
        let good = LinkAddress(link: "lo", address: try interface("10.0.0.2/32"))
        let failures = await host.kernel.apply([
            .createNamespace(id), .changeLink(id, "lo", mac: nil, mtu: nil, isUp: true, sandbox: nil),
            .createLink(id, "epbad", bad), .setSysctl(id, path: "net/ipv4/conf/epbad/rp_filter", value: "0"),
            .addAddress(id, row), .addAddress(id, good),
        ])
        #expect(failures.count == 3)
        #expect(failures.first?.reason.contains("with its other end tltaken: EEXIST (File exists)") == true)
        #expect(failures.dropFirst().allSatisfy { $0.reason.hasPrefix("skipped: link epbad") })
        let route = RouteKey(destination: try prefix("10.9.0.0/16"))
        let refused = await host.kernel.apply([.setRoute(id, route, .via(try address("224.0.0.1"), link: "lo"))])
        #expect(refused.first?.reason.contains("EINVAL (Invalid argument): Nexthop has invalid gateway") == true)
        #expect(try await host.kernel.state(id).addresses == [good])
    }
}
