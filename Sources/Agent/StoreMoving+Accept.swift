/// `tulle store accept`: the cluster's store was emptied, or went back in time, and there is no better one. It begins its next epoch where it is, with the newest
/// copy that a living node has. So what agents and kernels have stays as it is, no packet is lost, and all nodes follow by themselves: each brings in what
/// the copy lacks, and until all were heard nobody takes what looks free.
import Fabric
import LocalAPI
import Logging
import Store

extension StoreMoving {
    func accept() async throws -> StoreMoveReport {
        let operation = "accept the store"
        guard let former = try await former(operation) else {
            succession.log.notice("the store is believed: there is nothing to accept")
            return StoreMoveReport(
                cluster: cluster, epoch: await controller.viewEpoch, revision: await controller.viewRevision.number, source: "the store", place: access.description)
        }
        guard access.locator == nil else {
            throw AgentError(
                .invalid, operation, cause: "another node's agent serves the store",
                remedy: "run it on \(await servingNode()); or, if that host is not to serve it any more, 'tulle store promote' here")
        }
        // Begun by an earlier try, or by another node that may be at it still.
        let isUnfinished = await former.epoch > controller.viewEpoch
        let newest = try await newestCopy(operation)
        let last = await max(former.epoch, controller.viewEpoch)
        guard max(last, newest.copy.revision.number) <= NewStore.mostEpoch else {
            throw AgentError(.invalid, operation, cause: "the copy's revision or epoch is none", remedy: "run it on another node")
        }
        // All that could refuse the copy, before anything is undone.
        _ = try new.renewed(newest.copy, former, storeNode: nil, operation)
        guard case .external(_, let location) = access else {
            await access.embedded?.close()
            StoreAccess.keepFormer(files)
            do { return try await begin(with: newest.copy, after: last, from: newest.source, silent: newest.silent, operation) } catch {
                // The store as it was is served again.
                succession.beginAnew()
                throw error
            }
        }
        // A client of its own: the watch's looks at the identity would let what was decided here into the next one's store.
        let etcd = try StoreAccess.etcd(location, succession.configuration)
        let next = StoreIdentity(cluster: cluster, epoch: NewStore.epoch(after: last))
        do {
            var present: StoreIdentity?
            do { present = try await etcd.identity() } catch let error as StoreError where error.code == .missing {}
            guard present == nil || present == former,
                try await etcd.succeed(present, by: next, without: StoreKey.cluster, isUnfinished: isUnfinished)
            else {
                throw AgentError(.conflict, operation, cause: "another node did so at this moment", remedy: "nothing needs to be done: this node follows")
            }
            // What is left of the former; without the cluster's object nobody takes it for a store.
            let rest = try await etcd.list(prefix: "").entries
            for start in stride(from: 0, to: rest.count, by: Leaving.part) {
                let part = rest[start..<min(start + Leaving.part, rest.count)]
                _ = try await etcd.commit(StoreTransaction(operations: part.map { .delete(key: $0.key) }))
            }
        } catch let error as StoreError {
            throw AgentError(.storeAway, operation, cause: "\(error)", remedy: Self.again)
        }
        try await fill(etcd, location, next, newest.copy, operation, remedy: Self.again)
        await controller.hurry()
        return StoreMoveReport(
            cluster: cluster, epoch: next.epoch, revision: newest.copy.revision.number, source: newest.source, place: location.description,
            silent: newest.silent.map(\.name))
    }

    private static let again = "run 'tulle store accept' again, and delete nothing by hand; see 'tulle status'"

    /// The store in whose place the next epoch is to begin; nil: there is nothing to accept.
    private func former(_ operation: String) async throws -> StoreIdentity? {
        if let former = try await controller.acceptable(operation) { return former }
        // A host that was put back as a whole, with its own copy, believes its store; the others have seen more of it.
        guard let embedded = access.embedded else { return nil }
        let (identity, now) = (await embedded.identity(), try await embedded.list(prefix: StoreKey.cluster).revision)
        let isBehind = try await askOthers(operation).contains { $0.state.map { $0.epoch == identity.epoch && $0.revision > now } ?? false }
        return isBehind ? identity : nil
    }
}
