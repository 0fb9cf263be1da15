@testable import Agent
import Fabric
import Store
import TLS
import Testing

/// Tokens as objects of the store: who may spend them, and until when.
@Suite("tokens", .timeLimit(.minutes(1)))
struct TokenTests {
    private func refused(_ code: AgentError.Code, _ cause: String, _ body: () async throws -> Void) async {
        let error = await #expect(throws: AgentError.self) { try await body() }
        #expect(error?.code == code && error?.cause.contains(cause) == true && error?.remedy.isEmpty == false, "\(String(describing: error))")
    }

    /// Puts a token's end elsewhere, as time would.
    private func move(_ token: TokenObject, by seconds: Int, in cluster: TestCluster) async throws {
        var moved = token
        moved.created += seconds
        moved.expires += seconds
        _ = try await cluster.store.commit(
            StoreTransaction(operations: [.put(key: StoreKey.token(token.id), value: try StoredJSON.encode(moved), lease: nil)]))
    }

    @Test("a token's state follows from its end and its uses")
    func states() {
        var token = TokenObject(id: "a", hash: "b", created: 100, expires: 200, uses: 2)
        #expect(token.state(at: 199) == .valid && token.state(at: 200) == .expired && token.state(at: .max) == .expired)
        token.used = 1
        #expect(token.state(at: 150) == .valid)
        token.used = 2
        #expect(token.state(at: 150) == .spent && token.state(at: 500) == .spent)
        token.uses = nil
        #expect(token.state(at: 150) == .valid)
    }

    @Test("a token of one node is known on the others, spent and revoked there")
    func everywhere() async throws {
        let admission = try await Admission(nodes: 2)
        let (token, object) = try await admission.nodes[1].controller.createToken(ttl: 60, uses: nil)
        #expect(object.id == token.id && object.hash == token.hash && object.expires - object.created == 60)
        #expect(hexadecimalText(token.fingerprint) == admission.authority.certificate.fingerprintText)
        try await eventually { await admission.controller.view.tokens[token.id] != nil }
        for _ in 0..<3 { try await admission.spend(token.proof) }
        try await eventually { await admission.nodes[1].controller.tokenReports().map(\.used) == [3] }
        try await admission.controller.revokeToken(token.id)
        await refused(.token, "does not know the token") { try await admission.spend(token.proof) }
        try await eventually { await admission.nodes[1].controller.tokenReports().isEmpty }
        await refused(.unknown, "there is no such token") { try await admission.nodes[1].controller.revokeToken(token.id) }
        await admission.cluster.end()
    }

    @Test("of 30 hosts at once exactly as many get in as the token is for, and each other hears that it is used up", arguments: [1, 12, 30])
    func uses(uses: Int) async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: uses)
        let results = await withTaskGroup(of: AgentError?.self) { group in
            for _ in 0..<30 {
                group.addTask {
                    do { try await admission.spend(token.proof) } catch { return error as? AgentError }
                    return nil
                }
            }
            return await group.reduce(into: [AgentError?]()) { $0.append($1) }
        }
        #expect(results.count { $0 == nil } == uses)
        let causes = Set(results.compactMap { $0?.cause })
        #expect(causes.isSubset(of: ["the token is used up"]), "\(causes)")
        #expect(await admission.controller.view.tokens[token.id]?.used == uses)
        await refused(.token, "used up") { try await admission.spend(token.proof) }
        await admission.cluster.end()
    }

    @Test("an expired token opens nothing, and is swept a day after its end")
    func expired() async throws {
        let admission = try await Admission()
        let (token, object) = try await admission.controller.createToken(ttl: 60, uses: nil)
        try await move(object, by: -61, in: admission.cluster)
        try await eventually { await admission.controller.tokenReports().map(\.state) == ["expired"] }
        await refused(.token, "the token is expired") { try await admission.spend(token.proof) }
        try await admission.controller.sweepTokens()
        #expect(await admission.controller.view.tokens.count == 1, "it is still told apart from a token that never was")
        try await move(object, by: -61 - 86_400, in: admission.cluster)
        try await eventually { await admission.controller.view.tokens[token.id].map { $0.expires < wallSeconds() - 86_400 } == true }
        // The node that does it must be seen alive.
        try await eventually {
            try await admission.controller.sweepTokens()
            return await admission.controller.view.tokens.isEmpty
        }
        await refused(.token, "does not know the token") { try await admission.spend(token.proof) }
        await admission.cluster.end()
    }

    @Test("a secret that was never given out, or shares its id with another, opens nothing")
    func unknown() async throws {
        let admission = try await Admission()
        let (token, object) = try await admission.controller.createToken(ttl: 60, uses: nil)
        for proof in ["", "00", String(token.proof.dropLast()), token.proof.uppercased(), token.hash, token.id, token.text] {
            await refused(.token, "does not know the token") { try await admission.spend(proof) }
        }
        var other = object
        other.hash = String(repeating: "0", count: 64)
        _ = try await admission.cluster.store.commit(
            StoreTransaction(operations: [.put(key: StoreKey.token(token.id), value: try StoredJSON.encode(other), lease: nil)]))
        try await eventually { await admission.controller.view.tokens[token.id]?.hash == other.hash }
        await refused(.token, "does not know the token") { try await admission.spend(token.proof) }
        #expect(await admission.controller.view.tokens[token.id]?.used == 0)
        await admission.cluster.end()
    }

    @Test("a junk count in the store ends no agent", arguments: [(Int.max, Int?.none), (Int.max, 5), (-5, 1), (0, -1)])
    func junk(used: Int, uses: Int?) async throws {
        let admission = try await Admission()
        let (token, object) = try await admission.controller.createToken(ttl: 60, uses: nil)
        var junk = object
        (junk.used, junk.uses) = (used, uses)
        _ = try await admission.cluster.store.commit(
            StoreTransaction(operations: [.put(key: StoreKey.token(token.id), value: try StoredJSON.encode(junk), lease: nil)]))
        // It is named and left out; what is read from the store itself is junk still.
        try await eventually { await admission.controller.problems.keys.contains { $0.contains("tokens/") } }
        try? await admission.spend(token.proof)
        #expect(await admission.controller.tokenReports().count == 1)
        await admission.cluster.end()
    }

    @Test("a token that could open nothing is not made", arguments: [(0, 1), (-1, nil), (365 * 86_400 + 1, nil), (60, 0), (60, -1), (60, 1_000_001)])
    func bounds(ttl: Int, uses: Int?) async throws {
        let admission = try await Admission()
        await refused(.invalid, ttl == 60 ? "nodes cannot join with it" : "it would end after") {
            _ = try await admission.controller.createToken(ttl: ttl, uses: uses)
        }
        #expect(await admission.controller.view.tokens.isEmpty)
        await admission.cluster.end()
    }

    @Test("while the store is away no token is made or spent, and the message says so")
    func away() async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: 1)
        admission.cluster.store.isCut = true
        await #expect(throws: (any Error).self) { _ = try await admission.controller.createToken(ttl: 60, uses: 1) }
        await #expect(throws: (any Error).self) { try await admission.spend(token.proof) }
        admission.cluster.store.isCut = false
        try await eventually { (try? await admission.spend(token.proof)) != nil }
        await admission.cluster.end()
    }
}

private func hexadecimalText(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef")
    return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
}
