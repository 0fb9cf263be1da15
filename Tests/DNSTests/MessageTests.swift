import Addressing
import DNS
import TestKit
import Testing

@Suite("DNS messages")
struct MessageTests {
    @Test("what is printed is read as the same", arguments: 0..<8)
    func roundTrip(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        for _ in 0..<500 {
            let message = DNSMessage.random(&random)
            let bytes = message.printed()
            #expect(try DNSMessage(parsing: bytes) == message, "seed \(seed)")
        }
    }

    @Test("whatever comes is read or refused, and ends", arguments: 0..<8)
    func fuzz(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<2_000 {
            var bytes = DNSMessage.random(&random).printed()
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &random)))
                case 1 where !bytes.isEmpty: bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
                // Pointers, here and there.
                default: if bytes.count > 14 { bytes[Int.random(in: 12..<bytes.count, using: &random)] = 0xc0 }
                }
            }
            if let message = try? DNSMessage(parsing: bytes) { _ = message.printed(limit: 512) }
        }
    }

    @Test("a question as it is on the wire (RFC 1035)")
    func wire() throws {
        var message = DNSMessage(id: 0x1234)
        message.wantsRecursion = true
        message.questions = [DNSQuestion(try #require(DNSName("web.shop")), .a)]
        #expect(message.printed() == [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3] + Array("web".utf8) + [4] + Array("shop".utf8) + [0, 0, 1, 0, 1])
    }

    @Test("a name that stood before is written as a pointer, but not in an SRV target")
    func compression() throws {
        let name = try #require(DNSName("web.shop"))
        var message = DNSMessage(id: 1, isResponse: true)
        message.questions = [DNSQuestion(name, .a)]
        message.answers = [DNSRecord(name, ttl: 1, .address(IPAddress(v4: 0x0a200001)))]
        #expect(message.printed().count == 12 + 14 + 2 + 10 + 4)
        message.answers = [DNSRecord(name, ttl: 1, .service(priority: 0, weight: 0, port: 80, target: name))]
        #expect(message.printed().count == 12 + 14 + 2 + 10 + 6 + 10)
    }

    @Test("a pointer to itself, forward, or round in a circle is no name", arguments: [[0xc0, 12], [0xc0, 14], [1, 97, 0xc0, 12], [0x40, 1], [0xc0]])
    func pointers(name: [UInt8]) {
        let header: [UInt8] = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        #expect(throws: DNSError.self) { try DNSMessage(parsing: header + name + [0, 1, 0, 1]) }
    }

    @Test("names have 255 bytes and labels 63 at most")
    func limits() throws {
        #expect(DNSName(String(repeating: "a", count: 63)) != nil)
        #expect(DNSName(String(repeating: "a", count: 64)) == nil)
        let label = String(repeating: "a", count: 63)
        #expect(DNSName("\(label).\(label).\(label).\(String(repeating: "b", count: 61))") != nil)
        #expect(DNSName("\(label).\(label).\(label).\(String(repeating: "b", count: 62))") == nil)
        #expect(DNSName("a..b") == nil)
        #expect(DNSName("") == nil)
        #expect(DNSName(".") == .root)
        // The same by pointers: 5 labels of 63 bytes, each name a part of the next.
        let long = [63] + Array(repeating: UInt8(97), count: 63)
        var bytes: [UInt8] = [0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0] + long + long + long + [0, 0, 1, 0, 1]
        bytes += long + [0xc0, 12, 0, 1, 0, 1]
        #expect(throws: DNSError.self) { try DNSMessage(parsing: bytes) }
    }

    @Test("dots and other bytes within a label do not make another name of it")
    func escapes() throws {
        let name = try #require(DNSName(labels: [Array("a.b".utf8), [0, 65]]))
        #expect(name.description == #"a\.b.\000A"#)
        #expect(name.folded == #"a\.b.\000a"#)
    }

    @Test("what does not fit is left out, and the message says so; additional records go without a word")
    func truncation() throws {
        let name = try #require(DNSName("web"))
        var message = DNSMessage(id: 1, isResponse: true)
        message.questions = [DNSQuestion(name, .a)]
        message.answers = (1...100).map { DNSRecord(name, ttl: 1, .address(IPAddress(v4: $0))) }
        message.additionals = [DNSOptions(size: 1232).record]
        let bytes = message.printed(limit: 512)
        #expect(bytes.count <= 512 && bytes.count > 480)
        let cut = try DNSMessage(parsing: bytes)
        #expect(cut.isTruncated && cut.answers == Array(message.answers.prefix(cut.answers.count)) && cut.options?.size == 1232)
        message.answers = [message.answers[0]]
        message.additionals += (1...100).map { DNSRecord(name, ttl: 1, .address(IPAddress(v4: $0))) }
        let whole = try DNSMessage(parsing: message.printed(limit: 512))
        #expect(!whole.isTruncated && whole.answers == message.answers && whole.additionals.count < 40)
    }
}

extension DNSMessage {
    static func random(_ random: inout SeededRandom) -> DNSMessage {
        var message = DNSMessage(
            id: .random(in: 0...UInt16.max, using: &random), isResponse: .random(using: &random), operation: .random(in: 0...15, using: &random),
            code: Code(.random(in: 0...15, using: &random)))
        message.isAuthoritative = .random(using: &random)
        message.isTruncated = .random(using: &random)
        message.wantsRecursion = .random(using: &random)
        message.offersRecursion = .random(using: &random)
        message.spare = .random(in: 0...7, using: &random)
        func some<Value>(_ make: (inout SeededRandom) -> Value) -> [Value] {
            let count = Int.random(in: 0...3, using: &random)
            var values: [Value] = []
            for _ in 0..<count { values.append(make(&random)) }
            return values
        }
        message.questions = some { DNSQuestion(DNSName.random(&$0), DNSType(.random(in: 0...300, using: &$0)), kind: .random(in: 0...3, using: &$0)) }
        message.answers = some { DNSRecord.random(&$0) }
        message.authorities = some { DNSRecord.random(&$0) }
        message.additionals = some { DNSRecord.random(&$0) }
        return message
    }
}

extension DNSName {
    static func random(_ random: inout SeededRandom) -> DNSName {
        // Few letters, so that ends of names come again.
        let letters: [UInt8] = [0x61, 0x42, 0x2e, 0, 200]
        var labels: [[UInt8]] = []
        for _ in 0..<Int.random(in: 0...4, using: &random) {
            var label: [UInt8] = []
            for _ in 0..<Int.random(in: 1...3, using: &random) { label.append(letters[Int.random(in: 0..<5, using: &random)]) }
            labels.append(label)
        }
        return DNSName(labels: labels) ?? .root
    }
}

extension DNSRecord {
    static func random(_ random: inout SeededRandom) -> DNSRecord {
        let name = DNSName.random(&random)
        let ttl = UInt32.random(in: 0...UInt32.max, using: &random)
        func number() -> UInt16 { .random(in: 0...UInt16.max, using: &random) }
        let data: Data = switch Int.random(in: 0..<5, using: &random) {
        case 0: .address(IPAddress(.random(using: &random) ? .v4 : .v6, bits: UInt128.random(in: 0...UInt128.max, using: &random)))
        case 1: .pointer(DNSName.random(&random))
        case 2: .service(priority: number(), weight: number(), port: number(), target: DNSName.random(&random))
        case 3:
            .authority(
                primary: DNSName.random(&random), mailbox: DNSName.random(&random), serial: 1, refresh: 2, retry: 3, expire: 4, minimum: 5)
        default: .other(DNSType(.random(using: &random) ? 16 : 99), Array(0..<UInt8.random(in: 0...9, using: &random)))
        }
        return DNSRecord(name, ttl: ttl, data)
    }
}
