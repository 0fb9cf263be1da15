/// The node's state and everything that changes it: the cluster's view, kept by the store's watch, and the local state,
/// changed by the engine's requests. It never touches the kernel: it marks namespaces dirty at the `Reconciler`,
/// which asks it (as `DesiredSource`) what should be.
///
/// A `docker run` comes as RequestAddress (an address of one of this node's blocks: local, durable, no store), CreateEndpoint
/// (the endpoint is recorded, the namespace marked) and Join (waits until the kernel has it). The store hears of the
/// endpoint afterwards (`Publisher`).
package import Addressing
package import Fabric
package import Logging
package import NameService
package import Store
import Telemetry

package actor Controller {
    package struct Identity: Sendable {
        package var node: NodeID
        package var instance: String
        package init(node: NodeID, instance: String) {
            self.node = node
            self.instance = instance
        }
    }

    package struct Terms: Sendable {
        /// Seconds of the right to allocate.
        package var lease: Int
        /// Seconds until a tombstone, or a node that never came back, is forgotten.
        package var forgetAfter: Int
        package var scopeIsGlobal: Bool
        package init(lease: Int, forgetAfter: Int, scopeIsGlobal: Bool) {
            self.lease = lease
            self.forgetAfter = forgetAfter
            self.scopeIsGlobal = scopeIsGlobal
        }
    }

    package nonisolated let store: any Store
    package nonisolated let reconciler: Reconciler
    package nonisolated let log: Logger
    package nonisolated let identity: Identity
    package nonisolated let terms: Terms
    nonisolated let surroundings: Surroundings
    /// The host's own prefixes, which no network may overlap.
    let hostRoutes: @Sendable () async -> [IPPrefix]

    package internal(set) var settings: Settings
    package internal(set) var me: NodeObject
    /// The interface of the underlay address.
    private var underlay: String
    package internal(set) var view = ClusterView()
    package internal(set) var viewRevision = Revision.zero
    /// Of the store that the view is of. It only grows: a store of a lower one was replaced.
    package internal(set) var viewEpoch: UInt64 = 1
    /// Of the cluster's object in the store, as this agent read it there; nil: not yet.
    var clusterModified: Revision?
    /// The store has a new epoch, and what this node holds is being brought into it.
    var isBringing = false
    /// By which this node's certificate is, as a fingerprint.
    var shownAuthority: String?
    /// The authorities that this node believes: PEM.
    var believed: [String] = []
    package internal(set) var local: LocalState {
        didSet { names.set(local: local.endpoints) }
    }
    /// What containers are told.
    package nonisolated let names: NameBook
    let replica: Replica
    /// The only cluster whose store is believed.
    let expectedCluster: String
    /// Why the store's contents are not believed; nothing of it is applied while this is set.
    package internal(set) var distrust: String?
    package internal(set) var isStoreReachable = false
    package internal(set) var storeFailure: String?
    /// Attempts to follow the store that have ended; when the last one did (CLOCK_BOOTTIME); that somebody waits for the next, which waits for its time.
    var attempts: UInt64 = 0
    var lastAttempt = -Double.infinity
    var isHurried = false
    var isPausing = false
    /// Faults that come again and again are told six times a minute at most.
    let repeats = RepeatLimiter(interval: .seconds(10))
    package internal(set) var lease: AllocationLease
    /// Another agent lives under this node's identity or name: this one says and gives nothing.
    var isRefused = false
    var lineage: Lineage
    /// Since when (CLOCK_BOOTTIME) a sign of life under our identity comes from elsewhere; and why this agent stays refused until it ends.
    var doubleSince: Double?
    var doubled: AgentError?
    /// The view is the store's, and not only the replica's.
    var isHeardView = false
    /// When the store was last heard of: seconds since 1970.
    package internal(set) var lastHeard: Int?

    /// Counts the changes of the view that may give this node something to write (`Publisher`).
    var concerns: UInt64 = 0
    /// Waiters for the view to reach a revision, or for any other change.
    var viewWaiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
    var nextWaiter: UInt64 = 0
    /// Blocks being taken, so that many requests at once take one.
    var takings: Set<SubnetKey> = []
    /// The last address given in each subnet.
    var cursors: [SubnetKey: IPAddress] = [:]
    /// Addresses without an endpoint that the engine still has in its hand: it was just given them, or is about to release them. Nobody else gets them.
    var giving: Set<AddressKey> = []
    /// The host is joining or leaving a network.
    var isExposing = false
    /// As last read of the host.
    var hostAddresses: Set<IPAddress> = []
    /// Single addresses on their way back to the store.
    var freeing: Set<AddressKey> = []
    /// Questions to other nodes that still wait for their answer.
    var openRequests: Set<String> = []
    /// Since when (CLOCK_BOOTTIME) a pending network of ours has no copy on the engine, or a copy is not in the engine's list.
    var pendingSince: [NetworkID: Double] = [:]
    var vanishedSince: [String: Double] = [:]
    /// Since when (CLOCK_BOOTTIME) this agent knows a tombstone.
    var removedSince: [NetworkID: Double] = [:]
    /// What the `Publisher` wrote last: an older view must not be compared with what is here.
    var published = Revision.zero
    /// Since when (CLOCK_BOOTTIME) a network of global scope is not in the engine's list.
    var absentSince: [NetworkID: Double] = [:]
    /// Networks that were removed on this engine and stay because others use them: why, for people.
    var kept: [NetworkID: String] = [:]
    /// Docker's ids of copies that the agent itself is removing from its engine: that says nothing about the network.
    var withdrawing: Set<String> = []
    /// Endpoints whose Join is not answered yet: Docker takes their links from the host's namespace afterwards.
    var joining: Set<EndpointID> = []
    /// Networks of which it is making a copy: one that is removed meanwhile must not come back as a new one.
    var copying: Set<NetworkID> = []
    /// For how many of the engine's lists in a row an endpoint was missing.
    var missing: [EndpointID: Int] = [:]
    /// Since when (CLOCK_BOOTTIME) this agent knows an endpoint.
    var knownSince: [EndpointID: Double] = [:]
    /// Since when (CLOCK_BOOTTIME) a block of ours is empty.
    var emptySince: [BlockKey: Double] = [:]
    /// To which multicast groups containers here listen, in each network that is switched.
    package internal(set) var listened: [NetworkID: Set<IPAddress>] = [:]
    /// The remote part of each network's desired state, which only the store changes.
    var remoteParts: [NetworkID: NamespaceState] = [:]
    /// Names that hosts were let in with a moment ago, and since when (CLOCK_BOOTTIME).
    var arriving: [String: (node: NodeID, since: Double)] = [:]
    /// Keys of the store whose objects are left out of the view: of a newer version, or junk. Nothing is written there.
    var unreadable: Set<String> = []
    /// Things that a person should know, by topic.
    package internal(set) var problems: [String: String] = [:]

    struct AddressKey: Hashable {
        var network: NetworkID
        var address: IPAddress
    }

    struct SubnetKey: Hashable {
        var network: NetworkID
        var family: AddressFamily
    }

    package init(
        identity: Identity, me: NodeObject, underlay: String, settings: Settings, terms: Terms, cluster: String, store: any Store,
        table: LocalTable, replica: Replica, reconciler: Reconciler, log: Logger, hostRoutes: @escaping @Sendable () async -> [IPPrefix],
        surroundings: Surroundings = .machine
    ) throws {
        self.identity = identity
        self.me = me
        self.underlay = underlay
        self.settings = settings
        self.terms = terms
        self.store = store
        self.replica = replica
        expectedCluster = cluster
        self.reconciler = reconciler
        self.log = log
        self.hostRoutes = hostRoutes
        self.surroundings = surroundings
        let local = try LocalState(table, now: surroundings.boot())
        self.local = local
        names = NameBook(me: identity.node)
        lineage = try Lineage(table)
        lease = try AllocationLease(table: table, term: terms.lease, bootID: surroundings.bootID)
        viewRevision = try replica.load(into: &view)
        viewEpoch = try replica.epoch()
        if viewEpoch > 1 { self.me.epoch = viewEpoch }
        // The engine may be between two calls to the agent before this one.
        for (network, allocations) in local.allocations {
            for (address, allocation) in allocations where allocation.isInHand { giving.insert(AddressKey(network: network, address: address)) }
        }
        if let gone = local.removed {
            _ = view.set(.node(identity.node, gone))
            problems["removed"] = "\(Self.removedError("take part in the cluster"))"
        }
        if let known = view.cluster {
            self.settings = Settings(vxlanPort: known.vxlanPort, vniBase: known.vniBase)
        }
        names.set(local: local.endpoints)
        names.replace(view, isHeard: false)
    }

    // MARK: Waiting for the view

    /// Returns when the view has that revision, or throws after the deadline.
    package func reach(_ revision: Revision, within limit: Duration = .seconds(5)) async throws {
        if viewRevision < revision { hurry() }
        guard await wait(within: limit, until: { $0.viewRevision >= revision }) else {
            throw AgentError(
                .storeAway, "see an own change in the store", cause: "the watch is behind by more than \(limit)",
                remedy: "see 'tulle status'")
        }
    }

    /// Looks after each change of the view; false when the deadline came first, or the task was cancelled.
    func wait(within limit: Duration, until condition: (isolated Controller) -> Bool) async -> Bool {
        let deadline = ContinuousClock.now + limit
        while !condition(self) {
            let left = deadline - .now
            guard left > .zero, !Task.isCancelled else { return false }
            let number = nextWaiter
            nextWaiter += 1
            let timer = Task {
                try? await Task.sleep(for: left)
                self.resume(number)
            }
            await withTaskCancellationHandler {
                await withCheckedContinuation { viewWaiters[number] = $0 }
            } onCancel: {
                Task { await self.resume(number) }
            }
            timer.cancel()
        }
        return true
    }

    func viewChanged() {
        let all = viewWaiters
        viewWaiters = [:]
        for waiter in all.values { waiter.resume() }
    }

    private func resume(_ number: UInt64) { viewWaiters.removeValue(forKey: number)?.resume() }

    // MARK: Problems

    func setProblem(_ topic: String, _ text: String?) {
        guard problems[topic] != text else { return }
        problems[topic] = text
        if let text { repeats.log(to: log, .warning, key: "\(topic): \(text)", text, metadata: ["topic": "\(topic)"]) }
    }

    /// All topics that begin so: those that are not given are over.
    func setProblems(under prefix: String, _ texts: [String: String]) {
        for topic in problems.keys where topic.hasPrefix(prefix) && texts[String(topic.dropFirst(prefix.count))] == nil { setProblem(topic, nil) }
        for (topic, text) in texts { setProblem(prefix + topic, text) }
    }

    /// - Parameter agent: where this agent listens by now.
    package func setUnderlay(_ chosen: Underlay, agent: String) async {
        guard me.underlay != chosen.address || me.mtu != chosen.mtu || underlay != chosen.interface || me.agent != agent else { return }
        me.underlay = chosen.address
        me.mtu = chosen.mtu
        me.agent = agent
        underlay = chosen.interface
        remoteParts = [:]
        log.notice("the underlay changed", metadata: ["address": "\(chosen.address)", "mtu": "\(chosen.mtu)"])
        viewChanged()
        await reconciler.markAll()
    }
}

