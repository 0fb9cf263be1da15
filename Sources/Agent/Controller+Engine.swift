/// What the engine's copy of the cluster's networks lacks and has too much.
package import Fabric
import Logging
import Store

/// What, when it changes, gives `EngineSync` something to do.
package struct EngineInterest: Hashable, Sendable {
    var networks: [NetworkID: NetworkObject]
    var engine: [String: Controller.EngineStanding]
    var endpoints: Set<EndpointID>
}

extension Controller {
    /// How long an engine may take from hiding a network to saying that it is removed.
    private static let removalSeconds = 5.0

    struct EngineStanding: Hashable, Sendable {
        var network: NetworkID
        var standing: BoundNetwork.Standing
    }

    package func engineInterest() -> EngineInterest {
        EngineInterest(
            networks: view.networks,
            engine: local.engineNetworks.mapValues { EngineStanding(network: $0.network, standing: $0.standing) },
            endpoints: Set(local.endpoints.keys))
    }

    package func waitForEngineInterest(otherThan seen: EngineInterest, within limit: Duration) async -> Bool {
        await wait(within: limit) { $0.engineInterest() != seen }
    }

    /// - Parameter present: Docker's ids of the networks of our driver that the engine has.
    package func engineWork(present: Set<String>, now given: Double? = nil) -> (create: [NetworkObject], remove: [String]) {
        let now = given ?? bootSeconds()
        guard distrust == nil, view.cluster != nil, !isRefused else { return ([], []) }
        forgetVanished(present: present, now: now)
        var remove: [String] = []
        for engine in local.engineNetworks.values where present.contains(engine.dockerID) {
            // Docker itself removes what it showed to all engines.
            guard view.networks[engine.network]?.dockerID == nil else { continue }
            let isTombstone = view.networks[engine.network]?.state == .removed
            if (isTombstone && !isQuarantined(engine)) || isReplaceable(engine) { remove.append(engine.dockerID) }
        }
        guard !terms.scopeIsGlobal else {
            attempt("remove networks that Docker forgot") { try removeForgotten(present: present, now: now) }
            return ([], remove)
        }
        let bound = Set(local.engineNetworks.values.filter { !isQuarantined($0) }.map(\.network))
        let blocked = Set(local.engineNetworks.values.filter { isQuarantined($0) && !isReplaceable($0) }.compactMap(\.name))
        let create = view.live.filter { network in
            network.state == .active && !bound.contains(network.id) && !local.unsaidRemovals.contains(network.id)
                && !blocked.contains(network.name ?? "")
        }
        return (create.sorted { $0.displayName < $1.displayName }, remove)
    }

    /// A request of the engine, or the agent itself, made that network.
    package func isBound(_ dockerID: String) -> Bool { local.engineNetworks[dockerID] != nil }

    func isQuarantined(_ engine: BoundNetwork) -> Bool {
        if case .quarantined = engine.standing { true } else { false }
    }

    /// Made at the same moment as another host's of the same name, with a subnet that nobody chose: the engine's copy gives way.
    private func isReplaceable(_ engine: BoundNetwork) -> Bool {
        guard isQuarantined(engine), let network = view.networks[engine.network], network.name == engine.name else { return false }
        return engine.wanted.subnets.allSatisfy(\.isAutomatic) && network.subnets.allSatisfy(\.isAutomatic)
            && engine.wanted.options == network.options && engine.wanted.isInternal == network.isInternal
    }

    /// Networks that the engine lost without telling, such as by a removal while no agent ran. That is no word of the cluster's: the
    /// network stays and the engine gets it again.
    private func forgetVanished(present: Set<String>, now: Double) {
        vanishedSince = vanishedSince.filter { !present.contains($0.key) }
        for engine in local.engineNetworks.values where !present.contains(engine.dockerID) {
            // It may be in the making. And an engine no longer lists what it is about to remove: the word is on its way.
            let since = vanishedSince[engine.dockerID] ?? now
            vanishedSince[engine.dockerID] = since
            guard now - since > (engine.name == nil ? Self.unboundSeconds : Self.removalSeconds) else { continue }
            vanishedSince[engine.dockerID] = nil
            do { try local.removeEngineNetwork(engine.dockerID) } catch {
                log.warning("cannot forget a network of the engine", metadata: ["error": "\(error)"])
            }
        }
    }

    /// The networks that have endpoints here, by Docker's id.
    package func networksWithEndpoints() -> [String: NetworkID] {
        var found: [String: NetworkID] = [:]
        for id in Set(local.endpoints.values.map(\.network)) {
            for engine in local.engineNetworks.values where engine.network == id { found[engine.dockerID] = id }
            // With global scope it may have been made on another engine.
            if let dockerID = view.networks[id]?.dockerID { found[dockerID] = id }
        }
        return found
    }
}
