import Addressing
import Agent
import Fabric
import Foundation
import Logging
import Store
import Synchronization
import TestKit

/// Several nodes' controllers and reconcilers on one store and one model kernel each: a cluster without sockets.
final class TestCluster: Sendable {
    struct Member: Sendable {
        var controller: Controller
        var kernel: ModelKernel
        var reconciler: Reconciler
        var tasks: [Task<Void, Never>]
        var directory: String
        var number: Int
    }

    let store: FaultyStore
    /// What is behind it.
    let engine: EmbeddedStore
    let cluster: String
    /// They outlive agents.
    private let kernels = Mutex<[Int: ModelKernel]>([:])
    private let members = Mutex<[Int: Member]>([:])
    /// What the agents logged, as warnings at least.
    let said = NotedLog.Lines()
    private let root: String

    init(lease: Int = 600, scopeIsGlobal: Bool = false) async throws {
        let embedded = EmbeddedStore.inMemory()
        engine = embedded
        store = FaultyStore(embedded)
        cluster = await embedded.identity().cluster
        root = NSTemporaryDirectory() + "tulle-test-\(UInt64.random(in: .min ... .max))"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        self.lease = lease
        self.scopeIsGlobal = scopeIsGlobal
        let object = ClusterObject(id: cluster, vxlanPort: 7941, vniBase: 0x100000, storeNode: nil)
        _ = try await embedded.commit(
            StoreTransaction(operations: [.put(key: StoreKey.cluster, value: try StoredJSON.encode(object), lease: nil)]))
    }
    private let lease: Int
    private let scopeIsGlobal: Bool

    /// A cluster whose nodes hold their leases.
    static func of(_ count: Int, scopeIsGlobal: Bool = false) async throws -> (TestCluster, [Member]) {
        let cluster = try await TestCluster(scopeIsGlobal: scopeIsGlobal)
        var nodes: [Member] = []
        for number in 1...count {
            let node = try await cluster.start(number)
            try await node.ready()
            nodes.append(node)
        }
        return (cluster, nodes)
    }

    /// Starts the agent of a node; again after `stop`, with the state it left.
    ///
    /// - Parameter other: another store than the cluster's own.
    func start(_ number: Int, on other: (any Store)? = nil) async throws -> Member {
        let directory = "\(root)/h\(number)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let table = try LocalTable(path: directory + "/agent.db")
        let log = Logger(label: "h\(number)") { [said] _ in NotedLog(said: said) }
        let kernel = kernels.withLock { kernels in
            let kernel = kernels[number] ?? ModelKernel()
            kernels[number] = kernel
            return kernel
        }
        let reconciler = Reconciler(kernel, log: log, onDrift: { _ in }, onFailure: { _, _ in })
        let id = NodeID(random: UInt128(number) << 64 | 99)
        let me = NodeObject(
            id: id, name: "h\(number)", underlay: IPAddress(v4: 0xc0a8_6300 + UInt32(number)), mtu: 1500,
            agent: "192.168.99.\(number):7940", version: "test", instance: "\(UInt32.random(in: 0 ... .max))")
        let controller = try Controller(
            identity: .init(node: id, instance: me.instance), me: me, underlay: "eth0",
            settings: Settings(vxlanPort: 7941, vniBase: 0x100000),
            terms: .init(lease: lease, forgetAfter: 1000, scopeIsGlobal: scopeIsGlobal), cluster: cluster, store: other ?? store, table: table,
            replica: try Replica(path: directory + "/replica.db", log: log), reconciler: reconciler, log: log,
            hostRoutes: { [] })
        let tasks = [
            Task { await reconciler.run(controller) }, Task { await controller.follow() },
            Task { await controller.keepRegistered() }, Task { await controller.publish() },
        ]
        let member = Member(
            controller: controller, kernel: kernel, reconciler: reconciler, tasks: tasks, directory: directory, number: number)
        members.withLock { $0[number] = member }
        return member
    }

    func stop(_ member: Member) async {
        members.withLock { $0[member.number] = nil }
        for task in member.tasks { task.cancel() }
        await member.reconciler.stop()
        for task in member.tasks { await task.value }
    }

