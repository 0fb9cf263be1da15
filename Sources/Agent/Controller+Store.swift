/// The watch: how the cluster's truth comes in, and what of it is believed.
///
/// Absence is not deletion (guarantee of docs/DESIGN.md section 4, rule 8): a store that lost the cluster's object or
/// a living network, that is another cluster's or stands at an older revision is not believed. Then the view stays as it is, nothing
/// is removed, and `problems` tells the user about `tulle store accept`.
import Fabric
import Logging
import Store
import Telemetry

extension Controller {
    /// A watch that lasted so long was a good one, in seconds: whatever ended it is tried anew at once.
    private static let steady = 5.0
    /// How old the word of the last attempt may be by which a request is refused, in seconds.
    private static let freshness = 0.25

    /// Lists and watches until cancelled; each failure is followed by a pause that grows to 5 s. So is a watch that ends soon, whatever the
    /// store says then: one that answers lists and no watch, or misses every history, costs no more than one that is away.
    package func follow() async {
        var pause = Duration.milliseconds(100)
        while !Task.isCancelled {
            var began: Double?
            do {
                try await listAll()
                began = bootSeconds()
                if distrust == nil { try await watchOnce() }
            } catch {
                if let error = error as? StoreError, error.code == .removed { await learnRemoval() }
                if let error = error as? AgentError { setProblem(Self.epochTopic, "\(error)") } else { noteStore(failure: "\(error)") }
            }
            if let began, distrust == nil, bootSeconds() - began >= Self.steady { pause = .milliseconds(100) }
            (attempts, lastAttempt) = (attempts &+ 1, bootSeconds())
            viewChanged()
            // Who waits for the store ends the pause.
            (isPausing, isHurried) = (true, false)
            _ = await wait(within: pause) { $0.isHurried }
            isPausing = false
            pause = min(pause * 2, .seconds(5))
        }
    }

    /// Has the store followed again now, if the next attempt waits for its time and the last one was not a moment ago.
    func hurry() {
        guard isPausing, bootSeconds() - lastAttempt > Self.freshness else { return }
        isHurried = true
        viewChanged()
    }

    /// Waits for what comes of an attempt that is under way, or of one that is made now.
    private func tryStore() async {
        hurry()
        guard isHurried || !isPausing else { return }
        let seen = attempts
        _ = await wait(within: .seconds(2)) { $0.isStoreReachable || $0.attempts != seen }
    }

    /// Whether the store that is there may be begun anew with what the nodes know (`tulle store accept`). nil: there is nothing to accept, for it is believed, or
    /// another node has done so, and this one follows.
    ///
    /// - Returns: the store's identity; of an etcd that was emptied, the one that it had.
    /// - Throws: when it is another cluster's, one that was replaced, or of a later version.
    func acceptable(_ operation: String) async throws -> StoreIdentity? {
        // The word may be five seconds old, and the store be back.
        let seen = attempts
        hurry()
        _ = await wait(within: .seconds(5)) { $0.distrust == nil || $0.attempts != seen }
        guard distrust != nil else { return nil }
        let former = StoreIdentity(cluster: expectedCluster, epoch: viewEpoch)
        let found: StoreIdentity
        do { found = try await store.identity() } catch let error as StoreError where error.code == .missing { return former }
        guard found.cluster == expectedCluster else {
            throw AgentError(
                .storeRefused, operation, cause: "it is another cluster's (\(found.cluster)), this node belongs to \(expectedCluster)",
                remedy: "put the right store back; to leave the old cluster, run 'tulle reset' and join the other one")
        }
        guard found.epoch >= viewEpoch, found.epoch <= NewStore.mostEpoch else {
            throw AgentError(
                .storeRefused, operation, cause: "it is of epoch \(found.epoch), and the cluster has gone on to epoch \(viewEpoch) in another store",
                remedy: "bring that one back; or, if it is lost, run 'tulle store promote' (or 'tulle store import' with a later backup), so that what the nodes hold is kept")
        }
        let object = try await store.list(prefix: StoreKey.cluster).entries.first { $0.key == StoreKey.cluster }
        if let object, let reason = Self.newness(of: object) {
            throw AgentError(.storeRefused, operation, cause: reason, remedy: "nothing was changed")
        }
        guard found.epoch > viewEpoch, object != nil else { return found }
        hurry()
        guard await wait(within: .seconds(15), until: { $0.viewEpoch == found.epoch && $0.distrust == nil }) else {
            throw AgentError(
                .storeAway, operation, cause: "another node has accepted it, and this one does not follow yet (\(problems[Self.epochTopic] ?? "no reason known"))",
                remedy: "see 'tulle status'")
        }
        return nil
    }

