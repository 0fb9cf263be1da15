/// Tokens with which hosts join: objects in the store, so any node makes and revokes them, and a token survives the node that made it.
package import Fabric
package import Store

extension Controller {
    /// Tokens that the store keeps, the ended ones of the last day among them.
    private static let mostTokens = 1000
    /// Hosts that may join with one token in one instant.
    private static let mostSpendings = 1000

    /// - Parameters:
    ///   - ttl: seconds.
    ///   - uses: nil: any number.
    package func createToken(ttl: Int, uses: Int?) async throws -> (token: JoinToken, object: TokenObject) {
        let operation = "make a token"
        try await requireStore(operation)
        guard (1...365 * 86_400).contains(ttl) else {
            throw AgentError(.invalid, operation, cause: "it would end after \(ttl) s", remedy: "give --ttl a duration from 1s to 365d")
        }
        if let uses, !(1...1_000_000).contains(uses) {
            throw AgentError(.invalid, operation, cause: "\(uses) nodes cannot join with it", remedy: "give --uses a number from 1 on")
        }
        // Just started: the record is being read.
        _ = await wait(within: .seconds(3)) { $0.view.authority != nil }
        // What this agent shows, for it is asked to be joined by it: after a change of the authority not all nodes show the same for a time.
        guard let authority = view.authority, let token = JoinToken(authority: shownAuthority ?? authority.fingerprint) else {
            throw AgentError(
                .setup, operation, cause: "the cluster has no certificate authority yet",
                remedy: "upgrade the agent on the first host; until then 'tulle token show' prints the shared secret")
        }
        guard view.tokens.count < Self.mostTokens else {
            throw AgentError(.full, operation, cause: "there are \(view.tokens.count) tokens", remedy: "revoke some with 'tulle token revoke'")
        }
        let now = wallSeconds()
        let object = TokenObject(id: token.id, hash: token.hash, created: now, expires: now + ttl, uses: uses)
        let key = StoreKey.token(object.id)
        let transaction = StoreTransaction(
            conditions: [.absent(key: key)], operations: [.put(key: key, value: try StoredJSON.encode(object), lease: nil)])
        guard try await commit(transaction, operation) != nil else {
            throw AgentError(.conflict, operation, cause: "a token with that id exists", remedy: "try again")
        }
        return (token, object)
    }

    package func revokeToken(_ id: String) async throws {
        let operation = "revoke token \(id)"
        try await requireStore(operation)
        guard view.tokens[id] != nil else {
            throw AgentError(.unknown, operation, cause: "there is no such token", remedy: "'tulle token list' shows them")
        }
        _ = try await commit(StoreTransaction(operations: [.delete(key: StoreKey.token(id))]), operation)
    }

    private static func tokenRefusal(_ state: TokenObject.State, _ operation: String) -> AgentError {
        AgentError(
            .token, operation, cause: "the token is \(state.rawValue)", remedy: "make a new one with 'tulle token create' on a node of the cluster")
    }

    private static func unknownToken(_ operation: String) -> AgentError {
        AgentError(
            .token, operation, cause: "the cluster does not know the token",
            remedy: "it was revoked, or ended long ago: make a new one with 'tulle token create' on a node of the cluster")
    }

    /// Whether it would let somebody in, by this node's view.
    ///
    /// - Parameters node, key: who asks. A host that it let in before, whose answer was lost on the way, may ask again.
    func checkToken(proof: String, for node: NodeID, key: String, _ operation: String) async throws {
        let id = JoinToken.id(ofProof: proof)
        // Made on another node a moment ago.
        _ = await wait(within: .seconds(1)) { $0.view.tokens[id] != nil }
        guard let known = view.tokens[id], known.hash == JoinToken.hash(ofProof: proof) else {
            throw Self.unknownToken(operation)
        }
        let state = known.state(at: wallSeconds(), for: TokenObject.mark(node, key))
        guard state == .valid else { throw Self.tokenRefusal(state, operation) }
    }

    /// Takes one use of the token that a joiner proves to have; none if it did that before with the same key.
    func spendToken(proof: String, for node: NodeID, key: String, _ operation: String) async throws {
        try await checkToken(proof: proof, for: node, key: key, operation)
        let mark = TokenObject.mark(node, key)
        let id = JoinToken.id(ofProof: proof)
        var found: TokenObject.State?
        // As many hosts as are set up at once want it at the same time, and in each round one gets it.
        try await rewrite(StoreKey.token(id), operation, attempts: Self.mostSpendings) { (old: TokenObject) in
            let now = old.state(at: wallSeconds(), for: mark)
            found = now
            guard now == .valid, !old.hasAdmitted(mark) else { return nil }
            return old.admitting(mark)
        }
        guard let found else { throw Self.unknownToken(operation) }
        guard found == .valid else { throw Self.tokenRefusal(found, operation) }
    }

    /// Deletes tokens that ended a day ago.
    func sweepTokens() async throws {
        let old = view.tokens.values.filter { $0.expires < wallSeconds() - 86_400 }
        guard !old.isEmpty, view.alive.min() == me.id else { return }
        _ = try await commit(StoreTransaction(operations: old.prefix(100).map { .delete(key: StoreKey.token($0.id)) }), "forget old tokens")
    }
}
