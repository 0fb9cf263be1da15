/// Turns what a cluster remembers into what version 0.1 would have left, while its agents are stopped: a shared secret, and nothing of certificates.
import Agent
import Store
import TestKit
import Testing

enum OldState {
    /// The first host has the store. Containers and their networks stay as they are.
    static func make(on hosts: [LabHost]) async throws -> ClusterToken {
        let secret = ClusterToken.new()
        for host in hosts {
            try host.lab.shell("rm -f \(host.directory)/lib/tulle/*.pem")
            let table = try LocalTable(path: "\(host.directory)/lib/tulle/agent.db", create: false)
            try table.put("membership", try without(["isSealed"], of: #require(try table.value("membership")), adding: ["token": .string(secret.text)]))
            try table.sync()
        }
        let first = try #require(hosts.first)
        let store = try await EmbeddedStore.open(path: "\(first.directory)/lib/tulle/store.db", create: false)
        var operations: [StoreOperation] = []
        for entry in try await store.list(prefix: "").entries {
            switch entry.key {
            case "cluster": operations.append(.put(key: entry.key, value: try without(["isSealed"], of: entry.value), lease: nil))
            case let key where key.hasPrefix("nodes/"):
                operations.append(.put(key: key, value: try without(["fingerprint"], of: entry.value), lease: entry.lease))
            case let key where key.hasPrefix("tokens/") || key.hasPrefix("authorities/"): operations.append(.delete(key: key))
            default: break
            }
        }
        _ = try await store.commit(StoreTransaction(operations: operations))
        await store.close()
        return secret
    }

    /// An object of the stopped store, or of a copy of a running one.
    private static func without(_ names: [String], of value: [UInt8], adding new: [String: JSONTree] = [:]) throws -> [UInt8] {
        guard case .object(var fields) = try StoredJSON.decode(JSONTree.self, value) else { throw LabFailure("it is no object") }
        for name in names { fields[name] = nil }
        return try StoredJSON.encode(JSONTree.object(fields.merging(new) { $1 }))
    }
}
