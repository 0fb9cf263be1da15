import Fabric
import Glibc
import Testing

@testable import Kernel

@Suite("Router advertisements", .enabled(if: isRoot, needsRoot), .timeLimit(.minutes(1)))
struct RouterAdvertisementTests {
    let host: TestHost
    /// Plays the router of the host's network.
    let router = NamespaceID.network(netB)
    var routerPath: String { "\(host.pins.directory)/tulle-bbbbbbbbbbbb" }

    init() throws { host = try TestHost() }

    private func hasDefaultRoute() throws -> Bool { try host.ip("-6 route show default").contains("proto ra") }
    private func acceptance(_ link: String) throws -> String { try host.run(["cat", "/proc/sys/net/ipv6/conf/\(link)/accept_ra"]) }

    @Test("a host that has its default route from an advertisement goes on to heed them when it begins to forward")
    func forwarding() async throws {
        await host.kernel.done([.createNamespace(router)])
        try host.ip("link add up0 type veth peer name r0 netns \(routerPath)")
        try host.ip("link add other0 type veth peer name other1")
        try host.run(["sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/other0/accept_ra"])
        for (name, id) in [("up0", NamespaceID.host), ("r0", router)] {
            try host.run(["sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/\(name)/accept_dad"], in: id)
            try host.ip("link set \(name) up", in: id)
        }
        try await advertised()
        // Without our care the kernel forgets the route at this moment, or at its end, and takes no other.
        await host.kernel.done([.setSysctl(.host, path: "net/ipv6/conf/all/forwarding", value: "1")])
        #expect(try acceptance("up0") == "2\n")
        #expect(try acceptance("other0") == "0\n", "what somebody turned off stays off")
        try host.run(["ip", "-6", "route", "flush", "proto", "ra"])
        #expect(try !hasDefaultRoute())
        try await advertised()
    }

    /// Sends advertisements until the host has the route.
    private func advertised() async throws {
        let deadline = ContinuousClock.now + .seconds(10)
        while try !hasDefaultRoute() {
            try #require(ContinuousClock.now < deadline, "no default route from an advertisement")
            try advertise()
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// RFC 4861 section 4.2: type 134, code 0, checksum (the kernel's), hop limit, flags, lifetime in seconds, two timers.
    private func advertise() throws {
        let message: [UInt8] = [134, 0, 0, 0, 64, 0, 0x07, 0x08] + [UInt8](repeating: 0, count: 8)
        let place = open(routerPath, O_RDONLY | O_CLOEXEC)
        defer { close(place) }
        try Thread.run(in: place, "advertise") { () throws(KernelError) in
            let descriptor = socket(AF_INET6, Int32(SOCK_RAW.rawValue), Int32(IPPROTO_ICMPV6))
            guard descriptor >= 0 else { throw .last("open a raw socket") }
            defer { close(descriptor) }
            var (hops, index) = (Int32(255), Int32(if_nametoindex("r0")))
            setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_MULTICAST_HOPS, &hops, 4)
            setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_MULTICAST_IF, &index, 4)
            var target = sockaddr_in6()
            target.sin6_family = sa_family_t(AF_INET6)
            inet_pton(AF_INET6, "ff02::1", &target.sin6_addr)
            withUnsafePointer(to: &target) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                    // The link may still be coming up: the caller sends again.
                    _ = sendto(descriptor, message, message.count, 0, address, socklen_t(MemoryLayout<sockaddr_in6>.size))
                }
            }
        }
    }
}
