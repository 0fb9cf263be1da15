@testable import Agent
import Fabric
import HTTP
import Store
import TLS
import Testing

/// What an agent answers to whom, request by request.
@Suite("who is answered what", .timeLimit(.minutes(1)))
struct PeerServiceTests {
    private func refused(_ response: HTTPResponse, _ code: String, _ cause: String, _ remedy: String = "", _ place: SourceLocation = #_sourceLocation) {
        #expect(response.status == 403, "\(response.text)", sourceLocation: place)
        let failure = response.failure
        #expect(failure?.code.rawValue == code, "\(response.text)", sourceLocation: place)
        #expect(failure?.cause.contains(cause) == true, "\(response.text)", sourceLocation: place)
        #expect(failure?.remedy.contains(remedy) == true || remedy.isEmpty, "\(response.text)", sourceLocation: place)
    }

    private static let routes: [(String, String)] = [
        ("GET", "/v1/cluster"), ("POST", "/v1/cluster/store"), ("POST", "/v1/certificate"), ("GET", "/v1/store/identity"),
        ("POST", "/v1/store/list"), ("POST", "/v1/store/commit"), ("POST", "/v1/store/watch"), ("POST", "/v1/store/lease/grant"),
        ("POST", "/v1/store/lease/renew"), ("POST", "/v1/store/lease/revoke"),
    ]