    /// Another agent in the place of one that ended, as soon as that has let its files go.
    /// The member is emptied first, because whoever holds it holds the files open.
    func restart(_ member: inout Member?) async throws -> Member {
        guard let number = member?.number else { throw Missing(what: "a member") }
        if let member { await stop(member) }
        member = nil
        let fresh = try await startAgain(number)
        try await fresh.ready()
        member = fresh
        return fresh
    }

    /// As soon as the agent before has let its files go.
    func startAgain(_ number: Int) async throws -> Member {
        var fresh: Member?
        try await eventually {
            do { fresh = try await self.start(number) } catch let error as StoreError where error.code == .locked { return false }
            return true
        }
        guard let fresh else { throw Missing(what: "a started agent") }
        return fresh
    }

    /// Nobody else has the node's files open any more.
    func isClosed(_ number: Int) -> Bool {
        (try? LocalTable(path: "\(root)/h\(number)/agent.db")) != nil && (try? LocalTable(path: "\(root)/h\(number)/replica.db")) != nil
    }
    /// A backup of a node's state directory, and the return to it while the node's agent is down.
    func backUp(_ number: Int) throws {
        try FileManager.default.copyItem(atPath: "\(root)/h\(number)", toPath: "\(root)/backup\(number)")
    }
    func restoreBackup(_ number: Int) throws {
        try FileManager.default.removeItem(atPath: "\(root)/h\(number)")
        try FileManager.default.moveItem(atPath: "\(root)/backup\(number)", toPath: "\(root)/h\(number)")
    }

    func end() async {
        for member in members.withLock({ Array($0.values) }) { await stop(member) }
        try? FileManager.default.removeItem(atPath: root)
    }
}

extension TestCluster.Member {
    /// Until the node holds a lease and its view has the cluster.
    func ready() async throws {
        try await eventually { await controller.lease.isValid(at: bootSeconds()) }
    }

    /// What `docker network create` and the engine's event do.
    @discardableResult
    func createNetwork(
        _ name: String, subnet: String, dockerID: String? = nil, options: [String: String] = [:], ipam: [String: String] = [:]
    ) async throws -> String {
        let id = dockerID ?? "docker-\(name)-\(number)"
        let pool = try await controller.requestPool(prefix: subnet, range: "", options: ipam, isV6: subnet.contains(":"))
        let gateway = try await controller.requestGateway(pool.id, "")
        try await makeNetwork(id, subnet: pool.prefix.description, gateway: gateway.description, options: options)
        try await controller.learn(id, name: name, labels: [:], isAttachable: false)
        return id
    }

    /// Its part that comes after the request for addresses.
    func makeNetwork(_ dockerID: String, subnet: String, gateway: String, options: [String: String] = [:]) async throws {
        let space = controller.terms.scopeIsGlobal ? Controller.globalAddressSpace : Controller.addressSpace
        let pool = NetworkRequest.Pool(addressSpace: space, prefix: subnet, gateway: gateway, auxiliary: [:])
        try await controller.createNetwork(NetworkRequest(dockerID: dockerID, options: options, isInternal: false, pools: [pool]))
    }

    /// What `EngineSync` does for a network that this engine lacks.
    func mirror(_ network: NetworkObject) async throws -> String {
        let key = network.hasOwnKey ? [DriverOption.network: network.key] : [:]
        return try await createNetwork(
            network.name ?? "-", subnet: network.subnets[0].prefix.description, options: network.options.merging(key) { $1 }, ipam: key)
    }

    /// What this node's engine learnt when it made the network; with global scope all engines know it.
    func pool(of dockerID: String) async throws -> String {
        guard let pool = await controller.local.engineNetworks[dockerID]?.pools.first else { throw Missing(what: "pool") }
        return pool
    }

