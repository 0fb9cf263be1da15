@testable import Store
import Testing
import TLS

struct JoinTokenTests {
    private static func new() throws -> JoinToken {
        try #require(JoinToken(authority: Digest.hexadecimal(Cryptography.random(32))))
    }

    @Test("a token's text gives the token back, with its authority's fingerprint")
    func roundTrip() throws {
        for _ in 0..<50 {
            let fingerprint = Cryptography.random(32)
            let token = try #require(JoinToken(authority: Digest.hexadecimal(fingerprint)))
            #expect(token.text.utf8.count == 7 + 88)
            #expect(try JoinToken(parsing: token.text) == token)
            #expect(try JoinToken(parsing: token.text).fingerprint == fingerprint)
        }
    }

    @Test("capitals and blanks around a token do no harm")
    func blanks() throws {
        let token = try Self.new()
        for text in ["  \(token.text)\r\n", "\t\(token.text.uppercased()) \n", "Tulle2-" + token.text.dropFirst(7)] {
            #expect(JoinToken.looksLike(text))
            #expect(try JoinToken(parsing: text) == token)
        }
    }

    @Test("any single mistyped character is noticed, and the message does not repeat the token")
    func typos() async throws {
        let token = try Self.new()
        let text = Array(token.text.utf8)
        for index in 7..<text.count {
            for letter in Array("abcdefghijklmnopqrstuvwxyz234567 018é".utf8) where letter != text[index] {
                var mistyped = text
                mistyped[index] = letter
                let error = await expectError(.malformedToken) { _ = try JoinToken(parsing: String(decoding: mistyped, as: UTF8.self)) }
                #expect(error?.description.contains(token.text.suffix(20)) == false)
            }
        }
    }

    @Test("two characters that changed places are noticed")
    func swapped() async throws {
        let text = Array(try Self.new().text.utf8)
        for index in 7..<text.count - 1 where text[index] != text[index + 1] {
            var mistyped = text
            mistyped.swapAt(index, index + 1)
            await expectError(.malformedToken) { _ = try JoinToken(parsing: String(decoding: mistyped, as: UTF8.self)) }
        }
    }

    @Test("what is no token is refused", arguments: [
        "", " ", "tulle2-", "tulle1-" + String(repeating: "a", count: 88), String(repeating: "a", count: 95),
        "tulle2-" + String(repeating: "a", count: 87), "tulle2-" + String(repeating: "a", count: 89),
        "tulle2-" + String(repeating: "1", count: 88), "tulle2-" + String(repeating: "é", count: 44),
        "tulle2-" + String(repeating: "a", count: 1_000_000),
    ])
    func malformed(_ text: String) async throws {
        await expectError(.malformedToken) { _ = try JoinToken(parsing: text) }
    }

    @Test("a damaged token is still told apart from the shared secret of version 0.1")
    func looks() throws {
        let text = try Self.new().text
        #expect(JoinToken.looksLike(text) && JoinToken.looksLike(text.dropLast(3)) && JoinToken.looksLike("tulle2-"))
        #expect(!JoinToken.looksLike(ClusterToken.new().text) && !JoinToken.looksLike("") && !JoinToken.looksLike(text.dropFirst()))
    }

    @Test("a printed token shows nothing of its secret, and neither do its id and hash")
    func secrecy() throws {
        let token = try Self.new()
        #expect("\(token)" == "tulle2-…")
        #expect(String(reflecting: token) == "tulle2-…")
        #expect(token.proof.count == 40)
        for shown in [token.id, token.hash] {
            #expect(!token.proof.contains(shown) && !shown.contains(token.proof) && !token.text.contains(shown))
        }
        #expect(token.id != token.hash.prefix(16), "the id is no part of what the store compares")
    }

    @Test("id and hash follow from the proof alone: the same for each copy, different for each token")
    func names() throws {
        let tokens = try (0..<200).map { _ in try Self.new() }
        #expect(Set(tokens.map(\.id)).count == 200 && Set(tokens.map(\.hash)).count == 200)
        for token in tokens {
            let copy = try JoinToken(parsing: token.text)
            #expect(copy.id == token.id && copy.hash == token.hash && copy.proof == token.proof)
            #expect(JoinToken.id(ofProof: token.proof) == token.id && JoinToken.hash(ofProof: token.proof) == token.hash)
            #expect(token.id.utf8.count == 16 && token.hash.utf8.count == 64)
        }
        // What the store holds must be found by later versions too.
        #expect(JoinToken.id(ofProof: "00") == "b27a7f29f1017371")
        #expect(JoinToken.hash(ofProof: "00") == "1b27f32ecff45844146db3c5f2e6645f965dd993f84f9f656cdcfe9a0eaa5939")
    }

    @Test("two tokens of one authority have different secrets, and a text that is no fingerprint makes none")
    func authority() throws {
        let fingerprint = Digest.hexadecimal(Cryptography.random(32))
        let tokens = try (0..<20).map { _ in try #require(JoinToken(authority: fingerprint)) }
        #expect(Set(tokens.map(\.proof)).count == 20 && Set(tokens.map(\.fingerprint)).count == 1)
        for text in ["", "00", String(fingerprint.dropLast(2)), fingerprint + "00", String(repeating: "g", count: 64)] {
            #expect(JoinToken(authority: text) == nil)
        }
    }
}
