/// `tulle store export` and `import`: the store as a file, and a file as the store.
import Fabric
import LocalAPI
import Store

extension StoreMoving {
    /// All of the store at one revision.
    func export() async throws -> StoreBackup {
        let operation = "export the store"
        do {
            let identity = try await access.store.identity()
            let snapshot = try await access.store.list(prefix: "")
            return StoreBackup(
                cluster: identity.cluster, epoch: identity.epoch, revision: snapshot.revision.number, time: .now(),
                entries: snapshot.entries.filter { !$0.key.hasPrefix(StoreKey.alive) }.compactMap { entry in
                    String(validating: entry.value, as: UTF8.self).map { .init(key: entry.key, value: $0) }
                })
        } catch let error as StoreError {
            throw AgentError(.storeAway, operation, cause: "\(error)", remedy: "see 'tulle status'")
        }
    }

    func `import`(_ backup: StoreBackup) async throws -> StoreMoveReport {
        let operation = "import a store"
        let copy = try new.copy(of: backup, operation)
        let isOver = await access.isServed ? controller.distrust != nil : true
        guard isOver else {
            throw AgentError(.conflict, operation, cause: "this agent serves the cluster's store, and it is sound", remedy: "an import replaces a store that is lost or damaged")
        }
        try await expectStoreLost(operation)
        let silent = try await askOthers(operation).filter { $0.state == nil }.map(\.node)
        let last = max(backup.epoch, await controller.viewEpoch)
        guard case .external(let etcd, let location) = access else {
            await access.embedded?.close()
            StoreAccess.keepFormer(files)
            do { return try await begin(with: copy, after: last, from: "the file", silent: silent, operation) } catch {
                // The store as it was is served again.
                succession.beginAnew()
                throw error
            }
        }
        // etcd answers, and is empty.
        let identity = StoreIdentity(cluster: cluster, epoch: NewStore.epoch(after: last))
        try await fill(etcd, location, identity, copy, operation)
        return StoreMoveReport(cluster: cluster, epoch: identity.epoch, revision: copy.revision.number, source: "the file", place: location.description)
    }
}
