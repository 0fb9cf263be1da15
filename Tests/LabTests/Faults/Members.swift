/// What a person does with etcd's members: its own commands, over the JSON gateway.
import FoundationEssentials
import TestKit
import Testing

enum Members {
    struct Member: Decodable {
        let ID: String
        let name: String?
    }

    static func start(_ host: LabHost) async throws {
        try EtcdMembers.start(on: host, FaultLab.etcdFlags)
        try await serves(host)
    }
    static func serves(_ host: LabHost) async throws {
        try await eventually("etcd on \(host) serves", within: .seconds(30)) { try EtcdMembers.isServing(host) }
    }

    static func list(_ scene: FaultScene) async throws -> [Member] {
        struct Answer: Decodable { let members: [Member] }
        return try await scene.truth.etcd("cluster/member/list", [String: String](), Answer.self, at: h1).members
    }

    /// All end, each host does that, all start.
    static func swap(_ script: String) async throws {
        for host in hosts { try host.stop("etcd", "KILL") }
        for host in hosts { try host.sh(script) }
        for host in hosts { try EtcdMembers.start(on: host, FaultLab.etcdFlags) }
        for host in hosts { try await serves(host) }
    }

    static func revision(_ scene: FaultScene) async throws -> String {
        struct Answer: Decodable {
            struct Header: Decodable { let revision: String }
            let header: Header
        }
        return try await scene.truth.etcd("kv/range", ["key": "AA=="], Answer.self).header.revision
    }

    static func compact(_ scene: FaultScene) async throws {
        _ = try await scene.truth.etcd("kv/compaction", ["revision": revision(scene)], TruthStore.Nothing.self)
    }

    /// Writes beside the cluster's keys until etcd takes no more.
    static func fill(_ scene: FaultScene) async throws {
        let value = TruthStore.base64(String(repeating: "x", count: 700_000))
        for number in 0..<100 {
            do {
                _ = try await scene.truth.etcd("kv/put", ["key": TruthStore.base64("/fill/\(number)"), "value": value], TruthStore.Nothing.self, at: h1)
            } catch {
                if "\(error)".contains("space") { return }
                throw error
            }
        }
        throw LabFailure("etcd did not become full")
    }

    /// As its manual says: delete, compact, defragment, disarm.
    static func makeRoom(_ scene: FaultScene) async throws {
        struct Alarm: Encodable {
            var action = "DEACTIVATE"
            var memberID: String
            var alarm = "NOSPACE"
        }
        _ = try await scene.truth.etcd(
            "kv/deleterange", ["key": TruthStore.base64("/fill/"), "range_end": TruthStore.base64("/fill0")], TruthStore.Nothing.self)
        try await compact(scene)
        for host in hosts { _ = try await scene.truth.etcd("maintenance/defragment", [String: String](), TruthStore.Nothing.self, at: host) }
        for member in try await list(scene) {
            _ = try await scene.truth.etcd("maintenance/alarm", Alarm(memberID: member.ID), TruthStore.Nothing.self)
        }
    }

    /// Writes whose store it is, and of which epoch.
    static func claim(_ scene: FaultScene, _ cluster: String, epoch: UInt64 = 1) async throws {
        let value = #"{"cluster":"\#(cluster)","epoch":\#(epoch),"v":1}"#
        _ = try await scene.truth.etcd(
            "kv/put", ["key": TruthStore.base64("/tulle/store"), "value": TruthStore.base64(value)], TruthStore.Nothing.self)
    }
}
