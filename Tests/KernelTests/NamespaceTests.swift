import Addressing
import CLinux
import Fabric
import Glibc
import Testing

@testable import Kernel

@Suite("Namespaces", .enabled(if: isRoot, needsRoot), .timeLimit(.minutes(2)))
struct NamespaceTests {
    let host: TestHost
    let id = NamespaceID.network(netA)
    init() throws { host = try TestHost() }

    @Test("a namespace appears with its pin, is listed, and goes with it")
    func life() async throws {
        #expect(try await host.kernel.namespaces() == [])
        #expect(try await host.kernel.observe(id, fresh: false) == nil)
        await host.kernel.done([.createNamespace(id), .createNamespace(id)])
        #expect(try await host.kernel.namespaces() == [id])
        #expect(try await host.kernel.state(id).links.keys.sorted() == ["lo"])
        let descriptor = try #require(try host.pins.open("tulle-aaaaaaaaaaaa"))
        close(descriptor)
        await host.kernel.done([.deleteNamespace(id)])
        #expect(try await host.kernel.namespaces() == [])
        #expect(try host.pins.names(prefix: "tulle-") == [])
    }

    @Test("a pin is seen in mount namespaces made before it, and its removal too")
    func propagation() async throws {
        // The first namespace makes the directory a shared mount.
        await host.kernel.done([.createNamespace(.network(netB))])
        let pins = host.pins
        let changes = Rendezvous()
        let seen = Task.detached {
            try Thread.run("other-mounts") { () throws(KernelError) -> [Bool] in
                guard linux_unshare(Int32(LINUX_CLONE_NEWNS)) == 0 else { throw .last("unshare") }
                func isThere() throws(KernelError) -> Bool {
                    guard let descriptor = try pins.open("tulle-aaaaaaaaaaaa") else { return false }
                    close(descriptor)
                    return true
                }
                var seen = [try isThere()]
                changes.step()
                seen.append(try isThere())
                changes.step()
                seen.append(try isThere())
                return seen
            }
        }
        await changes.meet { await host.kernel.done([.createNamespace(id)]) }
        await changes.meet { await host.kernel.done([.deleteNamespace(id)]) }
        #expect(try await seen.value == [false, true, false])
    }

    @Test("a plain file that a reboot left is no namespace, and is mounted over")
    func leftover() async throws {
        let path = "\(host.pins.directory)/tulle-aaaaaaaaaaaa"
        close(open(path, O_CREAT | O_WRONLY, 0o644))
        #expect(try await host.kernel.namespaces() == [])
        #expect(try await host.kernel.observe(id, fresh: true) == nil)
        await host.kernel.done([.createNamespace(id)])
        #expect(try await host.kernel.state(id).links.count == 1)
        await host.kernel.done([.deleteNamespace(id)])
        close(open(path, O_CREAT | O_WRONLY, 0o644))
        await host.kernel.done([.deleteNamespace(id)])
        #expect(try host.pins.names(prefix: "tulle-") == [])
    }

    @Test("a pin that was removed is set again while the namespace is known")
    func pinnedAgain() async throws {
        await host.kernel.done([
            .createNamespace(id), .createLink(id, "ep1", Link(.veth, peer: VethPeer(name: "tl1", place: .namespace(.host)))),
        ])
        try host.pins.remove("tulle-aaaaaaaaaaaa")
        #expect(try await host.kernel.namespaces() == [id])
        #expect(try await host.kernel.state(id).links["ep1"] != nil)
        let second = try host.anotherKernel()
        #expect(try await second.state(id).links["ep1"] != nil)
        // Nor does another namespace take its place.
        try host.pins.remove("tulle-aaaaaaaaaaaa")
        let stranger = try host.pins.create("tulle-aaaaaaaaaaaa")
        defer { close(stranger) }
        #expect(try await host.kernel.state(id).links["ep1"] != nil)
        #expect(host.pins.isPinned(stranger, as: "tulle-aaaaaaaaaaaa") == false)
    }

    @Test("a namespace that vanished is not observed")
    func vanished() async throws {
        await host.kernel.done([.createNamespace(id)])
        let second = try host.anotherKernel()
        try host.pins.remove("tulle-aaaaaaaaaaaa")
        #expect(try await second.observe(id, fresh: false) == nil)
        let failures = await second.apply([.addAddress(id, LinkAddress(link: "lo", address: try interface("10.0.0.1/32")))])
        #expect(failures.first?.reason.contains("there is no such namespace") == true)
    }

