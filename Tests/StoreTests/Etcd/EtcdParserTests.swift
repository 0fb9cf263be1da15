import FoundationEssentials
@testable import Store
import Testing

/// The readers of what etcd answers, without an etcd.
struct EtcdParserTests {
    @Test("base64 is what Foundation says it is, at every length")
    func base64() {
        var random = SeededRandom(7)
        for length in 0..<200 {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            var text: [UInt8] = []
            Base64.encode(bytes, to: &text)
            #expect(String(decoding: text, as: UTF8.self) == Data(bytes).base64EncodedString())
            #expect(text.withUnsafeBufferPointer { Base64.decode($0) } == bytes)
        }
        for wrong in ["a", "ab", "abc", "ab=c", "=abc", "a===", "ab c", "abcd=", "ab==abcd", "äb", "===="] {
            #expect(Array(wrong.utf8).withUnsafeBufferPointer { Base64.decode($0) } == nil, "\(wrong)")
        }
    }

    private func answer(_ text: String) throws -> EtcdAnswer { try EtcdAnswer(Array(text.utf8)) }

    @Test("an answer is read whatever is left out, written otherwise, or unknown")
    func answers() throws {
        let range = try answer(
            #"{"header":{"cluster_id":"14841639068965178418","revision":"12"},"new":{"a":[1,null,{"b":"\"}"}]},"#
                + #""kvs":[{"key":"aw==","create_revision":"2","mod_revision":3,"version":"1","value":"dg==","lease":"7587899063344510730"},"#
                + #"{"key":"a\u0077=="}],"more":true,"count":"5"}"#)
        #expect(range.header.cluster == 14_841_639_068_965_178_418 && range.header.revision == 12)
        #expect(range.entries.count == 2 && range.hasMore && range.count == 5)
        #expect(range.entries[0].modified == 3 && range.entries[0].lease == 7_587_899_063_344_510_730)
        #expect(range.entries[1].key == [0x6B] && range.entries[1].value.isEmpty)
        let lease = try answer(#"{"result":{"header":{"revision":"2"},"ID":"-5","TTL":"9"}}"#)
        #expect(lease.id == UInt64(bitPattern: -5) && lease.term == 9)
        #expect(try answer("{}").header.revision == 0)
        #expect(try answer(#"{"kvs":null,"header":null,"count":null,"more":null}"#).entries.isEmpty)
        #expect(try answer(#"{"error":{"grpc_code":5,"message":"lost"}}"#).failure?.code == 5)
    }

    @Test("a line of a watch is read: events, cancellation, compaction, a failure")
    func watch() throws {
        func line(_ text: String) throws -> EtcdWatchAnswer { try EtcdWatchAnswer(Array(text.utf8)) }
        let events = try line(
            #"{"result":{"header":{"revision":"9"},"events":[{"kv":{"key":"aw=="}},{"type":"DELETE","kv":{"mod_revision":"9"}},{"type":1}]}}"#)
        #expect(events.events.map(\.isDeletion) == [false, true, true])
        let gone = try line(#"{"result":{"canceled":true,"compact_revision":"8"}}"#)
        #expect(gone.isCanceled && gone.compacted == 8)
        #expect(try line(#"{"result":{"watch_id":"-1"}}"#).watch == .max)
        #expect(try line(#"{"error":{"code":14,"message":"etcdserver: no leader"}}"#).failure?.isMembersFault == true)
    }

    @Test("each error of etcd's has its code and a remedy that names what to do")
    func failures() {
        func error(_ message: String, _ code: Int = 2, status: Int = 500) -> StoreError {
            let body = #"{"error":"\#(message)","message":"\#(message)","code":\#(code)}"#
            return EtcdFailure(status: status, body: Array(body.utf8)).error("test", user: "u")
        }
        let expected: [(StoreError, StoreError.Code, String)] = [
            (error("etcdserver: mvcc: database space exceeded", 8), .full, "disarm"),
            (error("etcdserver: too many operations in txn request", 3), .invalid, "--max-txn-ops"),
            (error("etcdserver: request is too large", 3), .invalid, "--max-request-bytes"),
            (error("grpc: received message larger than max (3200160 vs. 2097152)", 8), .invalid, "--max-request-bytes"),
            (error("etcdserver: permission denied", 7), .permission, "role"),
            (error("etcdserver: authentication failed, invalid user ID or password", 3), .permission, "user"),
            (error("etcdserver: user name is empty", 3), .permission, "USER"),
            (error("etcdserver: requested lease not found", 5), .leaseNotFound, ""),
            (error("etcdserver: no leader", 14), .unreachable, "endpoint status"),
            (error("etcdserver: request timed out", 14), .timedOut, "read again"),
            (error("context deadline exceeded", 4), .timedOut, "read again"),
            (error("etcdserver: too many requests", 8), .overloaded, "disk"),
            (EtcdFailure(status: 404, body: Array("Not Found\n".utf8)).error("test", user: nil), .badAnswer, "gateway"),
            (EtcdFailure(status: 500, body: Array("<html>".utf8)).error("test", user: nil), .badAnswer, "log"),
        ]
        for (error, code, remedy) in expected {
            #expect(error.code == code && error.remedy.contains(remedy), "\(error)")
        }
        #expect(EtcdFailure(status: 404, body: Array("Not Found\n".utf8)).message == "HTTP status 404: Not Found")
        #expect(EtcdFailure(status: 500, body: Array(#"{"code":16,"message":"etcdserver: invalid auth token","details":[]}"#.utf8)).isStaleToken)
    }

    @Test("what is no answer is refused, and nothing traps", arguments: [1, 2, 3, 4] as [UInt64])
    func fuzz(_ seed: UInt64) {
        let samples = [
            #"{"header":{"cluster_id":"1484","revision":"12"},"kvs":[{"key":"aw==","mod_revision":"2","value":"dg=="}],"more":true,"count":"5"}"#,
            #"{"result":{"header":{"revision":"9"},"fragment":true,"events":[{"type":"DELETE","kv":{"key":"a\u0077==","mod_revision":"9"}}]}}"#,
            #"{"error":{"grpc_code":5,"http_code":404,"message":"t\ud83d\ude00\n"},"code":-3,"x":[true,false,null,1e5,{}]}"#,
            #"{"cluster":"a","epoch":1,"v":1}"#,
        ].map { Array($0.utf8) }
        var random = SeededRandom(seed)
        let interesting = Array(#"{}[]",:\u0n"-9tf= "#.utf8) + [0, 0xFF, 0xC3]
        for _ in 0..<2_000 {
            var text = samples[Int.random(in: 0..<samples.count, using: &random)]
            for _ in 0..<Int.random(in: 1...4, using: &random) where !text.isEmpty {
                let index = Int.random(in: 0..<text.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: text[index] = interesting[Int.random(in: 0..<interesting.count, using: &random)]
                case 1: text.removeSubrange(index..<min(text.count, index + Int.random(in: 1...8, using: &random)))
                case 2: text.insert(interesting[Int.random(in: 0..<interesting.count, using: &random)], at: index)
                default: text = Array(text[..<index])
                }
            }
            _ = try? EtcdAnswer(text)
            _ = try? EtcdWatchAnswer(text)
            _ = try? EtcdIdentity(reading: text, key: "k")
            _ = EtcdFailure(status: 500, body: text).error("test", user: nil)
        }
        let deep = [UInt8](repeating: UInt8(ascii: "["), count: 100_000)
        #expect(throws: EtcdJSON.Malformed.self) { try EtcdAnswer(Array(#"{"x":"#.utf8) + deep) }
        for wrong in ["", "{", "[]", "{}{}", #"{"count":"99999999999999999999"}"#, #"{"kvs":[{"key":"a"}]}"#, #"{"count":"1}"#, "null x", #"{"a" 1}"#] {
            #expect(throws: EtcdJSON.Malformed.self) { try EtcdAnswer(Array(wrong.utf8)) }
        }
    }

    @Test("the identity's key belongs to no prefix, and junk keys have names")
    func names() {
        let names = EtcdNames(prefix: "/t/")
        let ranges = names.rangesWithoutIdentity(below: "")
        #expect(ranges.count == 2)
        #expect(ranges[0] == EtcdKeyRange(from: Array("/t/".utf8), to: Array("/t/store".utf8)))
        #expect(ranges[1] == EtcdKeyRange(from: Array("/t/store\0".utf8), to: Array("/t0".utf8)))
        #expect(names.rangesWithoutIdentity(below: "sto").count == 2)
        #expect(names.rangesWithoutIdentity(below: "store") == [EtcdKeyRange(from: Array("/t/store\0".utf8), to: Array("/t/storf".utf8))])
        #expect(names.rangesWithoutIdentity(below: "stores/").count == 1)
        #expect(names.name(of: Array("/t/store".utf8)) == nil && names.name(of: Array("/x/a".utf8)) == nil)
        #expect(names.name(of: Array("/t/stores".utf8)) == "stores")
        #expect(names.name(of: Array("/t/a".utf8) + [0xFF, 0x0A]) == "a%FF%0A")
    }

    @Test("the identity is read whatever a newer version adds, and refused when it is none")
    func identity() throws {
        func read(_ text: String) throws -> StoreIdentity { try EtcdIdentity(reading: Array(text.utf8), key: "k").identity }
        let new = StoreIdentity.new()
        #expect(try EtcdIdentity(reading: EtcdIdentity(new).text, key: "k").identity == new)
        #expect(try read(#"{"cluster":"c","epoch":7,"x":[],"v":1}"#) == StoreIdentity(cluster: "c", epoch: 7))
        let newer = #expect(throws: StoreError.self) { try read(#"{"cluster":"c","epoch":7,"v":2}"#) }
        #expect(newer?.code == .newerFormat)
        for wrong in ["", "x", "{}", #"{"cluster":"c","v":1}"#, #"{"cluster":3,"epoch":1,"v":1}"#] {
            let error = #expect(throws: StoreError.self) { try read(wrong) }
            #expect(error?.code == .corrupt)
        }
    }
}