    @Test("a stranger may ask to join, and nothing else", arguments: [true, false])
    func stranger(isSealed: Bool) async throws {
        let admission = try await Admission(isSealed: isSealed)
        let service = admission.service()
        let paths = Self.routes + [("GET", "/v1/join"), ("PUT", "/v1/join"), ("GET", "/"), ("POST", "/v1/join/"), ("POST", "/V1/JOIN")]
        for (method, path) in paths {
            refused(await service(admission.stranger(method, path, Array("{}".utf8))), "not-authentic", "no certificate of the cluster's was shown")
        }
        // Here too, nothing is told to one without a token.
        refused(await service(admission.stranger("POST", "/v1/join", Array("{}".utf8))), "invalid", "the request is not one to join")
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: 1)
        let answer = await service(try admission.stranger(try admission.order(token, number: 1)))
        #expect(answer.status == 200, "\(answer.text)")
        await admission.cluster.end()
    }

    @Test("what a joiner gets is good for its own key and name, and tells it where the store is")
    func joined() async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: 2)
        let key = try PrivateKey.generate()
        var order = try admission.order(token, number: 1, name: "web-1")
        // What else the request claims counts for nothing.
        order.request = try CertificateRequest(key: key, uri: "tulle://\(admission.cluster.cluster)/node/\(admission.id)").pem()
        let response = await admission.service()(try admission.stranger(order))
        let answer = try StoredJSON.decode(AdmissionAnswer.self, response.body)
        let credentials = try Credentials(key, answer.certificate, answer.authorities, node: order.node)
        #expect(credentials.certificate.identity?.node == order.node.description && credentials.certificate.commonName == "web-1")
        #expect(credentials.certificate.identity?.cluster == admission.cluster.cluster)
        #expect(credentials.authorities == [admission.authority.certificate])
        #expect(answer.invitation.cluster == admission.cluster.cluster && answer.invitation.storePort == 7940)
        #expect(throws: (any Error).self, "not for another's key") {
            _ = try Credentials(PrivateKey.generate(), answer.certificate, answer.authorities, node: order.node)
        }
        await admission.cluster.end()
    }

    @Test("a host whose clock is wrong is told both times, whatever number it sends", arguments: [
        -301, 302, -86_400, 86_400, .min, .max, .min + 1,
    ])
    func clock(skew: Int) async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: 1)
        for second in 0..<3 {
            // With this one the difference is the least number there is, at one second or another.
            let time = wallSeconds() &+ skew &+ (skew == .min ? second : 0)
            let response = await admission.service()(try admission.stranger(try admission.order(token, number: 1, time: time)))
            refused(response, "setup", "the clocks differ", "NTP")
            #expect(response.failure?.cause.contains("\(time)") == true)
        }
        #expect(await admission.controller.view.tokens[token.id]?.used == 0, "no use of the token is lost")
        for (number, skew) in [(1, -290), (2, 290)] {
            let (token, _) = try await admission.controller.createToken(ttl: 60, uses: 1)
            #expect(await admission.service()(try admission.stranger(try admission.order(token, number: number, time: wallSeconds() + skew))).status == 200)
        }
        await admission.cluster.end()
    }

    @Test("a taken name, a known UUID, a removed UUID and a name that is none are refused, each with its remedy, and cost the token nothing")
    func taken() async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: 1)
        let service = admission.service()
        func ask(_ order: AdmissionRequest) async throws -> HTTPResponse { await service(try admission.stranger(order)) }
        refused(
            try await ask(try admission.order(token, number: 1, name: "h1")), "conflict", "the name h1 is taken by node \(admission.id)",
            "another --node-name")
        refused(try await ask(try admission.order(token, number: 1, name: "")), "invalid", "the name is none", "--node-name")
        refused(try await ask(try admission.order(token, number: 1, name: String(repeating: "n", count: 1000))), "invalid", "the name is none")
        let known = try admission.order(token, number: 2)
        try await admission.register(known)
        refused(try await ask(known), "conflict", "this machine is a copy of it", "tulle reset")
        _ = try await admission.controller.removeNode(known.name)
        refused(try await ask(known), "conflict", "is known to the cluster already", "tulle reset")
        #expect(await admission.controller.view.tokens[token.id]?.used == 0)
        // The name of a removed node is free.
        #expect(try await ask(try admission.order(token, number: 3, name: known.name)).status == 200)
        await admission.cluster.end()
    }

    @Test("a request that cannot be signed costs the token nothing", arguments: [
        "", "junk", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ])
    func unsigned(text: String) async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: 1)
        var order = try admission.order(token, number: 1)
        order.request = text
        refused(await admission.service()(try admission.stranger(order)), "invalid", "")
        #expect(await admission.controller.view.tokens[token.id]?.used == 0)
        await admission.cluster.end()
    }

    @Test("a removed node is answered so, whatever it asks")
    func removed() async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: nil)
        let order = try admission.order(token, number: 1)
        try await admission.register(order)
        let service = admission.service()
        let before = await service(try admission.member(order.node, "GET", "/v1/store/identity"))
        #expect(before.status == 200, "\(before.text)")
        _ = try await admission.controller.removeNode(order.name)
        for (method, path) in Self.routes + [("POST", "/v1/join"), ("GET", "/nowhere")] {
            refused(await service(try admission.member(order.node, method, path, body: Array("{}".utf8))), "removed", "this node was removed from the cluster")
        }
        await admission.cluster.end()
    }

    @Test("a node that is removed while it waits for a change hears of its removal, and not of the change")
    func removedWhileWaiting() async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: nil)
        let order = try admission.order(token, number: 1)
        try await admission.register(order)
        let service = admission.service()
        let now = try await admission.cluster.store.list(prefix: "").revision
        let watch = try admission.member(
            order.node, "POST", "/v1/store/watch", query: ["wait": "20"], body: Array(#"{"prefix":"secret/","after":\#(now.number)}"#.utf8))
        // It is under way when the line after it runs.
        let waiting = Task.immediate { await service(watch) }
        _ = try await admission.controller.removeNode(order.name)
        _ = try await admission.cluster.store.commit(StoreTransaction(operations: [.put(key: "secret/1", value: Array("{}".utf8), lease: nil)]))
        refused(await waiting.value, "removed", "this node was removed from the cluster")
        await admission.cluster.end()
    }

    @Test("a node gets certificates for itself and for no other")
    func certificate() async throws {
        let admission = try await Admission()
        let service = admission.service()
        let me = admission.id, other = NodeID(random: 5)
        func order(_ node: NodeID, by peer: NodeID) async throws -> HTTPResponse {
            let order = CertificateOrder(node: node, name: "h", request: try CertificateRequest(key: PrivateKey.generate(), uri: "tulle:\(node)").pem())
            return await service(try admission.member(peer, "POST", CertificateOrder.path, body: try StoredJSON.encode(order)))
        }
        let answer = try StoredJSON.decode(CertificateAnswer.self, try await order(other, by: other).body)
        #expect(try Certificate(pem: answer.certificate).identity?.node == other.description)
        refused(try await order(me, by: other), "invalid", "it is for another node than the one that asks")
        await admission.cluster.end()
    }

    @Test("the shared secret opens an unsealed cluster, and nothing from the moment that it is sealed")
    func sealing() async throws {
        let admission = try await Admission(isSealed: false)
        let service = admission.service()
        let (signer, stranger) = (PeerSigner(token: admission.secret), PeerSigner(token: .new()))
        let request = HTTPRequest("GET", "/v1/store/identity")
        #expect(try await signer.send(request, over: service).status == 200)
        await #expect(throws: StoreError.self) { _ = try await stranger.send(request, over: service) }
        #expect(await service(request).status == 401)
        admission.keys.forgetToken()
        for request in [request, HTTPRequest("POST", "/v1/join"), HTTPRequest("POST", "/v1/certificate"), HTTPRequest("GET", "/v1/cluster")] {
            let answer = await service(request)
            #expect(answer.status == 403 && answer.text.contains("this cluster takes certificates only"), "\(answer.text)")
        }
        let error = await #expect(throws: StoreError.self) { _ = try await signer.send(request, over: service) }
        #expect(error?.code == .notAuthentic, "what is not proved is not believed")
        await admission.cluster.end()
    }

    @Test("with the shared secret no certificate is given to a node that was removed")
    func secretOrder() async throws {
        let admission = try await Admission(isSealed: false)
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: nil)
        let order = try admission.order(token, number: 1)
        try await admission.register(order, fingerprint: nil)
        let service = admission.service(), signer = PeerSigner(token: admission.secret)
        func ask() async throws -> HTTPResponse {
            let wanted = CertificateOrder(node: order.node, name: order.name, request: order.request)
            return try await signer.send(HTTPRequest("POST", CertificateOrder.path, body: try StoredJSON.encode(wanted)), over: service)
        }
        #expect(try await ask().status == 200)
        _ = try await admission.controller.removeNode(order.name)
        refused(try await ask(), "conflict", "this node was removed from the cluster", "join again")
        await admission.cluster.end()
    }

    @Test("a node without the authority passes a joiner on, and never what was passed on to it")
    func forwarded() async throws {
        // The record says that this node has the authority, and its key is lost: without care it would ask itself without end.
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: 1)
        let order = try admission.order(token, number: 1)
        let service = admission.service(hasAuthority: false)
        let passedOn = try admission.member(NodeID(random: 5), "POST", AdmissionRequest.path, body: try StoredJSON.encode(order))
        refused(await service(passedOn), "setup", "authority")
        refused(await service(try admission.stranger(order)), "setup", "has lost the key of the cluster's authority")
        await admission.cluster.end()
    }
}

@Suite("renewal") struct RenewalTests {
    @Test("a certificate is renewed when a third of its time is left, however short that is", arguments: [1, 3, 20, 60, 3600, 30 * 86_400] as [Int64])
    func time(lifetime: Int64) throws {
        let now = Int64(wallSeconds())
        let authority = try CertificateAuthority.make(cluster: "alpha", now: now)
        let certificate = try authority.issue(
            for: PrivateKey.generate().publicKey(), node: NodeID(random: 1).description, name: "h", lifetime: lifetime, now: now)
        #expect(certificate.renewal == now + lifetime - max(lifetime, 3) / 3)
        #expect(certificate.renewal >= now && certificate.renewal < certificate.notAfter)
    }
}
