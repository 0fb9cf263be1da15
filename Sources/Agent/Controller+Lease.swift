/// The node's own objects in the store: itself, its sign of life, its right to allocate.
import Fabric
import Store

extension Controller {
    /// Seconds of the sign of life.
    private static let aliveTerm = 15

    /// Registers the node and keeps its lease and sign of life until cancelled.
    package func keepRegistered() async {
        var sign: LeaseID?
        var nextLease = 0.0
        while !Task.isCancelled {
            if isStoreReachable, distrust == nil, view.cluster != nil {
                do {
                    // While its part is being brought into a new store it only holds its lease.
                    if !isBringing {
                        do { try await register() } catch let error as AgentError where error.code == .conflict {
                            isRefused = true
                            throw error
                        }
                        isRefused = false
                    }
                    if bootSeconds() >= nextLease {
                        try await renewLease()
                        nextLease = bootSeconds() + Double(terms.lease) / 4
                    }
                    // Somebody may have deleted it and left its lease.
                    sign = try await renewSign(isBringing || view.alive.contains(me.id) ? sign : nil)
                    lastHeard = wallSeconds()
                    setProblem("registration", nil)
                } catch let error as StoreError where error.code == .leaseNotFound && sign != nil {
                    // Not twice in a row: a lease that is lost as soon as it is granted is a fault as any other.
                    sign = nil
                    continue
                } catch {
                    setProblem("registration", "\(error)")
                }
            }
            let isUpdateWanted = !isBringing && view.nodes[identity.node] != me
            // At once when the view or the node's own data changed in a way that concerns this.
            let isSlow = !isStoreReachable || problems["registration"] != nil
            let pause = isSlow ? 1_000 : isUpdateWanted ? 250 : 1_000 * Self.aliveTerm / 3
            _ = await wait(within: .milliseconds(pause)) {
                $0.view.nodes[$0.identity.node] != $0.me && !isUpdateWanted && $0.isStoreReachable
            }
        }
        // The goodbye: others see at once that this node's agent has ended. In a task of its own, for this one is cancelled.
        guard let sign else { return }
        let store = self.store
        await withCheckedContinuation { continuation in
            Task.detached(priority: .medium) {
                try? await store.revokeLease(sign)
                continuation.resume()
            }
        }
    }

    /// The store's node object is this agent's, so this agent may speak for the node.
    package var isRegistered: Bool { view.nodes[identity.node]?.instance == identity.instance }

    private func register() async throws {
        if let doubled { throw doubled }
        guard !isRemoved else { throw Self.removedError("register this node") }
        let key = StoreKey.node(identity.node)
        guard let present = view.nodes[identity.node] else {
            let taken = view.nodes.values.first { $0.name == me.name && $0.id != me.id }
            if let taken, view.alive.contains(taken.id) {
                throw AgentError(
                    .conflict, "register this node", cause: "the name \(me.name) is taken by node \(taken.id) at \(taken.agent)",
                    remedy: "start this agent with another --node-name")
            }
            try lineage.add(me.instance)
            _ = try await commit(
                StoreTransaction(
                    conditions: [.absent(key: key)],
                    operations: [.put(key: key, value: try StoredJSON.encode(me), lease: nil)]),
                "register this node")
            return
        }
        guard present != me else { return }
        if present.instance != me.instance { try refuseDouble(present) }
        try lineage.add(me.instance)
        let (mine, known) = (me, lineage)
        try await rewrite(key, "update this node") { (old: NodeObject) in
            old == mine || old.removed != nil || !known.has(old.instance) ? nil : mine
        }
        doubleSince = nil
    }

    /// Two agents with one identity would give the same addresses. A sign of life from another address may also be our own last one, after a crash and a
    /// change of address: that ends by itself. Whoever was told once that another lives stays out, also when that one pauses.
    private func refuseDouble(_ present: NodeObject) throws {
        let isKnown = lineage.has(present.instance)
        let isElsewhere = present.agent != me.agent && view.alive.contains(me.id)
        guard !isKnown || isElsewhere else { return }
        let error = AgentError(
            .conflict, "register this node",
            cause: "an agent with the same identity \(me.id) \(isElsewhere ? "runs" : "ran") at \(present.agent)",
            remedy: "if this machine was cloned, or its state directory is an old copy, stop this agent, run 'tulle reset' and join again")
        let since = doubleSince ?? bootSeconds()
        doubleSince = since
        if !isKnown || bootSeconds() - since > Double(Self.aliveTerm) + 5 { doubled = error }
        throw error
    }

    private func renewLease() async throws {
        let key = StoreKey.lease(identity.node)
        let sent = bootSeconds()
        let entry = try await store.list(prefix: key).entries.first { $0.key == key }
        let count = try entry.map { try StoredJSON.read(LeaseObject.self, key, $0.value).count } ?? 0
        let value = LeaseObject(node: identity.node, count: count &+ 1, term: terms.lease)
        let transaction = StoreTransaction(
            conditions: [entry.map { .unchanged(key: key, since: $0.modified) } ?? .absent(key: key)],
            operations: [.put(key: key, value: try StoredJSON.encode(value, over: entry), lease: nil)])
        guard case .committed = try await store.commit(transaction.inCluster) else { return }
        try lease.renewed(sent: sent)
        viewChanged()
    }

    private func renewSign(_ sign: LeaseID?) async throws -> LeaseID {
        if let sign {
            try await store.renewLease(sign)
            return sign
        }
        let fresh = try await store.grantLease(seconds: Self.aliveTerm)
        _ = try await store.commit(
            StoreTransaction(operations: [
                .put(
                    key: StoreKey.alive(identity.node), value: Array(#"{"instance":"\#(identity.instance)","v":1}"#.utf8),
                    lease: fresh)
            ]))
        return fresh
    }
}
