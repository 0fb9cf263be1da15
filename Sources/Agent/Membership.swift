/// Which cluster this node belongs to, remembered for ever: made by the first start, alone or by joining.
package import HTTP
package import Store
import Fabric

package struct Membership: Codable, Sendable {
    package var v = storeFormat
    package var cluster: String
    /// The cluster's shared secret.
    package var token: String
    /// The agent that serves the store; nil: this one.
    package var storeHost: String?
    package var storePort: Int?
    /// The agent that was joined: like every node's, it can tell where the store is by now.
    package var peers: [String]

    private static let key = "membership"

    package static func load(_ table: LocalTable) throws -> Membership? {
        try table.value(key).map { try StoredJSON.decode(Membership.self, $0) }
    }
    package func save(_ table: LocalTable) throws {
        try table.put(Self.key, StoredJSON.encode(self))
        try table.sync()
    }

    package var storeAddress: HTTPAddress? {
        guard let storeHost, let storePort else { return nil }
        return .tcp(host: storeHost, port: storePort)
    }
}

extension Membership {
    /// The remembered membership, or a new one: by joining, or by making a cluster.
    static func obtain(
        _ configuration: Configuration, table: LocalTable, files: StateDirectory
    ) async throws -> (Membership, ClusterInvitation?) {
        if let known = try Membership.load(table) { return (known, nil) }
        if let join = configuration.join {
            guard let token = configuration.token else {
                throw AgentError(
                    .setup, "join the cluster at \(join)", cause: "no token was given",
                    remedy: "add --token with what 'tulle token show' prints on the first host")
            }
            let (membership, invitation) = try await Joining.ask(join, token: token)
            try membership.save(table)
            return (membership, invitation)
        }
        let store = try await EmbeddedStore.open(path: files.path("store.db"), create: true)
        let cluster = await store.identity().cluster
        let isUsed = try await store.list(prefix: "").revision > .zero
        await store.close()
        guard !isUsed else {
            throw AgentError(
                .setup, "start", cause: "\(files.path("store.db")) holds a cluster's record and agent.db beside it, with its token, is missing",
                remedy: "restore agent.db; or, to begin a new cluster, move store.db away")
        }
        let membership = Membership(
            cluster: cluster, token: ClusterToken.new().text, storeHost: nil, storePort: nil, peers: [])
        try membership.save(table)
        return (membership, nil)
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

    var storeAddress: HTTPAddress { .tcp(host: storeHost, port: storePort) }
}

package enum Joining {
    static func invitation(_ client: PeerClient, timeout: Duration) async throws -> ClusterInvitation {
        let operation = "ask \(client.address) for the cluster"
        let answer = try await client.send(HTTPRequest("GET", ClusterInvitation.path), timeout: timeout)
        guard answer.status == 200, let invitation = try? StoredJSON.decode(ClusterInvitation.self, answer.body),
            (1...65_535).contains(invitation.storePort)
        else {
            throw AgentError(
                .setup, operation, cause: "it answered with status \(answer.status)",
                remedy: "see that the versions of both agents are compatible")
        }
        return invitation
    }

    /// Asks a member of the cluster; what comes back is authenticated with the token.
    package static func ask(_ address: HTTPAddress, token text: String) async throws -> (Membership, ClusterInvitation) {
        let operation = "join the cluster at \(address)"
        let token: ClusterToken
        do { token = try ClusterToken(parsing: text) } catch {
            throw AgentError(.setup, operation, cause: error.cause, remedy: "copy the token from 'tulle token show' on the first host")
        }
        let invitation: ClusterInvitation
        do {
            invitation = try await Self.invitation(PeerClient(address, token: token), timeout: .seconds(5))
        } catch let error as StoreError {
            let remedy = switch error.code {
            case .wrongToken, .notAuthentic: "copy the token from 'tulle token show' on that host"
            default: "see that an agent runs there and that TCP port \(address.port ?? 7940) is open between the hosts"
            }
            throw AgentError(.setup, operation, cause: error.cause, remedy: remedy)
        }
        let membership = Membership(
            cluster: invitation.cluster, token: token.text, storeHost: invitation.storeHost,
            storePort: invitation.storePort, peers: [address.description])
        return (membership, invitation)
    }
}

extension HTTPAddress {
    package var port: Int? {
        guard case .tcp(_, let port) = self else { return nil }
        return port
    }
}