    /// What `docker run` does; the address.
    func run(_ name: String, on dockerID: String, pool known: String? = nil, address: IPAddress? = nil) async throws -> IPAddress {
        var pool = known ?? ""
        if known == nil { pool = try await self.pool(of: dockerID) }
        let given = try await controller.requestAddress(pool, address)
        _ = try await controller.createEndpoint(
            EndpointRequest(dockerID: dockerID, id: EndpointID(name), addresses: [given.description], mac: ""))
        _ = try await controller.join(EndpointID(name), sandbox: "/sandbox/\(name)", publishes: false)
        return given.address
    }

    /// What `docker rm -f` does.
    func remove(_ name: String, on dockerID: String, pool known: String? = nil, address: IPAddress) async throws {
        try await controller.leave(EndpointID(name))
        try await controller.deleteEndpoint(EndpointID(name))
        var pool = known ?? ""
        if known == nil { pool = try await self.pool(of: dockerID) }
        try await controller.releaseAddress(pool, address)
    }
}

struct Missing: Error { var what: String }

/// Polls with a deadline.
func eventually(within limit: Duration = .seconds(10), _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + limit
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw Missing(what: "the awaited event") }
        await Task.yield()
        try await Task.sleep(for: .milliseconds(2))
    }
}

/// Keeps what is logged as a warning or worse.
struct NotedLog: LogHandler {
    final class Lines: Sendable {
        private let lines = Mutex<[String]>([])
        var all: [String] { lines.withLock { $0 } }
        fileprivate func add(_ line: String) { lines.withLock { $0.append(line) } }
    }
    let said: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
    func log(event: LogEvent) {
        guard event.level >= .warning else { return }
        said.add("\(event.message) \(event.metadata ?? [:])")
    }
}

/// A store that can be cut off.
final class FaultyStore: Store {
    private let current: Mutex<EmbeddedStore>
    private let original: EmbeddedStore
    private let cut = Mutex(false)
    private let lost = Mutex(false)

    init(_ inner: EmbeddedStore) {
        current = Mutex(inner)
        original = inner
    }
    private var inner: EmbeddedStore { current.withLock { $0 } }

    /// The same cluster's store, restored from a backup: at an older revision, without leases.
    func goBack(to backup: StoreSnapshot) async throws {
        try await replace(by: backup.entries, identity: await original.identity())
    }

    /// Another store took its place, which began with that copy, as `NewStore` makes one.
    ///
    /// - Parameter isNoticed: watches of the former one end.
    func succeed(with copy: StoreSnapshot, epoch: UInt64, isNoticed: Bool = true) async throws {
        let revision = Revision(copy.revision.number + 1_000_000)
        let entries = try copy.entries.filter { $0.lease == nil && !$0.key.hasPrefix(StoreKey.alive) }.map { entry in
            var value = entry.value
            if entry.key == StoreKey.cluster {
                var object = try StoredJSON.decode(ClusterObject.self, entry.value)
                object.epoch = epoch
                value = try StoredJSON.encode(object, over: entry)
            }
            return StoreEntry(key: entry.key, value: value, created: revision, modified: revision, lease: nil)
        }
        let identity = StoreIdentity(cluster: await original.identity().cluster, epoch: epoch)
        await replace(
            by: .inMemory(contents: JournalContents(identity: identity, revision: revision, lastLease: 0, entries: entries, leases: [:])),
            isNoticed: isNoticed)
    }

    private func replace(by entries: [StoreEntry], identity: StoreIdentity) async throws {
        let restored = EmbeddedStore.inMemory(identity: identity)
        let kept = entries.filter { $0.lease == nil && !$0.key.hasPrefix(StoreKey.alive) }
        _ = try await restored.commit(
            StoreTransaction(operations: kept.map { .put(key: $0.key, value: $0.value, lease: nil) }))
        await replace(by: restored, isNoticed: true)
    }

