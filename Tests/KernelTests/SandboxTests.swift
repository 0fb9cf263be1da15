import Addressing
import Fabric
import Glibc
import Testing

@testable import Kernel

@Suite("Repair of a container's pair", .enabled(if: isRoot, needsRoot), .timeLimit(.minutes(2)))
struct SandboxTests {
    let host: TestHost
    let id = NamespaceID.network(netA)
    /// Plays a container's namespace, and knows it by a name of ours so that `ip` can look in.
    let container = NamespaceID.network(netB)
    var path: String { "\(host.pins.directory)/tulle-bbbbbbbbbbbb" }

    init() throws { host = try TestHost() }

    private func pair(routes: [SandboxRoute]? = nil) throws -> Link {
        let gateway = try address("10.32.0.1"), gateway6 = try address("fd00:32::1")
        let routes = try routes ?? [
            SandboxRoute(destination: try prefix("10.32.0.0/16"), nextHop: gateway),
            SandboxRoute(destination: IPPrefix(gateway), nextHop: nil),
            SandboxRoute(destination: try prefix("fd00:32::/64"), nextHop: gateway6),
            SandboxRoute(destination: IPPrefix(gateway6), nextHop: nil),
            SandboxRoute(destination: try prefix("0.0.0.0/0"), nextHop: gateway),
        ]
        let addresses = [try interface("10.32.0.9/32"), try interface("fd00:32::9/128")]
        return Link(
            .veth, mtu: 1400,
            peer: VethPeer(
                name: "eth", mac: try mac("02:00:00:00:00:09"), place: .sandbox(path: path, addresses: addresses, routes: routes)))
    }

    @Test("the end appears in the container as Docker had made it, under the first free name")
    func repair() async throws {
        await host.kernel.done([.createNamespace(id), .createNamespace(container)])
        try host.ip("link add eth0 type veth peer name other", in: container)
        try host.ip("link set eth0 up", in: container)
        try host.ip("route add default dev eth0", in: container)
        let link = try pair()
        await host.kernel.done([.createLink(id, "ep1", link), .createLink(id, "ep1", link)])
        #expect(try await host.kernel.state(id).links["ep1"]?.mtu == 1400)
        let shown = try host.ip("address show eth1", in: container)
        for expected in ["mtu 1400", "02:00:00:00:00:09", "10.32.0.9/32", "fd00:32::9/128 scope global nodad", "LOWER_UP"] {
            #expect(shown.contains(expected), "\(expected) in \(shown)")
        }
        let routes = try host.ip("route show", in: container)
        #expect(routes.contains("10.32.0.0/16 via 10.32.0.1 dev eth1") && routes.contains("10.32.0.1 dev eth1"))
        #expect(routes.contains("default dev eth0"), "another network's default route stays")
        #expect(try host.ip("-6 route show", in: container).contains("fd00:32::/64 via fd00:32::1 dev eth1"))
        #expect(try host.ip("-o link show", in: container).split(separator: "\n").count == 4, "once")
    }

    @Test("the MTU follows inside the container")
    func mtu() async throws {
        await host.kernel.done([.createNamespace(id), .createNamespace(container), .createLink(id, "ep1", try pair())])
        await host.kernel.done([.changeLink(id, "ep1", mac: nil, mtu: 1300, isUp: nil, sandbox: path)])
        #expect(try host.ip("link show eth0", in: container).contains("mtu 1300"))
        // Another container's file, with a link of the same index: nothing in there is touched.
        let other = try TestHost.newNamespace()
        defer { close(other) }
        let index = try #require(try host.ip("-o link show eth0", in: container).split(separator: ":").first)
        let enter = ["nsenter", "--net=/proc/\(getpid())/fd/\(other)", "ip", "link"]
        try host.run(enter + ["add", "theirs", "mtu", "1500", "index", String(index), "type", "veth", "peer", "name", "far", "index", "99"])
        let failures = await host.kernel.apply([
            .changeLink(id, "ep1", mac: nil, mtu: 1200, isUp: nil, sandbox: "/proc/self/fd/\(other)")
        ])
        #expect(failures.first?.reason.contains("its link is not in there") == true)
        #expect(try host.run(enter + ["show", "theirs"]).contains("mtu 1500"))
    }

    @Test("a container that is gone is told so, and half a repair is undone")
    func failures() async throws {
        await host.kernel.done([.createNamespace(id)])
        let gone = await host.kernel.apply([.createLink(id, "ep1", try pair())])
        #expect(gone.first?.reason.contains("the file is no network namespace") == true)
        await host.kernel.done([.createNamespace(container)])
        let route = SandboxRoute(destination: try prefix("10.77.0.0/16"), nextHop: try address("10.99.0.1"))
        let half = await host.kernel.apply([.createLink(id, "ep1", try pair(routes: [route]))])
        #expect(half.first?.reason.contains("ENETUNREACH") == true)
        #expect(try await host.kernel.state(id).links["ep1"] == nil)
        #expect(try host.ip("-o link show", in: container).split(separator: "\n").count == 1)
    }

    @Test("the container's namespace is not held: it ends with its last process")
    func notHeld() async throws {
        await host.kernel.done([.createNamespace(id), .createNamespace(container), .createLink(id, "ep1", try pair())])
        let changes = await host.kernel.changes()
        // The known namespace of the test would hold it too.
        let other = try host.anotherKernel()
        _ = await host.kernel.apply([])
        await host.kernel.forget(container)
        try host.pins.remove("tulle-bbbbbbbbbbbb")
        var isThere = true
        for await changed in changes where changed == id {
            isThere = try await host.kernel.state(id).links["ep1"] != nil
            if !isThere { break }
        }
        #expect(!isThere)
        #expect(try await other.state(id).links["ep1"] == nil)
    }
}
