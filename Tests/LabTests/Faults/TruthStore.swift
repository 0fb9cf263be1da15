/// The store's truth, read and written past the agents: of the agent that serves it, with the certificate of another node; or of etcd itself.
import Agent
import Fabric
import FoundationEssentials
import LocalAPI
import TestKit

struct TruthStore: Sendable {
    let kind: StoreKind
    /// What agents keep in etcd.
    private static let prefix = "/tulle/"

    struct Entry {
        let key: String
        let value: [UInt8]
    }

    /// The cluster as the store has it now.
    func view() async throws -> ClusterView {
        var view = ClusterView()
        for entry in try await list() {
            if let object = try ClusterView.Object(key: entry.key, value: entry.value) { _ = view.set(object) }
        }
        return view
    }

    func list(_ prefix: String = "") async throws -> [Entry] {
        switch kind {
        case .embedded:
            struct Answer: Decodable {
                struct Entry: Decodable {
                    let key: String
                    let value: String
                }
                let entries: [Entry]
            }
            let answer = try await ask("store/list", ["prefix": prefix], Answer.self)
            return answer.entries.map { Entry(key: $0.key, value: Array($0.value.utf8)) }
        case .etcd:
            struct Answer: Decodable {
                struct Pair: Decodable {
                    let key: Data
                    let value: Data?
                }
                let kvs: [Pair]?
            }
            let whole = Self.prefix + prefix
            let answer = try await etcd("kv/range", ["key": Self.base64(whole), "range_end": Self.base64(Self.end(of: whole))], Answer.self)
            return (answer.kvs ?? []).map {
                Entry(key: String(String(decoding: $0.key, as: UTF8.self).dropFirst(Self.prefix.count)), value: Array($0.value ?? Data()))
            }.filter { $0.key != "store" }
        }
    }

    /// In one transaction; nil deletes.
    func commit(_ changes: [(key: String, value: [UInt8]?)]) async throws {
        switch kind {
        case .embedded:
            struct Operation: Encodable {
                var put: String?
                var delete: String?
                var value: String?
            }
            struct Request: Encodable {
                let conditions: [String]
                let operations: [Operation]
            }
            struct Answer: Decodable { let committed: UInt64? }
            let operations = changes.map { change in
                change.value.map { Operation(put: change.key, value: String(decoding: $0, as: UTF8.self)) } ?? Operation(delete: change.key)
            }
            guard try await ask("store/commit", Request(conditions: [], operations: operations), Answer.self).committed != nil else {
                throw LabFailure("the store did not commit")
            }
        case .etcd:
            struct Request: Encodable {
                struct Operation: Encodable {
                    var requestPut: [String: String]?
                    var requestDeleteRange: [String: String]?
                }
                let success: [Operation]
            }
            let operations = changes.map { change in
                let key = Self.base64(Self.prefix + change.key)
                return change.value.map { Request.Operation(requestPut: ["key": key, "value": Data($0).base64EncodedString()]) }
                    ?? Request.Operation(requestDeleteRange: ["key": key])
            }
            _ = try await etcd("kv/txn", Request(success: operations), Nothing.self)
        }
    }

    /// All keys below a prefix at once: by etcd's range delete, or in one transaction.
    func deleteRange(_ prefix: String) async throws {
        switch kind {
        case .embedded: try await commit(try await list(prefix).map { ($0.key, nil) })
        case .etcd:
            let whole = Self.prefix + prefix
            _ = try await etcd("kv/deleterange", ["key": Self.base64(whole), "range_end": Self.base64(Self.end(of: whole))], Nothing.self)
        }
    }

    // MARK: The requests

    struct Nothing: Decodable {}

    /// Of whichever member answers.
    func etcd<Answer: Decodable>(_ path: String, _ body: some Encodable, _: Answer.Type, at only: LabHost? = nil) async throws -> Answer {
        var last = ""
        for host in only.map({ [$0] }) ?? hosts {
            do {
                return try JSONDecoder().decode(Answer.self, from: post(body, "http://\(host.address):2379/v3/\(path)", from: host))
            } catch { last = "\(error)" }
        }
        throw LabFailure("etcd: \(path): \(last)")
    }

    private func ask<Answer: Decodable>(_ path: String, _ body: some Encodable, _: Answer.Type) async throws -> Answer {
        // Each agent says where it is; the one that has it, "this node".
        for host in hosts where !host.hasEnded("agent") {
            guard let said = try? await host.agent.status().store.address else { continue }
            let place = said == "this node" ? "\(host.address):7940" : said
            return try JSONDecoder().decode(
                Answer.self, from: post(body, "-k --cert \(FaultLab.state)/node.pem https://\(place)/v1/\(path)", from: host))
        }
        throw LabFailure("no agent serves the store")
    }

    /// The body is too large for a command line.
    private func post(_ body: some Encodable, _ place: String, from host: LabHost) throws -> Data {
        let file = "request-\(UInt64.random(in: .min ... .max))"
        try Data(JSONEncoder().encode(body)).write(to: URL(filePath: "\(host.directory)/run/\(file)"))
        let answer = try host.sh("curl -sS --fail-with-body -m 10 --data @/run/\(file) \(place); status=$?; rm -f /run/\(file); exit $status")
        return Data(answer.utf8)
    }

    static func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }
    /// The first key after all with that prefix.
    static func end(of prefix: String) -> String { String(prefix.dropLast()) + String(UnicodeScalar((prefix.utf8.last ?? 0x2f) + 1)) }
}
