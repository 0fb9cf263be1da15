/// Which cluster this node belongs to, remembered for ever: made by the first start, alone or by joining.
package import HTTP
package import Store
import Fabric

package struct Membership: Codable, Sendable {
    package var v = storeFormat
    package var cluster: String
    /// The secret that agents of version 0.1 share; nil: certificates only.
    package var token: String?
    /// The secret opens nothing any more.
    package var isSealed: Bool?
    /// Where the store is, if it is no agent's: etcd's address, with its user and password.
    package var storeURL: String?
    /// The store there has yet to be made this cluster's.
    package var isFounding: Bool?
    /// The agent that serves the store; nil: this one.
    package var storeHost: String?
    package var storePort: Int?
    /// The agent that was joined: like every node's, it can tell where the store is by now.
    package var peers: [String]
    /// The node whose agent that is, where the store was taken over by it.
    package var storeNode: String?
    /// The store was moved by a command: it counts, whatever `--store` said at that time.
    package var isMoved: Bool?
    /// The address that `--store` gave then.
    package var givenURL: String?

    private static let key = "membership"

    package static func load(_ table: LocalTable) throws -> Membership? {
        try table.value(key).map { try StoredJSON.row(Membership.self, key, $0) }
    }
    package func save(_ table: LocalTable) throws {
        try table.put(Self.key, StoredJSON.encode(self))
        try table.sync()
    }

    init(_ invitation: ClusterInvitation, joined address: HTTPAddress) {
        cluster = invitation.cluster
        storeURL = invitation.storeURL
        if invitation.storeURL == nil { (storeHost, storePort) = (invitation.storeHost, invitation.storePort) }
        peers = [address.description]
    }

    init(cluster: String) {
        self.cluster = cluster
        isSealed = true
        peers = []
    }

    static func forget(_ table: LocalTable) throws {
        try table.delete(key)
        try table.sync()
    }

    var secret: ClusterToken? {
        get throws { try isSealed == true ? nil : token.map { try ClusterToken(parsing: $0) } }
    }

    func names(_ place: StorePlace) -> Bool {
        storeURL == place.url && (place.url != nil || (storeHost == place.host && storePort == place.port && storeNode == place.node))
    }

    /// This node's agent has the embedded store.
    mutating func follow(_ place: StorePlace) {
        storeURL = place.url
        (storeHost, storePort) = place.url == nil ? (place.host, place.port) : (nil, nil)
        storeNode = place.url == nil ? place.node : nil
    }
    /// The store is elsewhere than the configuration said, and says still.
    mutating func moved(from configuration: Configuration) {
        isMoved = true
        if case .etcd(let url) = configuration.store { givenURL = url } else { givenURL = nil }
    }
    var servesStore: Bool { storeURL == nil && storeHost == nil }

    package var storeAddress: HTTPAddress? {
        guard let storeHost, let storePort else { return nil }
        return .tcp(host: storeHost, port: storePort)
    }
}

extension NodeID {
    /// The node's identity, made at its first start.
    static func kept(in table: LocalTable) throws -> NodeID {
        if let value = try table.value("node"), let id = NodeID(String(decoding: value, as: UTF8.self)) { return id }
        let id = NodeID(random: .random(in: .min ... .max))
        try table.put("node", Array(id.description.utf8))
        return id
    }
}

/// `GET /v1/cluster` between agents: how to take part.
package struct ClusterInvitation: Codable, Sendable {
    package static let path = "/v1/cluster"
    package var cluster: String
    package var storeHost: String
    package var storePort: Int
    package var vxlanPort: UInt16
    package var vniBase: UInt32
    /// Only if the store is no agent's.
    package var storeURL: String?
    /// Of the store, as this agent knows it; nil: version 0.2 or older, which knows none.
    package var epoch: UInt64?
    /// The node whose agent serves the store.
    package var storeNode: String?
    /// The `featureLevel` that agents must have; nil: 1.
    package var needs: Int?

    /// Refuses to take part in a cluster that needs more than this version can do.
    func checkLevel(_ operation: String) throws {
        guard let needs, needs > featureLevel else { return }
        throw AgentError(
            .setup, operation, cause: "the cluster needs agents of level \(needs), and this one has \(featureLevel)", remedy: ClusterObject.newer)
    }

    var storeAddress: HTTPAddress { .tcp(host: storeHost, port: storePort) }
}

package enum Joining {
    static func invitation(_ client: PeerClient, timeout: Duration) async throws -> ClusterInvitation {
        let operation = "ask \(client.address) for the cluster"
        let answer = try await client.send(HTTPRequest("GET", ClusterInvitation.path), timeout: timeout)
        if let failure = answer.failure { throw failure }
        guard answer.status == 200, let invitation = try? StoredJSON.decode(ClusterInvitation.self, answer.body),
            (1...65_535).contains(invitation.storePort)
        else {
            throw AgentError(
                .setup, operation, cause: "it answered with status \(answer.status)",
                remedy: "see that the versions of both agents are compatible")
        }
        return invitation
    }

    /// Asks a member of a cluster of version 0.1; what comes back is authenticated with its shared secret.
    package static func ask(_ address: HTTPAddress, token text: String) async throws -> (Membership, ClusterInvitation) {
        let operation = "join the cluster at \(address)"
        let token: ClusterToken
        do { token = try ClusterToken(parsing: text) } catch {
            throw AgentError(.setup, operation, cause: error.cause, remedy: "copy the token again, whole, as 'tulle token create' printed it")
        }
        let invitation: ClusterInvitation
        do {
            invitation = try await Self.invitation(PeerClient(address, token: token), timeout: .seconds(5))
        } catch let error as StoreError {
            let remedy = switch error.code {
            case .wrongToken: "copy the token from 'tulle token show' on that host"
            case .notAuthentic: "make a token there with 'tulle token create'; the shared secret of version 0.1 opens a newer cluster no more"
            default: "see that an agent runs there and that TCP port \(address.port ?? 7940) is open between the hosts"
            }
            throw AgentError(.setup, operation, cause: error.cause, remedy: remedy)
        }
        try invitation.checkLevel(operation)
        var membership = Membership(invitation, joined: address)
        membership.token = token.text
        return (membership, invitation)
    }
}

extension HTTPAddress {
    package var port: Int? {
        guard case .tcp(_, let port) = self else { return nil }
        return port
    }
}
