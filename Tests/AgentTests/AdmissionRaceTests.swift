@testable import Agent
import Fabric
import Glibc
import HTTP
import Store
import TLS
import TestKit
import Testing

/// Hosts that come at the same instant, or come again because they never heard the answer.
@Suite("joining at once, and again", .timeLimit(.minutes(1)))
struct AdmissionRaceTests {
    private func ask(_ admission: Admission, _ order: AdmissionRequest) async throws -> HTTPResponse {
        await admission.service()(try admission.stranger(order))
    }
    private func used(_ admission: Admission, _ token: JoinToken) async throws -> Int {
        let key = StoreKey.token(token.id)
        let entry = try #require(try await admission.cluster.store.list(prefix: key).entries.first)
        return try StoredJSON.decode(TokenObject.self, entry.value).used
    }

    @Test("of hosts that come with one name at the same instant one gets it; the others are told by whom, and take no use of the token", arguments: [2, 8])
    func name(hosts: Int) async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: nil)
        let orders = try (1...hosts).map { try admission.order(token, number: $0, name: "web") }
        let answers = try await withThrowingTaskGroup(of: HTTPResponse.self) { group in
            for order in orders { group.addTask { try await self.ask(admission, order) } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers.filter { $0.status == 200 }.count == 1)
        for answer in answers where answer.status != 200 {
            #expect(answer.failure?.code.rawValue == "conflict" && answer.failure?.cause.contains("the name web is taken by node") == true, "\(answer.text)")
            #expect(answer.failure?.remedy.contains("--node-name") == true)
        }
        #expect(try await used(admission, token) == 1)
        await admission.cluster.end()
    }

    @Test("a name whose host is refused at the last step is free again at once")
    func freed() async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: 1)
        #expect(try await ask(admission, try admission.order(token, number: 1, name: "first")).status == 200)
        #expect(try await ask(admission, try admission.order(token, number: 2, name: "web")).status == 403)
        let (other, _) = try await admission.controller.createToken(ttl: 60, uses: 1)
        #expect(try await ask(admission, try admission.order(other, number: 3, name: "web")).status == 200)
        await admission.cluster.end()
    }

    @Test("a host whose answer was lost asks again with its key: it gets its certificate and takes no second use, also of a token that is used up")
    func lostAnswer() async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: 1)
        let key = try PrivateKey.generate()
        func order(_ key: PrivateKey, node: Int = 1) throws -> AdmissionRequest {
            var order = try admission.order(token, number: node, name: "web")
            order.request = try CertificateRequest(key: key, uri: "tulle:\(order.node)").pem()
            return order
        }
        for _ in 0..<3 {
            let answer = try await ask(admission, try order(key))
            #expect(answer.status == 200, "\(answer.text)")
            let admitted = try StoredJSON.decode(AdmissionAnswer.self, answer.body)
            #expect(try Certificate(pem: admitted.certificate).publicKey == key.publicKey())
        }
        #expect(try await used(admission, token) == 1)
        // Neither another key of that host's, nor its key under another identity, nor anybody else.
        for other in [try order(PrivateKey.generate()), try order(key, node: 2), try order(PrivateKey.generate(), node: 3)] {
            let answer = try await ask(admission, other)
            #expect(answer.failure?.cause.contains("used up") == true, "\(answer.text)")
        }
        // It is passed on by agents without the authority too.
        let again = try order(key)
        try await admission.controller.checkToken(
            proof: again.proof, for: again.node, key: try CertificateRequest(pem: again.request).publicKey.fingerprintText, "join")
        // What was revoked opens nothing to it any more.
        try await admission.controller.revokeToken(token.id)
        #expect(try await ask(admission, try order(key)).status == 403)
        await admission.cluster.end()
    }

    @Test("a token of many uses remembers the last hosts that it let in, and not all")
    func bounded() throws {
        var token = TokenObject(id: "a", hash: "b", created: 100, expires: 200, uses: nil)
        let marks = (0..<200).map { TokenObject.mark(NodeID(random: UInt128($0)), "key\($0)") }
        for mark in marks { token = token.admitting(mark) }
        #expect(token.used == 200 && token.admitted?.count == 64)
        #expect(token.hasAdmitted(marks[199]) && !token.hasAdmitted(marks[100]))
    }

    @Test("the key with which a host asks is kept until it is let in, and is no other at its next start")
    func keptKey() async throws {
        let path = "/tmp/tulle-joining-\(UInt64.random(in: .min ... .max)).db"
        defer { for end in ["", "-wal", "-shm"] { unlink(path + end) } }
        let first = try Beginning.keyToJoin(try LocalTable(path: path)).publicKey()
        #expect(try Beginning.keyToJoin(try LocalTable(path: path)).publicKey() == first)
    }

    @Test("a host of too old a version is not let in, and one does not enter a cluster that needs more than it can do")
    func level() async throws {
        let admission = try await Admission()
        let (token, _) = try await admission.controller.createToken(ttl: 60, uses: 1)
        var order = try admission.order(token, number: 1)
        order.level = 0
        let answer = try await ask(admission, order)
        #expect(answer.failure?.cause.contains("needs agents of level 1, and this one has 0") == true, "\(answer.text)")
        #expect(try await used(admission, token) == 0)
        var invitation = ClusterInvitation(cluster: "c", storeHost: "h", storePort: 1, vxlanPort: 1, vniBase: 1)
        try invitation.checkLevel("join")
        invitation.needs = 2
        let error = #expect(throws: AgentError.self) { try invitation.checkLevel("join") }
        #expect(error?.remedy.contains("install the newer version") == true)
        await admission.cluster.end()
    }
}