    private func listAll() async throws {
        let identity: StoreIdentity
        do { identity = try await store.identity() } catch let error as StoreError where error.code == .missing {
            return refuse("\(error.cause)")
        }
        let isNext = identity.epoch > viewEpoch && (view.cluster != nil || !local.allocations.isEmpty)
        // Before anything else is read of it: nothing that was decided by the former may be written to it.
        if isNext { isBringing = true }
        var snapshot = try await store.list(prefix: "")
        noteStore(failure: nil)
        guard identity.cluster == expectedCluster else {
            return refuse("the store is another cluster's (\(identity.cluster)), this node belongs to \(expectedCluster)")
        }
        guard identity.epoch >= viewEpoch else {
            return refuse("the store is of epoch \(identity.epoch), which another one replaced (epoch \(viewEpoch))")
        }
        guard identity.epoch <= NewStore.mostEpoch else { return refuse("the store says that it is of epoch \(identity.epoch), which is none") }
        if let object = snapshot.entries.first(where: { $0.key == StoreKey.cluster }), let reason = Self.newness(of: object) { return refuse(reason) }
        if isNext {
            guard snapshot.entries.contains(where: { $0.key == StoreKey.cluster }) else { return refuse("the store is empty") }
            try await bring(into: snapshot, epoch: identity.epoch)
            snapshot = try await store.list(prefix: "")
            log.notice("the store has a new epoch", metadata: ["epoch": "\(identity.epoch)", "revision": "\(snapshot.revision.number)"])
        } else if let reason = suspicion(of: snapshot) {
            return refuse(reason)
        }
        believe(epoch: identity.epoch)
        await replaceView(with: snapshot)
    }

    private func believe(epoch: UInt64) {
        distrust = nil
        isBringing = false
        setProblem("store-trust", nil)
        setProblem(Self.epochTopic, nil)
        viewEpoch = epoch
        me.epoch = epoch > 1 ? epoch : nil
    }

    private static let epochTopic = "store-epoch"

    /// Follows the watch to its end, or until the history was missed.
    private func watchOnce() async throws {
        for try await event in await store.watch(prefix: "", after: viewRevision) {
            noteStore(failure: nil)
            switch event {
            case .missed: return
            case .changes(let changes, let revision):
                if let reason = suspicion(of: changes) {
                    return refuse(reason)
                }
                await apply(changes, revision: revision)
            }
        }
    }

    // MARK: Trust

    private func suspicion(of snapshot: StoreSnapshot) -> String? {
        let present = Set(snapshot.entries.map(\.key))
        if snapshot.revision < viewRevision {
            return "the store went back in time (revision \(snapshot.revision.number), was \(viewRevision.number))"
        }
        guard view.cluster != nil else { return nil }
        if !present.contains(StoreKey.cluster) { return "the store is empty" }
        let lost = view.live.filter { $0.state == .active && !present.contains(StoreKey.network($0.id)) }
        guard lost.isEmpty else {
            return "the store lost \(lost.map(\.displayName).sorted().joined(separator: ", ")) without a tombstone"
        }
        return nil
    }

    private func suspicion(of changes: [StoreChange]) -> String? {
        for case .put(let entry) in changes where entry.key == StoreKey.cluster {
            if let reason = Self.newness(of: entry) { return reason }
        }
        // A watch that was held up brings a tombstone and its end together.
        var buried: Set<NetworkID> = []
        for change in changes {
            let key: String
            switch change {
            case .put(let entry):
                guard entry.key.hasPrefix(StoreKey.networks), case .network(let id, let network?)? = try? ClusterView.Object(key: entry.key, value: entry.value)
                else { continue }
                if network.state == .active { buried.remove(id) } else { buried.insert(id) }
                continue
            case .delete(let deleted, _): key = deleted
            }
            if key == StoreKey.cluster, view.cluster != nil { return "the cluster's object was deleted from the store" }
            guard case .network(let id, nil)? = try? ClusterView.Object(key: key, value: nil) else { continue }
            if let network = view.networks[id], network.state == .active, !buried.contains(id) {
                return "network \(network.displayName) was deleted from the store without a tombstone"
            }
        }
        return nil
    }

    /// Why this version must not take part, if the cluster's object says so: by its format, or by the level that agents must have.
    private static func newness(of object: StoreEntry) -> String? {
        do {
            let needed = try StoredJSON.read(ClusterObject.self, object.key, object.value).needs ?? 1
            return needed <= featureLevel ? nil : ClusterObject.tooOld(needed)
        } catch { return "\(error)" }
    }

