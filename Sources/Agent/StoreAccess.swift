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
        _ membership: Membership, token: ClusterToken, table: LocalTable, files: StateDirectory, output: LogOutput
    ) async throws -> StoreAccess {
        if let locator = StoreLocator(membership, token: token, table: table, log: output.logger("agent")) { return .joined(locator) }
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
    func found(node: NodeID, settings: Settings) async throws {
        guard case .served(let store) = self else { return }
        let cluster = ClusterObject(
            id: await store.identity().cluster, vxlanPort: settings.vxlanPort, vniBase: settings.vniBase, storeNode: node)
        // Only into a store that never held anything: an emptied one is for a person to judge.
        guard try await store.list(prefix: "").revision == .zero else { return }
        _ = try await store.commit(
            StoreTransaction(
                conditions: [.absent(key: StoreKey.cluster)],
                operations: [.put(key: StoreKey.cluster, value: try StoredJSON.encode(cluster), lease: nil)]))
    }

    func close() async { await embedded?.close() }
}
