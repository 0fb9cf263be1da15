import Glibc
import HTTP
@testable import Store
import Synchronization
import TestKit
import Testing

/// A name server of a test's own: answers every question with what `answer` makes of it.
final class NameServer: Sendable {
    let server: ServiceRecords.Server
    private let descriptor: Int32
    private let task: Task<Void, Never>

    init(_ answer: @escaping @Sendable ([UInt8]) -> [UInt8]?) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        try #require(isBound)
        self.descriptor = descriptor
        server = ServiceRecords.Server(address: "127.0.0.1", port: UInt16(bigEndian: address.sin_port))
        task = Task {
            var buffer = [UInt8](repeating: 0, count: 600)
            while !Task.isCancelled {
                var peer = sockaddr_in()
                var length = socklen_t(MemoryLayout<sockaddr_in>.size)
                let count = withUnsafeMutablePointer(to: &peer) { pointer in
                    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(descriptor, &buffer, buffer.count, 0, $0, &length) }
                }
                if count > 0, let reply = answer(Array(buffer[..<count])) {
                    _ = withUnsafePointer(to: &peer) { pointer in
                        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { sendto(descriptor, reply, reply.count, 0, $0, length) }
                    }
                }
                if count < 0 { try? await Task.sleep(for: .milliseconds(5)) }
            }
            close(descriptor)
        }
    }

    deinit { task.cancel() }
}

/// An answer to a question: the question, then records of type SRV whose names point into it.
private func records(_ question: [UInt8], _ targets: [(priority: UInt8, weight: UInt8, port: Int, host: String)]) -> [UInt8] {
    var message = question
    message[2] = 0x81
    message[3] = 0x80
    message[7] = UInt8(targets.count)
    for target in targets {
        var name: [UInt8] = []
        for label in target.host.split(separator: ".") { name += [UInt8(label.utf8.count)] + label.utf8 }
        name.append(0)
        message += [0xC0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, UInt8(6 + name.count), 0, target.priority, 0, target.weight]
        message += [UInt8(target.port >> 8), UInt8(target.port & 0xFF)] + name
    }
    return message
}