extension Controller: DesiredSource {
    package func desired(_ namespace: NamespaceID) throws -> NamespaceState? {
        switch namespace {
        case .host:
            let here = Set(local.endpoints.values.map(\.network))
            return Desired.host(
                view: view, me: me, networks: here.compactMap { view.networks[$0] }, unknown: here.filter { view.networks[$0] == nil },
                exposures: exposures, hostAddresses: hostAddresses, underlay: underlay, settings: settings)
        case .pinned(let digits):
            // Only a network with endpoints here has a namespace, so the endpoints tell which one it is.
            let endpoints = local.endpoints.values.filter { $0.network.short == digits }
            guard let id = endpoints.first?.network else { return nil }
            guard let network = view.networks[id] else {
                throw unknown(id)
            }
            var state = remoteParts[network.id]
                ?? Desired.remote(network, view: view, me: me, settings: settings)
            remoteParts[network.id] = state
            Desired.local(
                network, view: view, me: me, endpoints: endpoints, settings: settings, into: &state)
            return state
        }
    }

    /// Absence is not deletion.
    private func unknown(_ id: NetworkID) -> AgentError {
        AgentError(
            .storeRefused, "lay out network \(id.short)", cause: "it has endpoints here and the store does not know it",
            remedy: "nothing is changed; see 'tulle status'")
    }

    package func namespaces() -> Set<NamespaceID> {
        Set(local.endpoints.values.map { .network($0.network) }).union([.host])
    }
}