    @Test("a namespace that cannot be made fails what is in it and nothing else")
    func cannotMake() async throws {
        let kernel = try LinuxKernel(host: host.descriptor, pins: NamespacePins(directory: "/proc/no/such/place"))
        let row = LinkAddress(link: "lo", address: try interface("10.9.9.9/32"))
        let failures = await kernel.apply([
            .createNamespace(id), .addAddress(id, row), .setFilter(id, nil), .addAddress(.host, row),
        ])
        #expect(failures.map(\.step) == [.createNamespace(id), .addAddress(id, row), .setFilter(id, nil)])
        #expect(failures.dropFirst().allSatisfy { $0.reason.hasPrefix("skipped: namespace tulle-aaaaaaaaaaaa") })
        #expect(try host.ip("address show lo").contains("10.9.9.9/32"))
    }

    @Test("the host's namespace is never deleted")
    func hostStays() async throws {
        let failures = await host.kernel.apply([.deleteNamespace(.host)])
        #expect(failures.count == 1)
    }

    @Test("sysctls are those of the namespace, and a wrong path is refused")
    func sysctls() async throws {
        await host.kernel.done([.createNamespace(id), .createNamespace(.network(netB))])
        await host.kernel.done([.setSysctl(id, path: "net/ipv4/ip_forward", value: "1")])
        #expect(try await host.kernel.state(id).sysctls["net/ipv4/ip_forward"] == "1")
        #expect(try await host.kernel.state(.network(netB)).sysctls["net/ipv4/ip_forward"] == "0")
        #expect(try host.run(["cat", "/proc/sys/net/ipv4/ip_forward"], in: id) == "1\n")
        try host.run(["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"], in: id)
        #expect(try await host.kernel.state(id, fresh: true).sysctls["net/ipv4/ip_forward"] == "0")
        let failures = await host.kernel.apply([
            .setSysctl(id, path: "kernel/hostname", value: "x"), .setSysctl(id, path: "net/../kernel/hostname", value: "x"),
            .setSysctl(id, path: "net/ipv4/conf/nolink/rp_filter", value: "0"),
        ])
        #expect(failures.count == 3)
    }

    @Test("a filter that somebody removed is heard of and seen; another's table is not")
    func filter() async throws {
        let filter = PacketFilter(
            chains: ["raw": FilterChain(.filter, .prerouting, priority: -300, rules: [FilterRule([.udpPort(9)], counter: "nine", .drop)])],
            sets: ["peers4": FilterSet(.addressV4, [.address(try address("192.0.2.1"))])], counters: ["nine"])
        await host.kernel.done([.createNamespace(id), .setFilter(id, filter)])
        #expect(try await host.kernel.state(id).filter == filter)
        let more = FilterElement.address(try address("192.0.2.2"))
        await host.kernel.done([.changeSet(id, set: "peers4", type: .addressV4, add: [more], remove: [])])
        #expect(try await host.kernel.state(id).filter?.sets["peers4"]?.elements.count == 2)
        #expect(try await host.kernel.counters(id) == ["nine": 0])
        let state = try await host.kernel.state(id)
        try host.run(["nft", "add table inet other"], in: id)
        #expect(try await host.kernel.state(id) == state)
        let changes = await host.kernel.changes()
        try host.run(["nft", "delete table inet tulle"], in: id)
        await expectChange(of: id, in: changes)
        #expect(try await host.kernel.state(id).filter == nil)
    }

    @Test("nothing of a kernel is left open when it is gone")
    func descriptors() async throws {
        func count() throws -> Int { try Command.run(["ls", "/proc/\(getpid())/fd"]).text.split(separator: "\n").count }
        let before = try count()
        for _ in 0..<20 {
            let kernel = try host.anotherKernel()
            await kernel.done([.createNamespace(id), .deleteNamespace(id)])
            _ = try await kernel.state(.host)
        }
        // Other tests open theirs at the same time; twenty kernels would have left over a hundred.
        #expect(try count() < before + 60)
    }
}

/// Lets a thread and a task take turns.
final class Rendezvous: Sendable {
    private let toTask = Semaphore()
    private let toThread = Semaphore()

    /// In the thread: what was done so far is done; waits for the task's next doing.
    func step() {
        toTask.signal()
        toThread.wait()
    }
    /// In the task: waits for the thread's step, does, and lets it go on.
    func meet(_ body: () async -> Void) async {
        await Task.detached { [toTask] in toTask.wait() }.value
        await body()
        toThread.signal()
    }
}

/// POSIX's, on the heap where its address stays.
final class Semaphore: @unchecked Sendable {
    private let pointer = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    init() { sem_init(pointer, 0, 0) }
    deinit {
        sem_destroy(pointer)
        pointer.deallocate()
    }
    func signal() { sem_post(pointer) }
    func wait() { while sem_wait(pointer) != 0 {} }
}
