/// The store that an agent works with: its own, or the one that another agent serves. `Membership` says which.
import Fabric
import HTTP
import Logging
import Store
import Telemetry

enum StoreAccess: Sendable {
    case served(EmbeddedStore)
    case joined(StoreLocator)

    static func open(
        _ membership: Membership, keys: PeerKeys, table: LocalTable, files: StateDirectory, output: LogOutput
    ) async throws -> StoreAccess {
        if let locator = StoreLocator(membership, keys: keys, table: table, log: output.logger("agent")) { return .joined(locator) }
        let path = files.path("store.db")
        let store = try await EmbeddedStore.open(path: path, create: false, log: output.logger("store"))
        let cluster = await store.identity().cluster
        guard cluster == membership.cluster else {
            await store.close()
            throw AgentError(
                .storeRefused, "open the store \(path)",
                cause: "it is another cluster's (\(cluster)), this node belongs to \(membership.cluster)",
                remedy: "put the right file back; nothing was touched")
        }
        return .served(store)
    }

    var store: any Store {
        switch self {
        case .served(let store): store
        case .joined(let locator): RemoteStore { locator.client }
        }
    }

    var locator: StoreLocator? {
        guard case .joined(let locator) = self else { return nil }
        return locator
    }

    /// The embedded store of this agent, which answers for all.
    var embedded: EmbeddedStore? {
        guard case .served(let store) = self else { return nil }
        return store
    }
    var isServed: Bool { embedded != nil }

    /// For people.
    var kind: String { "embedded" }
    /// Where it is; nil: here.
    var address: String? { locator?.address.description }
    var description: String { address ?? kind }

    /// Puts the cluster's settings into a new store.
    func found(_ beginning: Beginning, settings: Settings) async throws {
        guard case .served(let store) = self else { return }
        var cluster = ClusterObject(
            id: await store.identity().cluster, vxlanPort: settings.vxlanPort, vniBase: settings.vniBase, storeNode: beginning.node)
        cluster.isSealed = beginning.membership.isSealed
        // Only into a store that never held anything: an emptied one is for a person to judge.
        guard try await store.list(prefix: "").revision == .zero else { return }
        var operations: [StoreOperation] = [.put(key: StoreKey.cluster, value: try StoredJSON.encode(cluster), lease: nil)]
        if let authority = try beginning.signer?.object(beginning.node) {
            operations.append(.put(key: StoreKey.authority(authority.fingerprint), value: try StoredJSON.encode(authority), lease: nil))
        }
        _ = try await store.commit(StoreTransaction(conditions: [.absent(key: StoreKey.cluster)], operations: operations))
    }

    func close() async { await embedded?.close() }
}