    private func refuse(_ reason: String) {
        distrust = reason
        isBringing = false
        let remedy = reason.contains(ClusterObject.newer) ? "" : "; bring it back, or if that cannot be, run 'tulle store accept'"
        setProblem("store-trust", "\(reason): nothing was removed and the store is not followed\(remedy)")
    }

    private func noteStore(failure: String?) {
        if let failure, isStoreReachable || storeFailure == nil {
            repeats.log(to: log, .warning, key: "store away", "the store does not answer", metadata: ["error": "\(failure)"])
        } else if failure == nil, !isStoreReachable {
            repeats.log(to: log, .info, key: "store here", "the store answers")
        }
        let isChange = isStoreReachable != (failure == nil)
        isStoreReachable = failure == nil
        if failure == nil { lastHeard = wallSeconds() }
        storeFailure = failure
        setProblem("store", failure.map { "the store does not answer: \($0)" })
        if isChange { viewChanged() }
    }

    // MARK: Applying

    private func replaceView(with snapshot: StoreSnapshot) async {
        // Nobody sees it half filled: nothing is awaited until it is whole.
        // At the start nobody's sign is known, and all count.
        let before = isHeardView ? view.alive : Set(view.nodes.keys)
        isHeardView = true
        view = ClusterView()
        setProblems(under: Self.objectTopic, [:])
        unreadable = []
        clusterModified = nil
        for entry in snapshot.entries {
            if entry.key == StoreKey.cluster { clusterModified = entry.modified }
            if let object = read(entry.key, entry.value) { _ = view.set(object) }
        }
        tellAll(aliveBefore: before)
        viewRevision = snapshot.revision
        concerns &+= 1
        // An accepted store may stand at an older revision than what was written to the one before.
        published = min(published, viewRevision)
        replica.write(snapshot, epoch: viewEpoch)
        await viewApplied([.everything])
    }

    private func apply(_ changes: [StoreChange], revision: Revision) async {
        var scopes: Set<ClusterView.Scope> = []
        for change in changes {
            switch change {
            case .put(let entry):
                if entry.key == StoreKey.cluster { clusterModified = entry.modified }
                if let object = read(entry.key, entry.value) { take(object, &scopes) }
            case .delete(let key, _):
                if let object = read(key, nil) { take(object, &scopes) }
            }
        }
        viewRevision = max(viewRevision, revision)
        if !changes.isEmpty { replica.write(changes, revision: revision) }
        await viewApplied(scopes)
    }

    private func take(_ object: ClusterView.Object, _ scopes: inout Set<ClusterView.Scope>) {
        if isConcerned(by: object) { concerns &+= 1 }
        scopes.insert(view.set(object))
        tell(object)
    }

    private func viewApplied(_ scopes: Set<ClusterView.Scope>) async {
        if let cluster = view.cluster { settings = Settings(vxlanPort: cluster.vxlanPort, vniBase: cluster.vniBase) }
        if problems[Self.unheardTopic] != nil || scopes.contains(.everything) { noteUnheard() }
        if scopes.contains(.everything) {
            remoteParts = [:]
            await reconciler.markAll()
        } else {
            for case .network(let id) in scopes {
                remoteParts[id] = nil
                if !local.endpoints(of: id).isEmpty { await reconciler.mark(.network(id)) }
                // Whose its address is by now, and the links' MTU.
                if local.endpoints[.host(me.id, id)] != nil { await reconciler.mark(.host) }
            }
        }
        viewChanged()
    }

    private static let objectTopic = "object "
    /// Unreadable keys that are named; of more it is only told that there are.
    private static let mostNamed = 100

    /// A junk entry harms nobody else: it is named and left out.
    private func read(_ key: String, _ value: [UInt8]?) -> ClusterView.Object? {
        do {
            let object = try ClusterView.Object(key: key, value: value)
            if unreadable.remove(key) != nil { setProblem(Self.objectTopic + key, nil) }
            return object
        } catch {
            unreadable.insert(key)
            if unreadable.count <= Self.mostNamed {
                setProblem(Self.objectTopic + key, "\(error)")
            } else {
                setProblem(Self.objectTopic, "more than \(Self.mostNamed) keys of the store are not what they promise; see those that are named")
            }
            return nil
        }
    }

    func isUnreadable(_ key: String) -> Bool { unreadable.contains(key) }

    // MARK: Writing

