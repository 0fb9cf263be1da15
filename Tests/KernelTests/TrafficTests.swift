import Addressing
import Fabric
import Glibc
import Testing

@testable import Kernel

@Suite("Traffic", .enabled(if: isRoot, needsRoot), .timeLimit(.minutes(2)))
struct TrafficTests {
    @Test("a packet crosses from a network's namespace on one host to the one on another", arguments: ["192.0.2.", "2001:db8::"])
    func crossing(underlay: String) async throws {
        let hosts = [try TestHost(), try TestHost()]
        let id = NamespaceID.network(netA)
        try hosts[0].ip("link add u0 type veth peer name u0 netns /proc/\(getpid())/fd/\(hosts[1].descriptor)")
        let length = underlay.contains(":") ? "64 nodad" : "24"
        for number in 0...1 {
            try hosts[number].ip("link set u0 up")
            try hosts[number].ip("address add \(underlay)\(number + 1)/\(length) dev u0")
        }
        for number in 0...1 {
            let other = 1 - number
            let macs = [try mac("02:00:00:00:00:01"), try mac("02:00:00:00:00:02")]
            let vxlan = VXLAN(vni: try #require(VNI(0x100001)), port: 7941, local: try address("\(underlay)\(number + 1)"))
            await hosts[number].kernel.done([
                .createNamespace(id), .changeLink(id, "lo", mac: nil, mtu: nil, isUp: true, sandbox: nil),
                .createLink(id, "vxlan", Link(.vxlan(vxlan), mac: macs[number], mtu: 1430)),
                .addAddress(id, LinkAddress(link: "lo", address: try interface("10.32.\(number).1/32"))),
                .setNeighbor(id, NeighborKey(link: "vxlan", address: macs[other].linkLocal), macs[other]),
                .setForwarding(id, ForwardingKey(link: "vxlan", mac: macs[other]), try address("\(underlay)\(other + 1)")),
                .setRoute(id, RouteKey(destination: try prefix("10.32.\(other).0/24")), .via(macs[other].linkLocal, link: "vxlan")),
            ])
        }
        let sender = try datagramSocket(hosts[0], id, "10.32.0.1"), receiver = try datagramSocket(hosts[1], id, "10.32.1.1")
        defer {
            close(sender)
            close(receiver)
        }
        var to = try socketAddress("10.32.1.1")
        let sent = withUnsafeBytes(of: &to) {
            sendto(sender, "hello", 5, 0, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
        }
        #expect(sent == 5)
        var from = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        var text = [UInt8](repeating: 0, count: 16)
        let count = withUnsafeMutableBytes(of: &from) {
            recvfrom(receiver, &text, text.count, 0, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), &size)
        }
        #expect(count == 5, "nothing came within 10 s")
        #expect(from.sin_addr.s_addr == (try socketAddress("10.32.0.1")).sin_addr.s_addr)
    }

    private func socketAddress(_ text: String) throws -> sockaddr_in {
        var result = sockaddr_in()
        result.sin_family = sa_family_t(AF_INET)
        result.sin_port = in_port_t(9999).bigEndian
        result.sin_addr.s_addr = UInt32(truncatingIfNeeded: try address(text).bits).bigEndian
        return result
    }

    /// Bound in that namespace, waiting at most 10 s.
    private func datagramSocket(_ host: TestHost, _ id: NamespaceID, _ text: String) throws -> Int32 {
        let namespace = try #require(try host.pins.open(id.description))
        defer { close(namespace) }
        let address = try socketAddress(text)
        return try Thread.run(in: namespace, "open a socket") { () throws(KernelError) in
            let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
            var limit = timeval(tv_sec: 10, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            var address = address
            let status = withUnsafeBytes(of: &address) {
                bind(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
            }
            guard status == 0 else { throw .last("bind") }
            return descriptor
        }
    }
}
