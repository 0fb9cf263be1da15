/// What a host that joins and the cluster say to each other, and how a node's certificate is asked for; over TLS, JSON.
///
///     POST /v1/join           a host without a certificate, to any agent: AdmissionRequest → AdmissionAnswer
///     POST /v1/certificate    a node, to the one that has the authority: CertificateOrder → CertificateAnswer
///
/// A refusal has status 403 and the body of a `StoreError`.
import Fabric
import HTTP
import Store
import TLS

struct AdmissionRequest: Codable, Sendable {
    static let path = "/v1/join"
    /// The token's secret, in hexadecimal digits.
    var proof: String
    var node: NodeID
    var name: String
    /// PKCS#10, PEM.
    var request: String
    /// The joiner's clock: seconds since 1970.
    var time: Int
    /// The joiner's `featureLevel`; nil: 1.
    var level: Int?
}

struct AdmissionAnswer: Codable, Sendable {
    var invitation: ClusterInvitation
    /// PEM, as the others.
    var certificate: String
    /// The one that signed is the first.
    var authorities: [String]
}

struct CertificateOrder: Codable, Sendable {
    static let path = "/v1/certificate"
    var node: NodeID
    var name: String
    var request: String
}

struct CertificateAnswer: Codable, Sendable {
    var certificate: String
    var authorities: [String]
}

extension Credentials {
    /// From what the authority's node answered to a request made with the key.
    init(_ key: PrivateKey, _ certificate: String, _ authorities: [String], node: NodeID) throws {
        let own = try Certificate(pem: certificate)
        let trust = try authorities.map { try Certificate(pem: $0) }
        guard own.identity?.node == node.description, own.publicKey == (try key.publicKey()), let issuer = trust.first, own.isIssued(by: issuer)
        else {
            throw AgentError(
                .setup, "take the node's certificate", cause: "the cluster answered with one that is not for this node",
                remedy: "see that the versions of both agents are compatible")
        }
        self.init(key: key, certificate: own, authorities: trust)
    }
}

extension Joining {
    /// The most by which the clocks of two hosts may differ, in seconds.
    static let clockSkew = 300

    /// Joins with a token of `tulle token create`: believes only the authority that the token names.
    ///
    /// - Parameter key: of a node that the cluster knows and whose certificate has ended, with which it is let in again as itself; of one that asked
    ///   before and heard nothing, with which it takes no second use of the token; or a new one.
    static func join(
        _ address: HTTPAddress, token: JoinToken, node: NodeID, name: String, key: PrivateKey
    ) async throws -> (Membership, ClusterInvitation, Credentials) {
        let operation = "join the cluster at \(address)"
        let order = AdmissionRequest(
            proof: token.proof, node: node, name: name, request: try CertificateRequest(key: key, uri: "tulle:\(node)").pem(), time: wallSeconds(),
            level: featureLevel)
        let context = try TLSContext(own: nil, trust: .pinned(fingerprint: token.fingerprint), now: { Int64(wallSeconds()) })
        let client = HTTPClient(address, tls: TLSContextSlot(context))
        let response: HTTPResponse
        do {
            response = try await client.send(
                HTTPRequest("POST", AdmissionRequest.path, body: try StoredJSON.encode(order)), timeout: .seconds(10), isRepeatable: false)
        } catch let error as HTTPError {
            throw AgentError(
                .setup, operation, cause: error.cause,
                remedy: error.tls?.remedy ?? "see that an agent runs there and that TCP port \(address.port ?? 7940) is open between the hosts")
        }
        guard response.status == 200, let answer = try? StoredJSON.decode(AdmissionAnswer.self, response.body),
            (1...65_535).contains(answer.invitation.storePort)
        else {
            guard let refusal = response.failure else {
                throw AgentError(
                    .setup, operation, cause: "it answered with status \(response.status)",
                    remedy: "see that an agent runs there, of a version that fits this one")
            }
            throw AgentError(.setup, operation, cause: refusal.cause, remedy: refusal.remedy)
        }
        try answer.invitation.checkLevel(operation)
        let credentials = try Credentials(key, answer.certificate, answer.authorities, node: node)
        var membership = Membership(answer.invitation, joined: address)
        membership.isSealed = true
        return (membership, answer.invitation, credentials)
    }
}
