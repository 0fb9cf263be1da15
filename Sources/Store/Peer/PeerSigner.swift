package import HTTP
import Synchronization

/// The client's end of authentication between agents, for one server: proves each request and believes no answer without
/// a proof. The first request, and one to a server that has restarted, is answered with a challenge and sent again; once more
/// if the server had to make a new challenge just then.
package final class PeerSigner: Sendable {
    private struct State {
        var challenge: [UInt8]?
        var counter: UInt64 = 0
    }

    private let token: ClusterToken
    private let session = Cryptography.random(16)
    private let state = Mutex(State())

    package init(token: ClusterToken) { self.token = token }

    /// Sends a request, up to three times if need be, and returns its authentic answer, whatever its status.
    ///
    /// - Throws: `StoreError` with the codes `wrongToken`, `replayed`, `notAuthentic`; and what the transport throws.
    package func send(
        _ request: HTTPRequest, over transport: (HTTPRequest) async throws -> HTTPResponse
    ) async throws -> HTTPResponse {
        let operation = "\(request.method) \(request.path)"
        // The token is wrong only if a server refuses a proof that was made for its own challenge.
        var isRefused = false
        for _ in 0..<3 {
            let (challenge, proof) = try prove(request)
            var signed = request
            signed.fields[PeerProof.field] = proof?.text
            let response = try await transport(signed)
            if let proof, try proof.isProved(response, token: token) {
                guard response.status != 425 else {
                    throw StoreError(.replayed, operation, cause: "the other agent has seen this request before")
                }
                return response
            }
            guard response.status == 401, let offered = response.fields[PeerProof.challengeField],
                let offered = bytes(hexadecimal: offered), offered.count == 32
            else {
                // Not to be believed, and what an agent of a sealed cluster says.
                let remedy = response.status == 403
                    ? "If the cluster was upgraded while this node was away, run 'tulle reset' here and join again with what 'tulle token create' prints; "
                        + "else check the address: traffic may be altered."
                    : nil
                throw StoreError(
                    .notAuthentic, operation, cause: "the answer, of status \(response.status), does not prove the token", remedy: remedy)
            }
            isRefused = offered == challenge
            if isRefused { break }
            state.withLock { $0.challenge = offered }
        }
        let cause =
            isRefused
            ? "the other agent does not accept this token" : "the other agent asks for another proof each time"
        throw StoreError(isRefused ? .wrongToken : .notAuthentic, operation, cause: cause)
    }

    /// The challenge known by now and the proof for it.
    private func prove(_ request: HTTPRequest) throws -> (challenge: [UInt8]?, proof: PeerProof?) {
        let (challenge, counter) = state.withLock { state in
            state.counter += 1
            return (state.challenge, state.counter)
        }
        guard let challenge else { return (nil, nil) }
        let proof = try PeerProof(request, token: token, challenge: challenge, session: session, counter: counter)
        return (challenge, proof)
    }
}