@Suite(.timeLimit(.minutes(1)))
struct ServiceRecordsTests {
    @Test("an answer that is too long for UDP is asked for again over TCP, in pieces or not; a server without TCP is named", arguments: [1, 7, 5_000])
    func truncated(piece: Int) async throws {
        let hosts = (0..<40).map { (UInt8(1), UInt8(0), 2379, "member-\($0).storage.example") }
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
        defer { close(listener) }
        let short = try NameServer { question in
            var answer = question
            (answer[2], answer[3]) = (0x83, 0x80)
            return answer
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        (address.sin_port, address.sin_addr.s_addr) = (short.server.port.bigEndian, UInt32(0x7F00_0001).bigEndian)
        let none = await #expect(throws: StoreError.self) { _ = try await ServiceRecords.find("_etcd-client._tcp.example", servers: [short.server]) }
        #expect(none?.cause.contains("127.0.0.1: over TCP") == true, "\(none?.description ?? "")")
        let isBound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 }
        }
        try #require(isBound && listen(listener, 4) == 0)
        let serving = Task {
            var client: Int32 = -1
            while client < 0 {
                client = accept(listener, nil, nil)
                if client < 0 { try await Task.sleep(for: .milliseconds(5)) }
            }
            defer { close(client) }
            var question = [UInt8](repeating: 0, count: 600)
            let count = recv(client, &question, question.count, 0)
            guard count > 2 else { throw LabFailure("no question") }
            let answer = records(Array(question[2..<count]), hosts)
            var rest = ([UInt8(answer.count >> 8), UInt8(answer.count & 0xFF)] + answer)[...]
            while !rest.isEmpty {
                let some = Array(rest.prefix(piece))
                guard send(client, some, some.count, Int32(MSG_NOSIGNAL)) == some.count else { throw LabFailure("cannot answer") }
                rest = rest.dropFirst(some.count)
                await Task.yield()
            }
        }
        let found = try await ServiceRecords.find("_etcd-client._tcp.example", servers: [short.server])
        #expect(found.map(\.host).sorted() == hosts.map(\.3).sorted())
        try await serving.value
    }

    @Test("a service's targets are found, in order, at the next server when one is silent or fails")
    func find() async throws {
        let silent = try NameServer { _ in nil }
        let failing = try NameServer { question in
            var answer = question
            (answer[2], answer[3]) = (0x81, 0x82)
            return answer
        }
        let asked = Mutex<[UInt8]>([])
        let good = try NameServer { question in
            asked.withLock { $0 = question }
            return records(question, [(2, 0, 3, "c.example"), (1, 1, 1, "a.example"), (1, 9, 2379, "b.example")])
        }
        let targets = try await ServiceRecords.find("_etcd-client._tcp.example", servers: [silent.server, failing.server, good.server])
        #expect(targets.map(\.host) == ["b.example", "a.example", "c.example"] && targets[0].port == 2379)
        #expect(String(decoding: asked.withLock { $0 }.dropFirst(12), as: UTF8.self) == "\u{C}_etcd-client\u{4}_tcp\u{7}example\0\0!\0\u{1}")
    }

    @Test("a name that does not exist, and servers that do not answer, are told")
    func none() async throws {
        let server = try NameServer { question in
            var answer = question
            (answer[2], answer[3]) = (0x81, 0x83)
            return answer
        }
        let error = await expectError(.unreachable) { _ = try await ServiceRecords.find("x.example", servers: [server.server]) }
        #expect(error?.cause.contains("does not exist") == true)
        await expectError(.unreachable) { _ = try await ServiceRecords.find("x.example", servers: []) }
        await expectError(.invalid) { _ = try await ServiceRecords.find("a b", servers: [server.server]) }
    }

    @Test("any answer is read or refused, and nothing traps")
    func fuzz() throws {
        let question = try #require(ServiceRecords.question("_etcd-client._tcp.example.com", id: 7))
        let answer = records(question, [(1, 1, 2379, "a.example.com"), (1, 2, 2379, "b.example.com")])
        #expect(try ServiceRecords.parse(answer, id: 7).map(\.host) == ["b.example.com", "a.example.com"])
        #expect(throws: ServiceRecords.Refusal.self) { try ServiceRecords.parse(answer, id: 8) }
        var random = SeededRandom(3)
        for _ in 0..<5_000 {
            var text = answer
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                text[Int.random(in: 0..<text.count, using: &random)] = [0, 0xC0, 0xFF, 12, 63][Int.random(in: 0..<5, using: &random)]
            }
            text.removeLast(Int.random(in: 0..<text.count, using: &random) / 4)
            _ = try? ServiceRecords.parse(text, id: 7)
        }
        // A name that points at itself.
        #expect(throws: ServiceRecords.Refusal.self) { try ServiceRecords.parse(question[..<12] + [0xC0, 12, 0, 33, 0, 1], id: 7) }
    }

    @Test("the servers are those of resolv.conf, three at most")
    func configuration() {
        let text = "# nameserver 1.1.1.1\nsearch x\nnameserver 10.0.0.1\nnameserver\tfe80::1%eth0\nnameserver\nnameserver 3\nnameserver 4\n"
        #expect(ServiceRecords.servers(in: text).map(\.address) == ["10.0.0.1", "fe80::1%eth0", "3"])
    }

    @Test("a store finds its members by SRV records, and again when they moved", .enabled(if: EtcdProcess.isAvailable, needsEtcd))
    func store() async throws {
        try await withEtcd { process, direct in
            let ports = Mutex([1])
            let server = try NameServer { question in records(question, ports.withLock { $0 }.map { (1, 1, $0, "localhost") }) }
            let location = try EtcdLocation(parsing: "etcd+srv://example.com")
            let store = EtcdStore(try EtcdClient(location, .plain, EtcdPatience(), nameServers: [server.server]))
            await expectError(.unreachable) { _ = try await store.identity() }
            ports.withLock { $0 = [process.clientPort] }
            let identity = try await obtain("the identity", within: .seconds(15)) { try await store.identity() }
            #expect(try await direct.identity() == identity)
            try await store.write(.put("a"))
        }
    }
}
