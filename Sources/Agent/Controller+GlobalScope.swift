/// Networks of engines that have a cluster store of their own (`scope: global`).
///
/// Docker shows such a network on every engine at once, under one id, and asks only the agent of the host where a command is typed: CreateNetwork
/// and DeleteNetwork come once in the cluster, each on any host, and CreateEndpoint and RequestAddress come with ids that this agent was never
/// told. So the network's object remembers Docker's id and those of its pools. Docker keeps the names and counts the endpoints; no
/// engine gets or loses such a network by an agent.
import Fabric

extension Controller {
    /// The network that another host's agent was told of. The engine may know it a moment before our view does.
    func globalNetwork(_ dockerID: String) async -> NetworkObject? {
        guard terms.scopeIsGlobal else { return nil }
        _ = await wait(within: .seconds(3)) { $0.view.networks.values.contains { $0.dockerID == dockerID } }
        return view.network(dockerID: dockerID)
    }

    /// What the same request has made before its answer was lost. A key, on the other hand, is one network's alone.
    func globalNetwork(like wanted: NetworkObject, _ operation: String) throws -> NetworkObject? {
        guard let dockerID = wanted.dockerID else { return nil }
        if let known = view.network(dockerID: dockerID) { return known }
        guard let other = view.network(key: wanted.key) else { return nil }
        throw AgentError(
            .conflict, operation, cause: "network \(other.displayName) has \(DriverOption.network)=\(wanted.key)", remedy: "use another key")
    }

    /// A network that is removed where it was not made.
    func removeGlobalNetwork(_ dockerID: String) async throws {
        guard let network = await globalNetwork(dockerID) else { return }
        try local.setUnsaidRemoval(network.id, true)
        await sayRemovals()
    }

    /// Networks that Docker lost without telling, as when the agent was away where the user removed them: nothing brings them back, so they
    /// are removed here too, by the node that made them. An engine whose own store is away lists no network at all: only a list
    /// that has another one of ours says something about those that it lacks.
    func removeForgotten(present: Set<String>, now: Double) throws {
        let all = view.live.filter { $0.dockerID != nil }
        let absent = all.filter { !present.contains($0.dockerID ?? "") }
        guard absent.count < all.count else { return }
        let mine = absent.filter { $0.origin == me.id }.map(\.id)
        absentSince = Dictionary(uniqueKeysWithValues: mine.map { ($0, absentSince[$0] ?? now) })
        for (id, since) in absentSince where now - since > Self.unboundSeconds && !local.unsaidRemovals.contains(id) {
            try local.setUnsaidRemoval(id, true)
        }
    }
}
