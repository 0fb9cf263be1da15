/// How far the nodes' copies of the store have got, asked of their agents before one of them becomes the store.
import Fabric
import HTTP
import Store

/// `GET /v1/replica` between agents: how new a node's copy of the store is. `GET /v1/replica/copy` is the copy, a `StoreSnapshot`.
struct ReplicaState: Codable, Hashable, Sendable {
    static let path = "/v1/replica"
    static let copyPath = "/v1/replica/copy"
    var cluster: String
    var epoch: UInt64
    var revision: Revision
}

struct ReplicaSurvey: Sendable {
    let cluster: String
    let keys: PeerKeys

    /// By name; nil where none answers within two seconds, or with what is no copy of this cluster's store.
    func states(of nodes: [NodeObject]) async -> [(node: NodeObject, state: ReplicaState?)] {
        await withTaskGroup(of: (NodeObject, ReplicaState?).self) { group in
            for node in nodes {
                group.addTask {
                    let answer = try? await ask(node, ReplicaState.path, within: .seconds(2))
                    let state = answer.flatMap { try? StoredJSON.decode(ReplicaState.self, $0) }
                    return (node, state.flatMap { $0.cluster == cluster && max($0.epoch, $0.revision.number) <= NewStore.mostEpoch ? $0 : nil })
                }
            }
            return await group.reduce(into: []) { $0.append((node: $1.0, state: $1.1)) }.sorted { $0.node.name < $1.node.name }
        }
    }

    /// The store that took the place of one of that epoch, as those nodes know it.
    func newerStore(than epoch: UInt64, known nodes: [NodeObject], me: NodeID) async -> StorePlace? {
        let places = await withTaskGroup(of: StorePlace?.self) { group in
            for node in nodes {
                guard let address = ConfigurationValue.join(node.agent) else { continue }
                group.addTask {
                    let client = PeerClient(address, keys: keys, expecting: { node.id.description })
                    let invitation = try? await Joining.invitation(client, timeout: .seconds(2))
                    return invitation.flatMap { $0.cluster == cluster ? StorePlace($0) : nil }
                }
            }
            return await group.reduce(into: [StorePlace]()) { if let place = $1 { $0.append(place) } }
        }
        return places.filter { place in
            (place.epoch.map { $0 > epoch && $0 <= NewStore.mostEpoch } ?? false) && (place.url != nil || place.isElsewhere(than: me))
        }.max { ($0.epoch ?? 0) < ($1.epoch ?? 0) }
    }

    func copy(of node: NodeObject) async throws -> StoreSnapshot {
        try StoredJSON.decode(StoreSnapshot.self, try await ask(node, ReplicaState.copyPath, within: .seconds(20)))
    }

    private func ask(_ node: NodeObject, _ path: String, within limit: Duration) async throws -> [UInt8] {
        guard let address = ConfigurationValue.join(node.agent) else { throw StoreError(.unreachable, "ask \(node.name)", cause: "its address is none") }
        let answer = try await PeerClient(address, keys: keys, expecting: { node.id.description }).send(HTTPRequest("GET", path), timeout: limit)
        guard answer.status == 200 else { throw answer.failure ?? StoreError(.badAnswer, "ask \(node.name)", cause: "status \(answer.status)") }
        return answer.body
    }
}
