/// What a watch asks of the very member that it is at.
extension EtcdClient {
    /// The cluster's present revision, which this member has reached. Fails at a member that hangs or has no leader.
    func revision(at endpoint: EtcdEndpoint, _ names: EtcdNames, _ operation: String, _ timeout: Duration) async throws -> UInt64 {
        let body = EtcdRequest.range(EtcdKeyRange(names.identityKey), limit: 1, keysOnly: true).finished
        return try await exchange(endpoint, EtcdRequest.Path.range, body, operation, timeout, isRepeatable: true).header.revision
    }

    /// A revision at which these keys were as at an older one; nil if they differ, or the older one is not known any more.
    ///
    /// Nothing was modified or created since if none has a later modification; then nothing was deleted if as many are there as then.
    func difference(
        in keys: EtcdKeyRange, since: UInt64, at endpoint: EtcdEndpoint, _ operation: String, _ timeout: Duration
    ) async throws -> UInt64? {
        // An etcd without history is at revision 1; 0 would mean the present.
        let then = max(since, 1)
        let body = EtcdRequest.transaction(
            success: [
                EtcdRequest.operation(
                    range: EtcdRequest.range(keys, limit: 1, modifiedFrom: then + 1, keysOnly: true)),
                EtcdRequest.operation(range: EtcdRequest.range(keys, at: then, countOnly: true)),
            ])
        let answer: EtcdAnswer
        do {
            answer = try await exchange(endpoint, EtcdRequest.Path.transaction, body, operation, timeout, isRepeatable: true)
        } catch let attempt as Attempt where attempt.error.cause.contains("has been compacted") {
            return nil
        }
        guard answer.responses.count == 2 else { return nil }
        let (now, before) = (answer.responses[0], answer.responses[1])
        return now.entries.isEmpty && now.count == before.count ? answer.header.revision : nil
    }
}