    private func replace(by restored: EmbeddedStore, isNoticed: Bool) async {
        let old = current.withLock { store in
            defer { store = restored }
            return store
        }
        if isNoticed { await old.close() } else { former.withLock { $0 = old } }
    }
    private let former = Mutex<EmbeddedStore?>(nil)
    /// The watches end that did not notice.
    func endFormer() async {
        await former.withLock { $0.take() }?.close()
    }
    var isCut: Bool {
        get { cut.withLock { $0 } }
        set { cut.withLock { $0 = newValue } }
    }
    /// The next commit of a network happens, and nobody is told.
    var losesNextNetwork: Bool {
        get { lost.withLock { $0 } }
        set { lost.withLock { $0 = newValue } }
    }
    /// So many calls are answered, then none; nil: all.
    private let left = Mutex<Int?>(nil)
    var callsLeft: Int? {
        get { left.withLock { $0 } }
        set { left.withLock { $0 = newValue } }
    }
    private func check() throws {
        let isOver = left.withLock { left in
            guard let number = left else { return false }
            left = max(0, number - 1)
            return number == 0
        }
        if isOver { throw StoreError(.unreachable, "reach the store", cause: "cut off by the test") }
        if isCut { throw StoreError(.unreachable, "reach the store", cause: "cut off by the test") }
    }

    /// What its watches do instead of following.
    enum Trouble: CaseIterable { case ends, fails, misses }
    private struct Watches {
        var trouble: Trouble?
        var asked: [ContinuousClock.Instant] = []
        var open: [AsyncThrowingStream<StoreEvent, any Error>.Continuation] = []
    }
    private let watches = Mutex(Watches())
    /// When a watch was asked for since the trouble began.
    var troubledWatches: [ContinuousClock.Instant] { watches.withLock { $0.asked } }
    var trouble: Trouble? { watches.withLock { $0.trouble } }

    /// From now on; watches that are open end.
    func set(_ trouble: Trouble?) {
        let open = watches.withLock { state in
            defer { state = Watches(trouble: trouble) }
            return state.open
        }
        if trouble != nil { for watch in open { watch.finish() } }
    }

    func identity() async throws -> StoreIdentity {
        try check()
        return await inner.identity()
    }
    func list(prefix: String) async throws -> StoreSnapshot {
        try check()
        return try await inner.list(prefix: prefix)
    }
    func commit(_ transaction: StoreTransaction) async throws -> StoreOutcome {
        try check()
        let outcome = try await inner.commit(transaction)
        let hasNetwork = transaction.operations.contains { if case .put(let key, _, _) = $0 { key.hasPrefix(StoreKey.networks) } else { false } }
        if hasNetwork, losesNextNetwork {
            losesNextNetwork = false
            throw StoreError(.timedOut, "commit", cause: "the test lost the answer")
        }
        return outcome
    }
    func watch(prefix: String, after: Revision) async -> AsyncThrowingStream<StoreEvent, any Error> {
        let trouble = watches.withLock { state in
            state.asked.append(.now)
            return state.trouble
        }
        if let trouble {
            return AsyncThrowingStream { stream in
                if trouble == .misses { stream.yield(.missed) }
                stream.finish(throwing: trouble == .fails ? StoreError(.unreachable, "watch", cause: "the test's trouble") : nil)
            }
        }
        let events = await inner.watch(prefix: prefix, after: after)
        let (stream, end) = AsyncThrowingStream.makeStream(of: StoreEvent.self, throwing: (any Error).self)
        let task = Task {
            do {
                for try await event in events { end.yield(event) }
                end.finish()
            } catch { end.finish(throwing: error) }
        }
        end.onTermination = { _ in task.cancel() }
        watches.withLock { $0.open.append(end) }
        return stream
    }
    /// Every lease is gone when it is used.
    var losesLeases: Bool {
        get { leases.withLock { $0.lost } }
        set { leases.withLock { $0.lost = newValue } }
    }
    var grants: Int { leases.withLock { $0.grants } }
    private let leases = Mutex((lost: false, grants: 0))

    func grantLease(seconds: Int) async throws -> LeaseID {
        try check()
        if leases.withLock({ leases in
            leases.grants += 1
            return leases.lost
        }) {
            throw StoreError(.leaseNotFound, "grant a lease", cause: "the test lost the lease")
        }
        return try await inner.grantLease(seconds: seconds)
    }
    func renewLease(_ lease: LeaseID) async throws {
        try check()
        try await inner.renewLease(lease)
    }
    func revokeLease(_ lease: LeaseID) async throws {
        try check()
        try await inner.revokeLease(lease)
    }
}
