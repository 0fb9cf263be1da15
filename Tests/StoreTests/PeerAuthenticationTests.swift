import HTTP
@testable import Store
import Synchronization
import Testing
import TLS

@Suite(.timeLimit(.minutes(1)))
struct PeerAuthenticationTests {
    @Test("a request with the right token passes with its body, and the answer comes back")
    func passes() async throws {
        let peers = Peers()
        let request = HTTPRequest("POST", "/v1/x", query: ["a": "1", "b": ""], body: Array("hello".utf8))
        let response = try await peers.client.send(request, over: peers.transport)
        #expect(response.body == Array("POST /v1/x hello".utf8))
        // The first exchange brings the challenge; later ones need no other.
        #expect(peers.exchanges == 2)
        _ = try await peers.client.send(request, over: peers.transport)
        #expect(peers.exchanges == 3)
        #expect(peers.handled == 2)
    }

    @Test("without a valid proof there is 401 with a challenge, nothing else, and no handler runs", arguments: [
        nil, "", "1", "1 00 1 00", "2 \(zeros(16)) 1 \(zeros(32))", "1 \(zeros(16)) 1 \(zeros(32))",
        "1 \(zeros(16)) 99999999999999999999999 \(zeros(32))", "1 \(zeros(16)) -1 \(zeros(32))",
    ])
    func unproved(_ field: String?) async throws {
        let peers = Peers()
        var request = HTTPRequest("GET", "/v1/store/identity")
        request.fields["Tulle-Proof"] = field
        let response = try await peers.transport(request)
        #expect(response.status == 401 && response.body.isEmpty)
        #expect(response.fields.all.map(\.name) == ["Tulle-Challenge"])
        #expect(peers.handled == 0)
    }

    @Test("another cluster's token is refused and the error says so")
    func wrongToken() async throws {
        let peers = Peers()
        let stranger = PeerSigner(token: .new())
        await expectError(.wrongToken) { _ = try await stranger.send(HTTPRequest("GET", "/"), over: peers.transport) }
        #expect(peers.handled == 0)
    }

    @Test("a recorded request that is sent again does nothing")
    func replay() async throws {
        let peers = Peers()
        _ = try await peers.client.send(HTTPRequest("POST", "/v1/x"), over: peers.transport)
        let recorded = try #require(peers.lastRequest)
        let answer = try await peers.transport(recorded)
        #expect(answer.status == 425)
        #expect(peers.handled == 1)
    }

    @Test("a client whose request was repeated on the way learns that it was seen before")
    func repeated() async throws {
        let peers = Peers()
        await expectError(.replayed) {
            _ = try await peers.client.send(HTTPRequest("POST", "/v1/x")) { request in
                _ = try await peers.transport(request)
                return try await peers.transport(request)
            }
        }
    }

    @Test("changing any part of a proved request makes the proof worthless")
    func altered() async throws {
        let peers = Peers()
        let request = HTTPRequest("POST", "/v1/x", query: ["a": "1"], body: [1, 2, 3])
        let changes: [(inout HTTPRequest) -> Void] = [
            { $0.method = "PUT" }, { $0.path = "/v1/y" }, { $0.query["a"] = "2" }, { $0.query["b"] = "" }, { $0.query = [:] },
            { $0.body.append(4) }, { $0.body = [] },
            // The same bytes, cut differently.
            { $0.path = "/v1/xa"; $0.query = ["": "1"] },
            { $0.fields["Tulle-Proof"] = $0.fields["Tulle-Proof"]?.replacing(" 2 ", with: " 9 ") },
        ]
        for change in changes {
            let peers = Peers(token: peers.token)
            var proved = 0
            _ = try? await peers.client.send(request) { request in
                var request = request
                if request.fields["Tulle-Proof"] != nil {
                    proved += 1
                    change(&request)
                }
                return try await peers.transport(request)
            }
            #expect(proved == 1)
            #expect(peers.handled == 0)
        }
    }

