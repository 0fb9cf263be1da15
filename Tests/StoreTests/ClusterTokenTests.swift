@testable import Store
import Testing
import TLS

struct ClusterTokenTests {
    @Test("a token's text gives the token back")
    func roundTrip() throws {
        for _ in 0..<50 {
            let token = ClusterToken.new()
            #expect(token.text.utf8.count == 7 + 56)
            #expect(try ClusterToken(parsing: token.text) == token)
            #expect(try ClusterToken(parsing: "  \(token.text.uppercased())\r\n") == token)
        }
        #expect(ClusterToken.new() != ClusterToken.new())
    }

    @Test("any single mistyped character is noticed")
    func typos() async throws {
        let text = Array(ClusterToken.new().text.utf8)
        for index in 7..<text.count {
            for letter in Array("abcdefghijklmnopqrstuvwxyz234567".utf8) where letter != text[index] {
                var mistyped = text
                mistyped[index] = letter
                await expectError(.malformedToken) { _ = try ClusterToken(parsing: String(decoding: mistyped, as: UTF8.self)) }
            }
        }
    }

    @Test("what is no token is refused", arguments: [
        "", " ", "tulle1-", "tulle2-" + String(repeating: "a", count: 56), String(repeating: "a", count: 63),
        "tulle1-" + String(repeating: "a", count: 55), "tulle1-" + String(repeating: "a", count: 57),
        "tulle1-" + String(repeating: "1", count: 56), "tulle1-" + String(repeating: "é", count: 28),
    ])
    func malformed(_ text: String) async throws {
        await expectError(.malformedToken) { _ = try ClusterToken(parsing: text) }
    }

    @Test("a printed token shows nothing of its secret")
    func secrecy() {
        #expect("\(ClusterToken.new())" == "tulle1-…")
        #expect(String(reflecting: ClusterToken.new()) == "tulle1-…")
    }

    @Test("HMAC-SHA-256 and SHA-256 give the published results")
    func vectors() throws {
        // RFC 4231 section 4.3 (test case 2) and FIPS 180-4's "abc".
        let code = try Cryptography.hmac(key: Array("Jefe".utf8), Array("what do ya want for nothing?".utf8))
        #expect(Digest.hexadecimal(code) == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        let digest = Digest.sha256(Array("abc".utf8))
        #expect(Digest.hexadecimal(digest) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(bytes(hexadecimal: Digest.hexadecimal(digest)) == digest)
        #expect(bytes(hexadecimal: "0G") == nil && bytes(hexadecimal: "0") == nil)
    }
}
