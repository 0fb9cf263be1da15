/// A cluster whose first node has the authority, and what other agents ask it: requests as its `PeerService` gets them, without sockets.
@testable import Agent
import Fabric
import HTTP
import Logging
import Store
import TLS
import Testing

struct Admission {
    let cluster: TestCluster
    let nodes: [TestCluster.Member]
    let authority: CertificateAuthority
    let secret = ClusterToken.new()
    let keys: PeerKeys
    let succession: Succession

    /// - Parameter isSealed: whether the shared secret of version 0.1 opens nothing.
    init(nodes count: Int = 1, isSealed: Bool = true) async throws {
        try await self.init(in: TestCluster(), nodes: count, isSealed: isSealed)
    }
    init(in cluster: TestCluster, nodes count: Int, isSealed: Bool = true) async throws {
        self.cluster = cluster
        var nodes: [TestCluster.Member] = []
        for number in 1...count {
            nodes.append(try await cluster.start(number))
            try await nodes[number - 1].ready()
        }
        self.nodes = nodes
        authority = try CertificateAuthority.make(cluster: cluster.cluster, now: Int64(wallSeconds()))
        keys = PeerKeys(token: isSealed ? nil : secret)
        succession = Succession(
            cluster: cluster.cluster, controller: nodes[0].controller, keys: keys, table: try LocalTable(path: nodes[0].directory + "/membership.db"),
            configuration: Configuration(nodeName: "h1"), log: Logger(label: "h1") { _ in SwiftLogNoOpLogHandler() }, restart: {})
        let signer = Signer(authority: authority, lifetime: 3600)
        try await controller.publish(try signer.object(controller.identity.node))
        for node in nodes { try await eventually { await node.controller.view.authority != nil } }
    }

    var controller: Controller { nodes[0].controller }
    /// The node with the authority.
    var id: NodeID { controller.identity.node }
    func service(hasAuthority: Bool = true) -> HTTPHandler {
        PeerService(
            cluster: cluster.cluster, controller: controller, access: .served(cluster.engine), keys: keys, storeURL: nil,
            signer: hasAuthority ? Signer(authority: authority, lifetime: 3600) : nil, succession: succession
        ).handler
    }

    /// Takes a use of a token, for a host that never came before.
    func spend(_ proof: String) async throws {
        let (node, key) = (NodeID(random: .random(in: .min ... .max)), String(UInt64.random(in: .min ... .max), radix: 16))
        try await controller.spendToken(proof: proof, for: node, key: key, "join")
    }

    // MARK: Requests

    /// Of a host with a key of its own.
    func order(_ token: JoinToken, number: Int, name: String? = nil, time: Int = wallSeconds()) throws -> AdmissionRequest {
        let node = NodeID(random: UInt128(number) << 64 | 7)
        return AdmissionRequest(
            proof: token.proof, node: node, name: name ?? "new\(number)",
            request: try CertificateRequest(key: PrivateKey.generate(), uri: "tulle:\(node)").pem(), time: time)
    }

    /// Through TLS without a certificate.
    func stranger(_ method: String, _ path: String, _ body: [UInt8] = []) -> HTTPRequest {
        var request = HTTPRequest(method, path, body: body)
        request.isSecure = true
        return request
    }
    func stranger(_ order: AdmissionRequest) throws -> HTTPRequest { stranger("POST", AdmissionRequest.path, try StoredJSON.encode(order)) }

    /// Through TLS with the certificate of a node.
    func member(_ node: NodeID, _ method: String, _ path: String, query: [String: String] = [:], body: [UInt8] = []) throws -> HTTPRequest {
        let key = try PrivateKey.generate()
        let certificate = try authority.issue(
            for: try key.publicKey(), node: node.description, name: "host", lifetime: 3600, now: Int64(wallSeconds()))
        var request = HTTPRequest(method, path, query: query, body: body)
        request.isSecure = true
        request.peer = try #require(certificate.identity)
        return request
    }

    /// A node's object, as its agent would write it.
    func register(_ order: AdmissionRequest, fingerprint: String? = "00") async throws {
        let number = UInt32.random(in: 100...200)
        var node = NodeObject(
            id: order.node, name: order.name, underlay: await controller.me.underlay, mtu: 1500, agent: "192.168.99.\(number):7940", version: "test",
            instance: "1")
        node.fingerprint = fingerprint
        _ = try await cluster.store.commit(
            StoreTransaction(operations: [.put(key: StoreKey.node(node.id), value: try StoredJSON.encode(node), lease: nil)]))
        try await eventually { await controller.view.nodes[order.node] != nil }
    }
}

extension HTTPResponse {
    var text: String { String(decoding: body, as: UTF8.self) }
}
