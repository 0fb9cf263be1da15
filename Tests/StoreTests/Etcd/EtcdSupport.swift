import HTTP
@testable import Store
import TestKit
import Testing

/// Why tests with a real etcd are skipped.
let needsEtcd: Comment = "there is no etcd on PATH: install the package etcd-server, or run scripts/test as root, which unpacks it"

/// A one-member etcd with a founded store.
func withEtcd(
    flags: [String] = [], patience: EtcdPatience = EtcdPatience(), _ body: (EtcdProcess, EtcdStore) async throws -> Void
) async throws {
    let process = try await EtcdProcess.single(flags)
    defer { process.stop() }
    let store = try process.store(patience: patience)
    _ = try await store.found(.new())
    try await body(process, store)
}

extension EtcdProcess {
    func store(_ prefix: String = "", user: String = "", patience: EtcdPatience = EtcdPatience()) throws -> EtcdStore {
        try EtcdStore(EtcdLocation(parsing: "etcd://\(user)\(address)\(prefix)"), patience: patience)
    }

    /// As etcdctl would ask, beside the store.
    @discardableResult
    func ask(_ path: String, _ body: String, token: String? = nil) async throws -> EtcdAnswer {
        let answer = try await HTTPClient(address).send(
            HTTPRequest("POST", path, fields: EtcdRequest.fields(token: token), body: Array(body.utf8)), timeout: .seconds(5))
        guard answer.status == 200 else { throw EtcdFailure(status: answer.status, body: answer.body) }
        return try EtcdAnswer(answer.body)
    }

    @discardableResult
    func put(_ key: [UInt8], _ value: [UInt8]) async throws -> UInt64 {
        let body = EtcdRequest.object { object in
            object.add("key", key)
            object.add("value", value)
        }.finished
        return try await ask("/v3/kv/put", String(decoding: body, as: UTF8.self)).header.revision
    }

    @discardableResult
    func deleteRange(below prefix: String) async throws -> EtcdAnswer {
        let body = EtcdRequest.object { EtcdKeyRange(below: prefix).add(to: &$0) }.finished
        return try await ask("/v3/kv/deleterange", String(decoding: body, as: UTF8.self))
    }
}

/// Three members and a store that was told of all.
func withCluster(
    _ bootstrap: EtcdProcess.Bootstrap = .list, patience: EtcdPatience = EtcdPatience(),
    _ body: ([EtcdProcess], EtcdStore) async throws -> Void
) async throws {
    let members = try await EtcdProcess.cluster(bootstrap)
    defer { for member in members { member.stop() } }
    let hosts = members.map(\.address.description).joined(separator: ",")
    let store = try EtcdStore(EtcdLocation(parsing: "etcd://\(hosts)"), patience: patience)
    _ = try await store.found(.new())
    try await body(members, store)
}
