/// The store that an agent works with: its own, the one that another agent serves, or etcd. `Membership` says which.
import Fabric
import Glibc
import HTTP
import Logging
import Store
import TLS
import Telemetry

enum StoreAccess: Sendable {
    case served(EmbeddedStore)
    case joined(StoreLocator)
    case external(EtcdStore, EtcdLocation)

    static func open(
        _ membership: Membership, _ configuration: Configuration, keys: PeerKeys, table: LocalTable, files: StateDirectory, log: Logger
    ) async throws -> StoreAccess {
        if !membership.servesStore { setAside(files) }
        if let url = membership.storeURL {
            let location = try EtcdLocation(parsing: url)
            return .external(try etcd(location, configuration), location)
        }
        if let locator = StoreLocator(membership, keys: keys, table: table, log: log) { return .joined(locator) }
        let path = files.path("store.db")
        let store = try await EmbeddedStore.open(path: path, create: false, now: AgentClock.store, log: log)
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

    /// As `open`. Where this node's own store is lost or damaged and another took its place meanwhile, that one, for good.
    static func open(
        _ membership: inout Membership, _ configuration: Configuration, keys: PeerKeys, table: LocalTable, files: StateDirectory, replica: Replica,
        me: NodeID, log: Logger
    ) async throws -> StoreAccess {
        do { return try await open(membership, configuration, keys: keys, table: table, files: files, log: log) } catch {
            guard membership.servesStore, membership.isFounding != true else { throw error }
            var view = ClusterView()
            _ = try replica.load(into: &view)
            keys.refuse(Set(view.removed.keys.map(\.description)))
            let survey = ReplicaSurvey(cluster: membership.cluster, keys: keys)
            guard let place = await survey.newerStore(than: try replica.epoch(), known: view.nodes.values.filter { $0.id != me }, me: me),
                try await Succession.identity(place, keys, configuration) == StoreIdentity(cluster: membership.cluster, epoch: place.epoch ?? 0)
            else { throw error }
            log.warning(
                "the store here cannot be served, and another took its place: it is followed",
                metadata: ["epoch": "\(place.epoch ?? 0)", "place": "\(place.url == nil ? "\(place.address)" : "etcd")", "error": "\(error)"])
            membership.follow(place)
            membership.moved(from: configuration)
            try membership.save(table)
            return try await open(membership, configuration, keys: keys, table: table, files: files, log: log)
        }
    }

    /// A store that was here and is not the cluster's any more stays for people to look at.
    static let formerStore = "store.db.former"
    static func setAside(_ files: StateDirectory) {
        guard access(files.path("store.db"), F_OK) == 0 else { return }
        unlink(files.path(formerStore + "-wal"))
        for suffix in ["-wal", ""] { rename(files.path("store.db" + suffix), files.path(formerStore + suffix)) }
    }

    /// Before another takes its name. The file is closed, and stays until that is there.
    static func keepFormer(_ files: StateDirectory) {
        unlink(files.path(formerStore + "-wal"))
        unlink(files.path(formerStore))
        _ = link(files.path("store.db"), files.path(formerStore))
    }

    /// A client of that etcd, with TLS as it is set up.
    static func etcd(_ location: EtcdLocation, _ configuration: Configuration) throws -> EtcdStore {
        guard location.isSecure else { return try EtcdStore(location) }
        do {
            func text(_ path: String) throws -> String {
                guard let text = try StateDirectory.readFile(path) else {
                    throw AgentError(.setup, "set up TLS to etcd", cause: "there is no file \(path)", remedy: "correct --store-ca, --store-cert or --store-key")
                }
                return text
            }
            var own: TLSContext.Own?
            if let certificate = configuration.storeCertificate, let key = configuration.storeKey {
                let chain = try Certificate.all(pem: try text(certificate))
                own = .init(certificate: chain[0], key: try PrivateKey(pem: try text(key)), chain: Array(chain.dropFirst()))
            }
            let authorities = try configuration.storeAuthorities.map { try Certificate.all(pem: try text($0)) }
            let slot = TLSContextSlot(
                try TLSContext(own: own, trust: .serverName(authorities: authorities), now: { Int64(wallSeconds()) }))
            return try EtcdStore(location, connector: EtcdConnector { address, isSecure in HTTPClient(address, tls: isSecure ? slot : nil) })
        } catch let error as TLSError {
            throw AgentError(.setup, "set up TLS to etcd", cause: "\(error.operation): \(error.cause)", remedy: error.remedy)
        }
    }

    var store: any Store {
        switch self {
        case .served(let store): store
        case .joined(let locator): RemoteStore { locator.client }
        case .external(let store, _): store
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

    /// What this agent tells others: of the store that it serves, although it may not have brought its own part into it yet.
    func epoch(_ controller: Controller) async -> UInt64 { if let embedded { await embedded.identity().epoch } else { await controller.viewEpoch } }

    /// For people.
    var kind: String {
        if case .external = self { "etcd" } else { "embedded" }
    }
    /// Where it is; nil: here.
    var address: String? {
        if case .external(_, let location) = self { location.description } else { locator?.address.description }
    }
    var description: String { address ?? kind }

    /// Puts the cluster's settings into a new store. An emptied one is for a person to judge.
    func found(_ beginning: Beginning, settings: Settings) async throws {
        let membership = beginning.membership
        switch self {
        case .joined: return
        case .served(let store): guard try await store.list(prefix: "").revision == .zero else { return }
        case .external(let store, let location):
            guard membership.isFounding == true else { return }
            let owner = try await store.found(StoreIdentity(cluster: membership.cluster, epoch: 1)).cluster
            guard owner == membership.cluster else { throw Self.taken(location, owner) }
        }
        var cluster = ClusterObject(
            id: membership.cluster, vxlanPort: settings.vxlanPort, vniBase: settings.vniBase, storeNode: isServed ? beginning.node : nil)
        cluster.isSealed = membership.isSealed
        var operations: [StoreOperation] = [.put(key: StoreKey.cluster, value: try StoredJSON.encode(cluster), lease: nil)]
        if let authority = try beginning.signer?.object(beginning.node) {
            operations.append(.put(key: StoreKey.authority(authority.fingerprint), value: try StoredJSON.encode(authority), lease: nil))
        }
        _ = try await store.commit(StoreTransaction(conditions: [.absent(key: StoreKey.cluster)], operations: operations))
    }

    static func taken(_ location: EtcdLocation, _ cluster: String) -> AgentError {
        AgentError(
            .setup, "make a cluster with its store at \(location)", cause: "cluster \(cluster) has its store there",
            remedy: "join that one with --join HOST --token TOKEN ('tulle token create' on one of its hosts); or, for a second cluster, give the address another prefix")
    }

    /// This host's address changed: connections from the old one lead nowhere.
    func disconnect() {
        locator?.client.disconnect()
        if case .external(let store, _) = self { store.disconnect() }
    }

    func close() async { await embedded?.close() }
}
