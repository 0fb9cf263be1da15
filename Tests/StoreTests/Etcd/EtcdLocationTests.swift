import HTTP
@testable import Store
import Testing

struct EtcdLocationTests {
    private func host(_ name: String, _ port: Int = 2379) -> HTTPAddress { .tcp(host: name, port: port) }

    @Test("every form of etcd's address is read")
    func forms() throws {
        let plain = try EtcdLocation(parsing: "etcd://h1:2379,h2,[::1]:2380,[fe80::1],192.0.2.1:1")
        #expect(
            plain.servers
                == .hosts([host("h1"), host("h2"), host("::1", 2380), host("fe80::1"), host("192.0.2.1", 1)]))
        #expect(!plain.isSecure && plain.user == nil && plain.password == nil && plain.prefix == "/tulle/")

        let full = try EtcdLocation(parsing: "etcds://us%40er:p%3Aa:ss@h1:1/a/b%20c")
        #expect(full.servers == .hosts([host("h1", 1)]) && full.isSecure)
        #expect(full.user == "us@er" && full.password == "p:a:ss" && full.prefix == "/a/b c/")
        #expect(!full.description.contains("ss@") && full.description == "etcds://us@er@h1:1/a/b c")

        #expect(try EtcdLocation(parsing: "etcd+srv://example.com/x/").servers == .domain("example.com"))
        #expect(try EtcdLocation(parsing: "etcds+srv://example.com").isSecure)
        #expect(try EtcdLocation(parsing: "etcd://h1/").prefix == "/tulle/")
        #expect(try EtcdLocation(parsing: "etcd://user@h1").user == "user")
        #expect(try EtcdLocation(parsing: "etcd://h1,h1:2379").servers == .hosts([host("h1")]))
    }

    @Test(
        "a wrong address of etcd is refused without telling the password",
        arguments: [
            "h1:2379", "http://h1", "etcd://", "etcd://h1,,h2", "etcd://h1:0", "etcd://h1:65536", "etcd://h1:x", "etcd://::1:2379",
            "etcd://[::1", "etcd://[h1]", "etcd://user:secret@", "etcd://:secret@h1", "etcd://u:%zz@h1", "etcd://h1/%00",
            "etcd://h1/%", "etcd+srv://a:1", "etcd+srv://", "etcd://h 1", "etcd://u%:secret@h1", "etcd://h1:+1",
        ])
    func wrong(_ text: String) {
        let error = #expect(throws: StoreError.self) { try EtcdLocation(parsing: text) }
        #expect(error?.code == .invalid)
        #expect(error?.description.contains("secret") == false)
    }

    @Test("etcds:// says that it needs TLS")
    func notYet() async throws {
        let secure = #expect(throws: StoreError.self) { try EtcdStore(EtcdLocation(parsing: "etcds://127.0.0.1:1")) }
        #expect(secure?.cause.contains("TLS") == true)
    }

    @Test("a member's own address is used unless it leads nowhere from here")
    func learnt() {
        func address(_ url: String, isSecure: Bool = false, isLocal: Bool = false) -> HTTPAddress? {
            EtcdMembers.address(inURL: url, isSecure: isSecure, isLoopbackUseful: isLocal)
        }
        #expect(address("http://10.0.0.1:2379") == host("10.0.0.1"))
        #expect(address("https://e1.example:2379/", isSecure: true) == host("e1.example"))
        #expect(address("http://localhost:2379") == nil && address("http://localhost:2379", isLocal: true) == host("localhost"))
        for useless in ["https://10.0.0.1:2379", "http://0.0.0.0:2379", "http://[::]:2379", "unix://x", "", "http://", "http://:1"] {
            #expect(address(useless) == nil)
        }
    }
}

struct EtcdMembersTests {
    @Test("a member that fails is left alone for a while, longer each time, and the next is asked")
    func backOff() throws {
        let addresses = (1...3).map { HTTPAddress.tcp(host: "127.0.0.1", port: $0) }
        let start = ContinuousClock.now
        var members = EtcdMembers(try addresses.map { try EtcdEndpoint($0, isSecure: false, .plain) }, now: start)
        #expect(members.next(after: [], now: start)?.endpoint.address == addresses[0])
        members.failed(addresses[0], now: start)
        #expect(members.next(after: [], now: start)?.endpoint.address == addresses[1])
        members.worked(addresses[1])
        #expect(members.next(after: [], now: start + .seconds(60))?.endpoint.address == addresses[1], "the one that works is kept")
        members.failed(addresses[1], now: start)
        members.failed(addresses[2], now: start)
        let all = try #require(members.next(after: [], now: start))
        #expect(all.pause > .zero && all.pause <= .milliseconds(100))
        var (now, longest) = (start, Duration.zero)
        for _ in 0..<20 {
            now += .seconds(3)
            members.failed(addresses[0], now: now)
            // A second failure at the same time counts once.
            members.failed(addresses[0], now: now)
            longest = max(longest, members.next(after: Array(addresses[1...]), now: now)?.pause ?? .zero)
        }
        #expect(longest == .seconds(2))
        #expect(members.next(after: addresses, now: now) == nil)
    }
}
