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
        guard let former = try await controller.acceptable(operation) else {
            succession.log.notice("the store is believed: there is nothing to accept")
            return StoreMoveReport(
                cluster: cluster, epoch: await controller.viewEpoch, revision: await controller.viewRevision.number, source: "the store", place: access.description)
        }
        guard access.locator == nil else {
            throw AgentError(
                .invalid, operation, cause: "another node's agent serves the store", remedy: "run it on \(await servingNode()); or, if that host is not to serve it any more, 'tulle store promote' here")
        }
        let newest = try await newestCopy(operation)
        let last = await max(former.epoch, controller.viewEpoch)
        guard case .external(let etcd, let location) = access else {
            await access.embedded?.close()
            return try await begin(with: newest.copy, after: last, from: newest.source, silent: newest.silent, operation)
        }
        let next = StoreIdentity(cluster: cluster, epoch: NewStore.epoch(after: last))
        do {
            let isThere: Bool
            do { isThere = try await etcd.identity() == former } catch let error as StoreError where error.code == .missing { isThere = false }
            guard try await isThere ? etcd.succeed(former, by: next, without: StoreKey.cluster) : etcd.found(next) == next else {
                throw AgentError(.conflict, operation, cause: "another node did so at this moment", remedy: "nothing needs to be done: this node follows")
            }
            // What is left of the former; without the cluster's object nobody takes it for a store.
            let rest = try await etcd.list(prefix: "").entries
            for start in stride(from: 0, to: rest.count, by: Leaving.part) {
                let part = rest[start..<min(start + Leaving.part, rest.count)]
                _ = try await etcd.commit(StoreTransaction(operations: part.map { .delete(key: $0.key) }))
            }
        } catch let error as StoreError {
            throw AgentError(.storeAway, operation, cause: "\(error)", remedy: "mend that and try again")
        }
        try await fill(etcd, location, next, newest.copy, operation)
        await controller.hurry()
        return StoreMoveReport(
            cluster: cluster, epoch: next.epoch, revision: newest.copy.revision.number, source: newest.source, place: location.description,
            silent: newest.silent.map(\.name))
    }
}
