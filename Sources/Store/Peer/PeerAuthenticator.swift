package import HTTP
import Synchronization
import TLS

/// The server's end of authentication between agents: lets through what proves the cluster's token, once.
///
/// A request without a proof, or with one that is wrong or made for another challenge, gets 401 with the challenge and
/// nothing else; it leaves no trace in memory. One that was seen before gets 425 (RFC 8470), proved like every other answer. The
/// challenge is random at each start, so nothing recorded earlier is of use. Sessions are bounded: forgetting one would
/// let its requests be replayed, so when there are too many a new challenge is made and all sessions begin anew, which costs
/// each client one more exchange.
package final class PeerAuthenticator: Sendable {
    private struct State {
        var challenge = Cryptography.random(32)
        var sessions: [[UInt8]: ReplayWindow] = [:]
    }

    private enum Verdict {
        case accepted, replayed, unknown
    }

    private let token: ClusterToken
    private let maximumSessions: Int
    private let state = Mutex(State())

    package init(token: ClusterToken, maximumSessions: Int = 4096) {
        self.token = token
        self.maximumSessions = maximumSessions
    }

    /// The handler behind the authentication.
    package func protecting(_ handler: @escaping HTTPHandler) -> HTTPHandler {
        { request in await self.answer(request, by: handler) }
    }

    private func answer(_ request: HTTPRequest, by handler: HTTPHandler) async -> HTTPResponse {
        do {
            guard let claim = request.fields[PeerProof.field].flatMap({ PeerProof(parsing: $0) }) else { return refusal() }
            let challenge = state.withLock { $0.challenge }
            let proof = try PeerProof(
                request, token: token, challenge: challenge, session: claim.session, counter: claim.counter)
            guard Cryptography.areEqual(proof.code, claim.code) else { return refusal() }
            var response: HTTPResponse
            switch judge(proof, challenge: challenge) {
            case .accepted: response = await handler(request)
            case .replayed: response = .text("this request was seen before\n", status: 425)
            case .unknown: return refusal()
            }
            response.fields[PeerProof.field] = try proof.answer(response, token: token)
            response.provesClient = true
            return response
        } catch {
            return .text("\(error)\n", status: 500)
        }
    }

    private func refusal() -> HTTPResponse {
        let challenge = state.withLock { Digest.hexadecimal($0.challenge) }
        return HTTPResponse(status: 401, fields: [PeerProof.challengeField: challenge])
    }

    /// Whether a proof whose code is right may pass.
    private func judge(_ proof: PeerProof, challenge: [UInt8]) -> Verdict {
        state.withLock { state in
            guard state.challenge == challenge else { return .unknown }
            if state.sessions[proof.session] == nil, state.sessions.count >= maximumSessions {
                state = State()
                return .unknown
            }
            return state.sessions[proof.session, default: ReplayWindow()].accept(proof.counter) ? .accepted : .replayed
        }
    }
}
