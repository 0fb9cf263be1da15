import Addressing
import CLinux
import Fabric
import Glibc
import Testing

@testable import Kernel

/// A host of its own for one test: a network namespace that plays the host's, and a directory of pins. It goes with the object;
/// the kernel takes down what is in it.
final class TestHost: Sendable {
    let descriptor: Int32
    let pins: NamespacePins
    let kernel: LinuxKernel

    init(monitorRoom: Int32 = 16 << 20) throws {
        descriptor = try Self.newNamespace()
        var template = Array("/tmp/tulle-kernel-test-XXXXXX".utf8CString)
        let directory = try #require(mkdtemp(&template).map { String(cString: $0) })
        pins = NamespacePins(directory: directory)
        kernel = try LinuxKernel(host: descriptor, pins: pins, monitorRoom: monitorRoom)
        try ip("link set lo up")
    }

    deinit {
        for name in (try? pins.names(prefix: "")) ?? [] where !name.hasPrefix(".") { try? pins.remove(name) }
        _ = linux_detach_mount(pins.directory)
        rmdir(pins.directory)
        close(descriptor)
    }

    /// Another agent of the same host, which knows nothing of what the first did.
    func anotherKernel() throws -> LinuxKernel { try LinuxKernel(host: descriptor, pins: pins) }

    static func newNamespace() throws -> Int32 {
        try Thread.run("test-host") { () throws(KernelError) in
            guard linux_unshare(Int32(LINUX_CLONE_NEWNET)) == 0 else { throw .last("unshare") }
            return try NamespacePins.current()
        }
    }

    // MARK: Somebody else's hands

    /// `ip ARGUMENTS` in the host's namespace or in a network's.
    @discardableResult
    func ip(_ arguments: String, in id: NamespaceID = .host) throws -> String {
        try run(["ip"] + arguments.split(separator: " ").map(String.init), in: id)
    }

    @discardableResult
    func run(_ command: [String], in id: NamespaceID = .host) throws -> String {
        let output = try execute(command, in: id)
        #expect(output.status == 0, "\(command.joined(separator: " ")): \(output.text)")
        return output.text
    }

    func execute(_ command: [String], in id: NamespaceID = .host) throws -> (status: Int32, text: String) {
        let place = id.pinName.map { "\(pins.directory)/\($0)" } ?? "/proc/\(getpid())/fd/\(descriptor)"
        return try Command.run(["nsenter", "--net=\(place)"] + command)
    }
}

enum Command {
    /// Its exit status and all it wrote.
    static func run(_ command: [String]) throws -> (status: Int32, text: String) {
        var ends: [Int32] = [0, 0]
        try #require(pipe(&ends) == 0)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
        posix_spawn_file_actions_addclose(&actions, ends[0])
        var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        var process: pid_t = 0
        let status = posix_spawnp(&process, command[0], &actions, nil, &arguments, environ)
        close(ends[1])
        defer { close(ends[0]) }
        try #require(status == 0, "cannot start \(command[0])")
        var text: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(ends[0], &room, room.count)
            if count <= 0 { break }
            text += room[..<count]
        }
        var result: Int32 = 0
        waitpid(process, &result, 0)
        return (result >> 8 & 0xff, String(decoding: text, as: UTF8.self))
    }
}

/// The tests that make namespaces.
let isRoot = geteuid() == 0
let needsRoot: Comment = "it makes network namespaces, which takes root"

let netA = NetworkID(random: 0xaaaa_aaaa_aaaa << 80 | 1)
let netB = NetworkID(random: 0xbbbb_bbbb_bbbb << 80 | 2)

extension LinuxKernel {
    /// Steps that must succeed.
    func done(_ steps: [Step], sourceLocation: SourceLocation = #_sourceLocation) {
        let failures = apply(steps)
        guard let first = failures.first else { return }
        Issue.record("\(failures.count) failed, first \(first.step): \(first.reason)", sourceLocation: sourceLocation)
    }

    func state(_ id: NamespaceID, fresh: Bool = false, sourceLocation: SourceLocation = #_sourceLocation) throws -> NamespaceState {
        try #require(try observe(id, fresh: fresh), sourceLocation: sourceLocation)
    }
}

/// Waits until the stream names that namespace.
func expectChange(
    of id: NamespaceID, in stream: AsyncStream<NamespaceID>, within limit: Duration = .seconds(10),
    sourceLocation: SourceLocation = #_sourceLocation
) async {
    let heard = await withTaskGroup(of: Bool.self) { group in
        group.addTask {
            for await changed in stream where changed == id { return true }
            return false
        }
        group.addTask {
            try? await Task.sleep(for: limit)
            return false
        }
        let first = await group.next() ?? false
        group.cancelAll()
        return first
    }
    #expect(heard, "nothing was heard of \(id)", sourceLocation: sourceLocation)
}

func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }
func interface(_ text: String) throws -> InterfaceAddress { try #require(InterfaceAddress(text)) }
func mac(_ text: String) throws -> MACAddress { try #require(MACAddress(text)) }
