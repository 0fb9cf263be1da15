import Addressing
import DNS
import Fabric
import NameService
import Testing

@Suite("questions on their way to Docker")
struct ForwarderTests {
    private let asker = Forwarder.Asker(address: 0x7f00_0001, port: 4000)
    private let now = ContinuousClock.now

    private func question(_ name: String, id: UInt16) throws -> [UInt8] {
        var message = DNSMessage(id: id)
        message.questions = [DNSQuestion(try #require(DNSName(name)), .a)]
        return message.printed()
    }
    /// (A macro cannot change what it looks at.)
    private func take(_ forwarder: inout Forwarder, _ message: [UInt8], from other: Forwarder.Asker? = nil, seed: UInt16) throws -> [UInt8] {
        let sent = forwarder.take(message, from: other ?? asker, at: now, seed: seed)
        return try #require(sent)
    }
    private func answer(_ question: [UInt8]) throws -> [UInt8] {
        let asked = try DNSMessage(parsing: question)
        var message = DNSMessage(answering: asked)
        message.answers = [DNSRecord(asked.questions[0].name, ttl: 600, .address(IPAddress(v4: 1)))]
        return message.printed()
    }

    @Test("two askers with one id get each his own answer, with that id")
    func ids() throws {
        var forwarder = Forwarder()
        let (a, b) = (try question("a", id: 7), try question("b", id: 7))
        let other = Forwarder.Asker(address: 0x7f00_0001, port: 4001)
        let sentA = try take(&forwarder, a, seed: 100)
        let sentB = try take(&forwarder, b, from: other, seed: 100)
        #expect(sentA.prefix(2) != sentB.prefix(2))
        let gotB = forwarder.answered(try answer(sentB))
        let gotA = forwarder.answered(try answer(sentA))
        #expect(gotA?.asker == asker && gotB?.asker == other)
        let (wantedA, wantedB) = (try answer(a), try answer(b))
        #expect(gotA?.bytes == wantedA && gotB?.bytes == wantedB)
        #expect(forwarder.count == 0)
    }

    @Test("an answer that nobody waits for, or to another question, is dropped")
    func strangers() throws {
        var forwarder = Forwarder()
        let sent = try take(&forwarder, question("a", id: 7), seed: 9)
        // Another question; another id; no answer; too short; right; twice.
        let all = [try answer(question("b", id: 9)), try answer(question("a", id: 8)), sent, [0, 9, 0x80], try answer(sent), try answer(sent)]
        var taken: [Bool] = []
        for bytes in all { taken.append(forwarder.answered(bytes) != nil) }
        #expect(taken == [false, false, false, false, true, false])
    }

    @Test("after 5 s it is forgotten, and of too many the oldest is")
    func bounds() throws {
        var forwarder = Forwarder()
        let first = try take(&forwarder, question("a", id: 1), seed: 1)
        for id in 0..<UInt16(Forwarder.most) {
            _ = try take(&forwarder, question("a", id: id), seed: id &* 7 &+ 2)
            #expect(forwarder.count <= Forwarder.most)
        }
        let late = forwarder.answered(try answer(first))
        #expect(late?.bytes == nil)
        forwarder.expire(at: now + Forwarder.limit)
        #expect(forwarder.count == 0)
    }

    @Test("what Docker refused is asked once more, and then given up")
    func refusals() throws {
        var forwarder = Forwarder()
        let asked = try question("a", id: 1)
        let sent = try take(&forwarder, asked, seed: 5)
        let once = forwarder.refused()
        #expect(once.again == [sent] && once.failed.isEmpty)
        let twice = forwarder.refused()
        #expect(twice.again.isEmpty && twice.failed.map(\.message) == [asked])
        let failure = try DNSMessage(parsing: try #require(Responder.failure(of: asked)))
        #expect(failure.id == 1 && failure.isResponse && failure.code == .serverFailure)
    }
}

@Suite("what a container is answered")
struct ResponderTests {
    private static let me = NodeID(random: 1), shop = NetworkID(random: 2)

    private func responder(count: UInt32 = 1) -> Responder {
        let book = NameBook(me: Self.me)
        var local: [EndpointID: LocalEndpoint] = [:]
        for index in 0..<count {
            var endpoint = LocalEndpoint(
                id: EndpointID("e\(index)"), network: Self.shop, addresses: [IPAddress(v4: 0x0a20_0000 + index)], mac: .local(1), created: 0)
            endpoint.name = "c\(index)"
            endpoint.sandbox = "/s\(index)"
            endpoint.names = ContainerNames(container: "id\(index)", aliases: ["web"])
            local[endpoint.id] = endpoint
        }
        book.set(local: local)
        return Responder(book)
    }

    private func question(_ name: String, _ change: (inout DNSMessage) -> Void = { _ in }) throws -> [UInt8] {
        var message = DNSMessage(id: 77)
        message.wantsRecursion = true
        message.questions = [DNSQuestion(try #require(DNSName(name)), .a)]
        change(&message)
        return message.printed()
    }

    private func answer(_ response: Response) throws -> (message: DNSMessage, bytes: Int) {
        guard case .answer(let bytes) = response else { throw Missing() }
        return (try DNSMessage(parsing: bytes), bytes.count)
    }
    struct Missing: Error {}

    @Test("the sandbox says who asks: another one is told nothing")
    func sandbox() throws {
        let responder = responder()
        let asked = try question("WeB")
        let told = try answer(responder.respond(to: asked, from: "/s0", isStream: false, rotation: 0)).message
        #expect(told.id == 77 && told.isResponse && told.isAuthoritative && told.wantsRecursion && told.offersRecursion)
        #expect(told.questions.first?.name.description == "WeB" && told.answers.map(\.name.description) == ["WeB"])
        #expect(responder.respond(to: asked, from: "/other", isStream: false, rotation: 0) == .forward)
    }

    @Test("long answers are cut to what the asker takes: 512 bytes, what OPT says, or all over TCP")
    func sizes() throws {
        let responder = responder(count: 200)
        let plain = try answer(responder.respond(to: question("web"), from: "/s0", isStream: false, rotation: 0))
        #expect(plain.message.isTruncated && plain.bytes <= 512 && plain.message.answers.count > 25 && plain.message.options == nil)
        let asked = try question("web") { $0.additionals = [DNSOptions(size: 1232).record] }
        let more = try answer(responder.respond(to: asked, from: "/s0", isStream: false, rotation: 0))
        #expect(more.message.isTruncated && more.bytes <= 1232 && more.bytes > 1100 && more.message.options != nil)
        let tiny = try question("web") { $0.additionals = [DNSOptions(size: 1).record] }
        #expect(try answer(responder.respond(to: tiny, from: "/s0", isStream: false, rotation: 0)).message.answers.count > 20)
        let whole = try answer(responder.respond(to: question("web"), from: "/s0", isStream: true, rotation: 0))
        #expect(!whole.message.isTruncated && whole.message.answers.count == 200)
    }

    @Test("what is no question is dropped, and what is unusual is Docker's")
    func others() throws {
        let responder = responder()
        func respond(_ bytes: [UInt8]) -> Response { responder.respond(to: bytes, from: "/s0", isStream: false, rotation: 0) }
        #expect(respond([]) == .drop)
        #expect(respond(Array(try question("web").dropLast())) == .drop)
        #expect(try respond(question("web") { $0.isResponse = true }) == .drop)
        #expect(try respond(question("web") { $0.operation = 5 }) == .forward)
        #expect(try respond(question("web") { $0.questions += $0.questions }) == .forward)
        #expect(try respond(question("web") { $0.questions[0].kind = 3 }) == .forward)
        #expect(try respond(question("web") { $0.additionals = [DNSOptions(size: 512, version: 1).record] }) == .forward)
        #expect(try respond(question("example.com")) == .forward)
    }
}