    @Test("requests that overtake each other all pass, each once")
    func reordered() async throws {
        let peers = Peers()
        _ = try await peers.client.send(HTTPRequest("GET", "/first"), over: peers.transport)
        var held: [HTTPRequest] = []
        for number in 0..<200 {
            _ = try? await peers.client.send(HTTPRequest("GET", "/\(number)")) { request in
                held.append(request)
                throw CancellationError()
            }
        }
        for request in held.reversed() { #expect(try await peers.transport(request).status == 200) }
        for request in held.shuffled() { #expect(try await peers.transport(request).status == 425) }
        #expect(peers.handled == 201)
    }

    @Test("an answer that was altered, or made without the token, is not believed")
    func forgedAnswers() async throws {
        let forgeries: [(inout HTTPResponse) -> Void] = [
            { $0.body.append(0) }, { $0.status = 201 }, { $0.fields["Tulle-Proof"] = nil },
            { $0.fields["Tulle-Proof"] = "1 " + zeros(32) },
            { $0 = HTTPResponse(status: 401) }, { $0 = HTTPResponse(status: 401, fields: ["Tulle-Challenge": "xyz"]) },
            { $0 = .text("ok") },
        ]
        for forge in forgeries {
            let peers = Peers()
            _ = try await peers.client.send(HTTPRequest("GET", "/"), over: peers.transport)
            await expectError(.notAuthentic) {
                _ = try await peers.client.send(HTTPRequest("GET", "/")) { request in
                    var response = try await peers.transport(request)
                    forge(&response)
                    return response
                }
            }
        }
    }

    @Test("the answer to one request is not accepted as the answer to another")
    func swappedAnswers() async throws {
        let peers = Peers()
        let first = Mutex<HTTPResponse?>(nil)
        _ = try await peers.client.send(HTTPRequest("GET", "/")) { request in
            let response = try await peers.transport(request)
            first.withLock { $0 = response }
            return response
        }
        await expectError(.notAuthentic) {
            _ = try await peers.client.send(HTTPRequest("GET", "/")) { _ in try #require(first.withLock { $0 }) }
        }
    }

    @Test("a restarted server accepts nothing recorded before, and its clients go on by themselves")
    func restart() async throws {
        let before = Peers()
        _ = try await before.client.send(HTTPRequest("POST", "/"), over: before.transport)
        let recorded = try #require(before.lastRequest)
        let after = Peers(token: before.token)
        #expect(try await after.transport(recorded).status == 401)
        _ = try await before.client.send(HTTPRequest("POST", "/"), over: after.transport)
        #expect(after.handled == 1)
    }

    @Test("sessions are bounded, and a session that was dropped cannot be replayed")
    func bounded() async throws {
        let peers = Peers(maximumSessions: 4)
        _ = try await peers.client.send(HTTPRequest("POST", "/"), over: peers.transport)
        let recorded = try #require(peers.lastRequest)
        for _ in 0..<20 {
            _ = try await PeerSigner(token: peers.token).send(HTTPRequest("GET", "/"), over: peers.transport)
            let status = try await peers.transport(recorded).status
            #expect(status == 425 || status == 401)
        }
        let handled = peers.handled
        _ = try await peers.client.send(HTTPRequest("GET", "/"), over: peers.transport)
        #expect(handled == 21 && peers.handled == 22)
    }

    @Test("a server that changes its challenge each time does not keep a client busy")
    func endlessChallenges() async throws {
        let peers = Peers()
        var exchanges = 0
        await expectError(.notAuthentic) {
            _ = try await peers.client.send(HTTPRequest("GET", "/")) { _ in
                exchanges += 1
                return HTTPResponse(status: 401, fields: ["Tulle-Challenge": Digest.hexadecimal(Cryptography.random(32))])
            }
        }
        #expect(exchanges == 3)
    }

    @Test("the window accepts each counter once and none that is too old, like a set that forgets nothing", arguments: 1...4)
    func window(_ seed: Int) {
        var random = SeededRandom(UInt64(seed))
        var window = ReplayWindow()
        var seen: Set<UInt64> = []
        var highest: UInt64 = 0
        for _ in 0..<20_000 {
            let spread = ([3, 70, 1_200, 5_000] as [UInt64]).randomElement(using: &random) ?? 3
            let ahead = highest + UInt64.random(in: 0...spread, using: &random)
            let counter = ahead - min(ahead, UInt64.random(in: 0...1_200, using: &random))
            let expected = counter > 0 && !seen.contains(counter) && counter + ReplayWindow.width > highest
            let accepted = window.accept(counter)
            #expect(accepted == expected, "\(counter) with \(highest)")
            if expected { seen.insert(counter) }
            if expected { highest = max(highest, counter) }
        }
        let last = [.max, .max, .max - 1_023, .max - 1_024].map { window.accept($0) }
        #expect(last == [true, false, true, false])
    }
}

private func zeros(_ bytes: Int) -> String { String(repeating: "00", count: bytes) }

/// A client and a server without a network between them.
private final class Peers: Sendable {
    let token: ClusterToken
    let client: PeerSigner
    private let server: HTTPHandler
    private let log: Mutex<(requests: [HTTPRequest], handled: Int)>
    private let count: Counter

    init(token: ClusterToken = .new(), maximumSessions: Int = 4096) {
        self.token = token
        client = PeerSigner(token: token)
        log = Mutex(([], 0))
        let count = Counter()
        self.count = count
        server = PeerAuthenticator(token: token, maximumSessions: maximumSessions).protecting { request in
            count.value.withLock { $0 += 1 }
            return .text("\(request.method) \(request.path) \(String(decoding: request.body, as: UTF8.self))")
        }
    }

    func transport(_ request: HTTPRequest) async throws -> HTTPResponse {
        log.withLock { $0.requests.append(request) }
        return await server(request)
    }

    var exchanges: Int { log.withLock { $0.requests.count } }
    var lastRequest: HTTPRequest? { log.withLock { $0.requests.last } }
    /// How often the handler behind the authentication ran.
    var handled: Int { count.value.withLock { $0 } }
}

private final class Counter: Sendable {
    let value = Mutex(0)
}
