/// `tulle authority take`: another node signs certificates.
import Fabric
import LocalAPI
import Logging
import Store

extension StoreMoving {
    /// This node signs from now on. What the one before signed is good until it ends.
    func takeAuthority() async throws -> AuthorityReport {
        let operation = "take the certificate authority over"
        try await controller.requireStore(operation)
        let me = controller.identity.node
        let view = await controller.view
        guard view.cluster?.isSealed == true else {
            throw AgentError(.storeRefused, operation, cause: "agents of version 0.1 are in the cluster still", remedy: "upgrade them first")
        }
        guard view.authority?.node != me else {
            throw AgentError(.invalid, operation, cause: "this node is where it is: it has it", remedy: "run it on another node, when this one is lost")
        }
        let entries = try await access.store.list(prefix: StoreKey.authorities).entries
        let object = try new.authority(operation)
        let old = try entries.map { ($0, try NewStore.retired($0)) }.filter { $0.0 != $0.1 }
        let transaction = StoreTransaction(
            conditions: old.map { .unchanged(key: $0.0.key, since: $0.0.modified) },
            operations: old.map { .put(key: $0.1.key, value: $0.1.value, lease: nil) }
                + [.put(key: StoreKey.authority(object.fingerprint), value: try StoredJSON.encode(object), lease: nil)])
        guard try await controller.commit(transaction, operation) != nil else {
            throw AgentError(.conflict, operation, cause: "another node took it at this moment", remedy: "see 'tulle nodes'; try again if need be")
        }
        succession.log.notice("this node has the cluster's certificate authority now", metadata: ["fingerprint": "\(object.fingerprint)"])
        succession.beginAnew()
        return AuthorityReport(node: await controller.me.name, fingerprint: object.fingerprint)
    }
}
