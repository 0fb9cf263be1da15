/// Network namespaces for the tests of the filter, packets in them, and `nft`, the judge.
import CLinux
import FoundationEssentials
import Glibc
import Testing

@testable import Kernel

/// What the filter's tests need; without it they are skipped and say so.
let filterLab = ConditionTrait.enabled("it makes network namespaces and asks nft, which takes root, nft, ip and nsenter") {
    // On PATH, as they will be started: scripts/test puts there what the machine lacks.
    let places = getenv("PATH").map { String(cString: $0).split(separator: ":") } ?? []
    let programs = ["nft", "ip", "nsenter"]
    return isRoot && programs.allSatisfy { name in places.contains { access("\($0)/\(name)", X_OK) == 0 } }
}

/// A network namespace that lives as long as this object.
final class FilterNamespace {
    let descriptor: Int32
    var path: String { "/proc/\(getpid())/fd/\(descriptor)" }

    init() throws {
        descriptor = try TestHost.newNamespace()
        try self("ip", "link", "set", "lo", "up")
    }
    deinit { close(descriptor) }

    /// Runs a program there; throws when it fails.
    /// - Returns: its output.
    @discardableResult
    func callAsFunction(_ words: String...) throws -> String {
        let (status, output) = try Command.run(["nsenter", "--net=\(path)"] + words)
        try #require(status == 0, "\(words.joined(separator: " ")): \(output)")
        return output
    }

    func netfilter() throws -> NetlinkSocket {
        let opened = try Thread.run(in: descriptor, "enter a test's namespace") { () throws(KernelError) in
            try NetlinkSocket.open(NETLINK_NETFILTER, name: "a test's namespace")
        }
        return NetlinkSocket(adopting: opened, name: "a test's namespace")
    }

    /// A veth pair to the other namespace.
    func connect(_ name: String, to other: FilterNamespace, _ otherName: String) throws {
        try self("ip", "link", "add", name, "type", "veth", "peer", "name", otherName, "netns", other.path)
        try self("ip", "link", "set", name, "up")
        try other("ip", "link", "set", otherName, "up")
        // The kernel connects the queues some time after that; what is sent before is lost.
        let deadline = ContinuousClock.now + .seconds(20)
        for (namespace, link) in [(self, name), (other, otherName)] {
            while try !namespace("ip", "link", "show", link).contains("state UP") {
                try #require(ContinuousClock.now < deadline, "\(link) does not come up")
            }
        }
    }

    func enableForwarding() throws {
        try Thread.run(in: descriptor, "enter a test's namespace") { () throws(KernelError) in
            let file = open("/proc/sys/net/ipv4/ip_forward", O_WRONLY)
            defer { close(file) }
            guard write(file, "1", 1) == 1 else { throw .last("turn on forwarding") }
        }
    }

    /// A UDP socket there, bound.
    func udp(_ address: String, port: UInt16 = 0) throws -> FilterUDP {
        let isV6 = address.contains(":")
        let socket = try Thread.run(in: descriptor, "enter a test's namespace") { () throws(KernelError) in
            let socket = Glibc.socket(isV6 ? AF_INET6 : AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
            let bound = FilterUDP.withAddress(address, port) { bind(socket, $0, $1) }
            guard bound == 0 else { throw .last("bind \(address)") }
            return socket
        }
        return FilterUDP(adopting: socket, isV6: isV6)
    }

    /// What `nft -j` says of the ruleset.
    func ruleset() throws -> [FilterJSON] {
        struct Listing: Decodable { var nftables: [FilterJSON] }
        let text = try self("nft", "-j", "list", "ruleset")
        return try JSONDecoder().decode(Listing.self, from: Data(text.utf8)).nftables
    }

    /// The expressions of the rules of that chain.
    func expressions(_ table: String, _ chain: String) throws -> [FilterJSON] {
        try ruleset().compactMap { item in
            guard let rule = item["rule"], rule["table"] == .text(table), rule["chain"] == .text(chain) else { return nil }
            return rule["expr"]
        }
    }
}

/// What nft -j writes.
enum FilterJSON: Hashable, Decodable {
    case null
    case truth(Bool)
    case number(Double)
    case text(String)
    case list([FilterJSON])
    case object([String: FilterJSON])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .truth(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .text(value)
        } else if let value = try? container.decode([FilterJSON].self) {
            self = .list(value)
        } else {
            self = .object(try container.decode([String: FilterJSON].self))
        }
    }

    subscript(_ key: String) -> FilterJSON? {
        guard case .object(let members) = self else { return nil }
        return members[key]
    }
}

/// A UDP socket of either family.
final class FilterUDP {
    private let descriptor: Int32
    private let isV6: Bool

    init(adopting descriptor: Int32, isV6: Bool) {
        self.descriptor = descriptor
        self.isV6 = isV6
    }
    deinit { close(descriptor) }

    func send(_ text: String, to address: String, port: UInt16) {
        let sent = Self.withAddress(address, port) { target, length in
            sendto(descriptor, text, text.utf8.count, 0, target, length)
        }
        // EPERM is how a local drop shows.
        #expect(sent == text.utf8.count || errno == EPERM, "send to \(address): \(String(cString: strerror(errno)))")
    }

    /// The next datagram and its sender; nil when none comes within the time.
    func receive(within milliseconds: Int = 5_000) -> (text: String, from: String)? {
        var limit = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var bytes = [UInt8](repeating: 0, count: 2048)
        var sender = sockaddr_in6()
        var length = socklen_t(MemoryLayout<sockaddr_in6>.size)
        let count = withUnsafeMutableBytes(of: &sender) {
            recvfrom(descriptor, &bytes, bytes.count, 0, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), &length)
        }
        guard count >= 0 else { return nil }
        var name = [CChar](repeating: 0, count: 64)
        withUnsafeBytes(of: &sender) {
            _ = inet_ntop(isV6 ? AF_INET6 : AF_INET, $0.baseAddress?.advanced(by: isV6 ? 8 : 4), &name, socklen_t(name.count))
        }
        return (
            String(decoding: bytes.prefix(count), as: UTF8.self),
            String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        )
    }

    static func withAddress<Value>(
        _ address: String, _ port: UInt16, _ body: (UnsafePointer<sockaddr>?, socklen_t) -> Value
    ) -> Value {
        if address.contains(":") {
            var value = sockaddr_in6()
            value.sin6_family = sa_family_t(AF_INET6)
            value.sin6_port = port.bigEndian
            inet_pton(AF_INET6, address, &value.sin6_addr)
            return withUnsafeBytes(of: &value) { body($0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count)) }
        }
        var value = sockaddr_in()
        value.sin_family = sa_family_t(AF_INET)
        value.sin_port = port.bigEndian
        inet_pton(AF_INET, address, &value.sin_addr)
        return withUnsafeBytes(of: &value) { body($0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count)) }
    }
}