    /// For what needs the store's word. Throws when it must not or cannot be asked.
    func requireStore(_ operation: String) async throws {
        // Just started: the first attempt decides.
        _ = await wait(within: .seconds(5)) {
            !$0.isBringing && ($0.isStoreReachable || $0.storeFailure != nil || $0.distrust != nil)
        }
        guard !isBringing else {
            throw AgentError(
                .storeAway, operation, cause: "the cluster's store was replaced, and this node's part is not in the new one yet",
                remedy: "try again in a moment; see 'tulle status'")
        }
        // It may have come back within the pause between two attempts.
        if !isStoreReachable, distrust == nil { await tryStore() }
        if let distrust {
            throw AgentError(.storeRefused, operation, cause: distrust, remedy: "see 'tulle status'")
        }
        guard isStoreReachable else {
            throw AgentError(
                .storeAway, operation, cause: "the cluster's store does not answer (\(storeFailure ?? "not reached yet"))",
                remedy: "start the agent on the store's host or mend the network; see 'tulle status'")
        }
    }

    /// Commits and waits until the view shows it; nil when a condition failed. In a store that was emptied or replaced under way nothing is done.
    func commit(_ transaction: StoreTransaction, _ operation: String) async throws -> Revision? {
        let epoch = viewEpoch
        try await requireStore(operation)
        // It was made of a view that is over, of a store that was replaced meanwhile.
        guard viewEpoch == epoch else { return nil }
        do {
            let (seen, object) = (viewRevision, clusterModified)
            switch try await store.commit(inView(transaction)) {
            case .committed(let revision):
                // Another store, or an older one, was put in its place, and the watch has yet to notice: what it says counts for nothing.
                guard revision >= seen else {
                    throw AgentError(
                        .storeRefused, operation, cause: "the store went back in time (revision \(revision.number), was \(seen.number))",
                        remedy: "see 'tulle status'")
                }
                try await reach(revision)
                return revision
            case .conflict(.unchanged(key: StoreKey.cluster, since: _)), .conflict(.exists(key: StoreKey.cluster)):
                // A setting of the cluster was made, which the watch is about to tell; or the store was emptied or replaced.
                hurry()
                let isSame = await wait(within: .seconds(2)) {
                    $0.clusterModified != object && $0.viewEpoch == epoch && $0.distrust == nil && !$0.isBringing
                }
                if isSame { return nil }
                throw AgentError(
                    .storeAway, operation, cause: "the store has just been emptied or replaced", remedy: "try again in a moment; see 'tulle status'")
            case .conflict: return nil
            }
        } catch let error as StoreError {
            throw AgentError(.storeAway, operation, cause: "\(error)", remedy: "see 'tulle status'")
        }
    }

    /// Only in the store that the view is of: each epoch begins with a cluster's object at a revision that no former one had. Whoever replaces the store
    /// in place, while this node's watch has yet to notice, is not written to by what was decided before. When the object changed in
    /// this epoch, as it seldom does, the writer reads again.
    func inView(_ transaction: StoreTransaction) -> StoreTransaction {
        guard let clusterModified else { return transaction.inCluster }
        return StoreTransaction(
            conditions: transaction.conditions + [.unchanged(key: StoreKey.cluster, since: clusterModified)], operations: transaction.operations)
    }

    /// Reads an object from the store itself, changes it and writes it back if nobody else did in between.
    /// The change returns nil to leave it as it is.
    func rewrite<Value: Codable>(
        _ key: String, _ operation: String, attempts: Int = 8, _ change: (Value) -> Value?
    ) async throws {
        for _ in 0..<attempts {
            try await requireStore(operation)
            guard let entry = try await store.list(prefix: key).entries.first(where: { $0.key == key }),
                let value = change(try StoredJSON.read(Value.self, key, entry.value))
            else { return }
            let transaction = StoreTransaction(
                conditions: [.unchanged(key: key, since: entry.modified)],
                operations: [.put(key: key, value: try StoredJSON.encode(value, over: entry), lease: entry.lease)])
            if try await commit(transaction, operation) != nil { return }
        }
        throw AgentError(
            .storeAway, operation, cause: "the key \(key) changed each time it was to be written",
            remedy: "try again; if it persists, two agents fight over it: compare 'tulle nodes' on both")
    }
}

extension StoreTransaction {
    /// Only in a store that has the cluster's object: one that was emptied, with the same identity, acknowledges nothing.
    var inCluster: StoreTransaction { StoreTransaction(conditions: conditions + [.exists(key: StoreKey.cluster)], operations: operations) }
}
