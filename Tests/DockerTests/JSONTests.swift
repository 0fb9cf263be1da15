import Docker
import Testing

struct JSONTests {
    private func parse(_ text: String) throws -> JSONValue { try JSONValue(parsing: Array(text.utf8)) }

    @Test("every kind of value is read")
    func values() throws {
        #expect(try parse(" { \"a\" : [ 1 , -2.5e1 , true , false , null , \"\" ] , \"b\" : { } } \n") == ["a": [1, .number(-25), true, false, .null, ""], "b": [:]])
        #expect(try parse("[]") == [])
        #expect(try parse("-0") == 0)
        #expect(try parse("9223372036854775807") == .integer(.max))
        #expect(try parse("9223372036854775808") == .number(9_223_372_036_854_775_808))
        #expect(try parse(#"{"a":1,"a":2}"#) == ["a": 2], "the last of a repeated key counts")
    }

    @Test("escapes and surrogates are read")
    func escapes() throws {
        #expect(try parse(#""\"\\\/\b\f\n\r\tA\u00fc\ud83d\ude00""#) == "\"\\/\u{8}\u{c}\n\r\tAü😀")
        #expect(try parse(#""\ud83d""#) == "\u{fffd}")
        #expect(try parse(#""\ud83dA""#) == "\u{fffd}A")
        #expect(try parse(#""\ude00\ud83d\ude00""#) == "\u{fffd}😀")
    }

    @Test(
        "what is not JSON is refused",
        arguments: [
            "", " ", "{", "}", "[", "[1", "[1,", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "01", "-", "1.", ".5", "1e", "1e999",
            "+1", "tru", "nul", "True", "'a'", "\"a", "\"\\\"", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\t\"", "1 2", "{} {}", "\u{feff}{}", "NaN",
        ])
    func malformed(text: String) {
        #expect(throws: JSONError.self) { try parse(text) }
    }

    @Test("invalid UTF-8 and too deep nesting are refused, at the place")
    func bounds() throws {
        #expect(throws: JSONError.self) { try JSONValue(parsing: [0x22, 0xff, 0x22]) }
        let deep = { (depth: Int) in String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
        #expect(throws: Never.self) { try parse(deep(64)) }
        let error = #expect(throws: JSONError.self) { try parse(deep(65)) }
        #expect(error?.offset == 64)
    }

    @Test("what is written is read back the same, with its keys in order", arguments: 0..<200)
    func roundTrip(seed: UInt64) throws {
        var random = SplitMix(state: seed)
        let value = any(&random, depth: 0)
        let bytes = value.serialized()
        #expect(try JSONValue(parsing: bytes) == value)
        #expect(try JSONValue(parsing: bytes).serialized() == bytes)
    }

    @Test("the written form is exact")
    func written() {
        let value: JSONValue = ["b": [1, .number(1.5), .null, true], "a": "\"\\/\n\u{1}ü", "": [:]]
        #expect(String(decoding: value.serialized(), as: UTF8.self) == #"{"":{},"a":"\"\\/\n\u0001ü","b":[1,1.5,null,true]}"#)
    }

    private func any(_ random: inout SplitMix, depth: Int) -> JSONValue {
        switch Int.random(in: 0..<(depth < 5 ? 7 : 5), using: &random) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &random))
        case 2: return .integer(Int64(truncatingIfNeeded: random.next()))
        case 3: return .number(Double.random(in: -1e10...1e10, using: &random) + 0.1)
        case 4: return .text(text(&random))
        case 5: return .list((0..<Int.random(in: 0..<5, using: &random)).map { _ in any(&random, depth: depth + 1) })
        default:
            var fields: [String: JSONValue] = [:]
            for _ in 0..<Int.random(in: 0..<5, using: &random) { fields[text(&random)] = any(&random, depth: depth + 1) }
            return .object(fields)
        }
    }

    private func text(_ random: inout SplitMix) -> String {
        let alphabet: [Unicode.Scalar] = ["a", "\"", "\\", "/", "\n", "\u{0}", "\u{1f}", "\u{7f}", "ü", "€", "😀", "\u{2028}", "\u{ffff}"]
        var text = String.UnicodeScalarView()
        for _ in 0..<Int.random(in: 0..<8, using: &random) { text.append(alphabet.randomElement(using: &random) ?? "a") }
        return String(text)
    }
}
