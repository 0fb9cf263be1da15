@testable import Agent
import Fabric
import FoundationEssentials
import HTTP
import Store
import Synchronization
import TestKit
import Testing

/// A store that answers, and not as it should: how often it is asked, what is logged, and how soon it is used when it is well again.
@Suite("a store in trouble", .timeLimit(.minutes(2)))
struct StoreTroubleTests {
    @Test("a store whose watches end, fail or miss at once is asked ever more rarely, and the log stays short", arguments: FaultyStore.Trouble.allCases)
    func watches(trouble: FaultyStore.Trouble) async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let docker = try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        _ = try await nodes[0].run("first", on: docker)
        let before = cluster.said.all.count
        cluster.store.set(trouble)
        try await eventually { cluster.store.troubledWatches.count >= 6 }
        let watches = cluster.store.troubledWatches
        // Pauses of 0.1 (or 0, where a steady watch ended), 0.2, 0.4, 0.8 and 1.6 s lie between them; a slow machine makes them longer only.
        #expect(watches[5] - watches[0] > .seconds(3))
        #expect(cluster.said.all.count - before < 10, "\(cluster.said.all)")
        // Containers start meanwhile, and what the store has is known when its watch is good again.
        _ = try await nodes[0].run("web", on: docker)
        cluster.store.set(nil)
        // The word of an attempt of this very moment would do for a refusal.
        try await eventually { bootSeconds() - (await nodes[0].controller.lastAttempt) > 0.3 }
        try await nodes[0].createNetwork("second", subnet: "10.33.0.0/16")
        await cluster.end()
    }

    @Test("a request that comes when the store is back is answered, though the next attempt to follow it is seconds away")
    func back() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let controller = nodes[0].controller
        cluster.store.isCut = true
        cluster.store.set(.fails)
        let start = await controller.attempts
        try await eventually { await controller.attempts >= start + 6 }
        await #expect(throws: AgentError.self) { try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16") }
        // The pause is 3.2 s at least by now.
        cluster.store.set(nil)
        cluster.store.isCut = false
        try await eventually(within: .seconds(2)) { bootSeconds() - (await controller.lastAttempt) > 0.3 }
        let asked = ContinuousClock.now
        try await nodes[0].createNetwork("shop", subnet: "10.32.0.0/16")
        #expect(.now - asked < .seconds(2))
        await cluster.end()
    }

    /// What stands in for an etcd: it knows the cluster's identity and object, and its watches are of no use.
    enum Etcd: String, CaseIterable {
        case error500, error503, junk, nothing, html, watchEnds, watchFails, watchJunk, watchCompacted

        func answer(_ request: HTTPRequest, cluster: String) -> HTTPResponse {
            func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }
            func entry(_ key: String, _ value: String) -> String {
                #"{"key":"\#(base64("/tulle/" + key))","value":"\#(base64(value))","create_revision":"2","mod_revision":"3"}"#
            }
            let header = #""header":{"cluster_id":"7","revision":"9"}"#
            switch self {
            case .error500: return .json(Array(#"{"error":"etcdserver: request timed out","code":14}"#.utf8), status: 500)
            case .error503: return .text("try later", status: 503)
            case .junk: return .json(Array(#"{"header":"#.utf8))
            case .nothing: return .json(Array("{}".utf8))
            case .html: return .text("<html>404</html>", status: 404)
            default: break
            }
            guard request.path.hasSuffix("/watch") else {
                let isIdentity = String(decoding: request.body, as: UTF8.self).contains(base64("/tulle/store"))
                let kept = isIdentity
                    ? entry("store", #"{"cluster":"\#(cluster)","epoch":1,"v":1}"#)
                    : entry("cluster", #"{"id":"\#(cluster)","vxlanPort":7941,"vniBase":1048576,"v":1}"#)
                return .json(Array("{\(header),\"kvs\":[\(kept)],\"count\":\"1\"}".utf8))
            }
            switch self {
            case .watchFails: return .json(Array(#"{"error":"etcdserver: no leader","code":14}"#.utf8), status: 503)
            case .watchJunk: return .json(Array("junk\njunk\n".utf8))
            case .watchCompacted: return .json(Array("{\"result\":{\(header),\"canceled\":true,\"compact_revision\":\"10\"}}\n".utf8))
            default: return .json(Array("{\"result\":{\(header),\"created\":true}}\n".utf8))
            }
        }
    }

    @Test("an etcd that answers with errors, nonsense or useless watches is asked a few times in as many seconds, and the log stays short", arguments: Etcd.allCases)
    func etcd(_ kind: Etcd) async throws {
        let cluster = try await TestCluster()
        let asked = Mutex(0)
        let server = try await HTTPServer.start(on: .tcp(host: "127.0.0.1", port: 0)) { [id = cluster.cluster] request in
            asked.withLock { $0 += 1 }
            return kind.answer(request, cluster: id)
        }
        let member = try await cluster.start(1, on: try EtcdStore(EtcdLocation(parsing: "etcd://\(server.address)")))
        let start = ContinuousClock.now
        try await eventually(within: .seconds(30)) { await member.controller.attempts >= 6 }
        #expect(.now - start > .seconds(3))
        // Of an attempt: identity, list, where the watch begins, the watch; beside them the node's registration, which fails once a second.
        let seconds = Int((ContinuousClock.now - start).components.seconds) + 1
        #expect(asked.withLock { $0 } <= 6 * 4 + 4 * seconds, "in \(seconds) s")
        #expect(cluster.said.all.count <= 2 + 2 * seconds, "\(cluster.said.all)")
        #expect(await !member.controller.problems.isEmpty)
        await cluster.end()
        await server.stop()
    }

    @Test("a lease that is lost as soon as it is granted is asked for once a second, not as fast as the store answers")
    func leases() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        // The sign of life is renewed each 5 s: one that is gone is granted anew, and that fails too.
        try await eventually { try await !cluster.store.list(prefix: StoreKey.alive).entries.isEmpty }
        let sign = try await cluster.store.list(prefix: StoreKey.alive).entries.first?.lease
        cluster.store.losesLeases = true
        let before = cluster.store.grants
        try await cluster.store.revokeLease(try #require(sign))
        try await eventually(within: .seconds(20)) { cluster.store.grants >= before + 3 }
        let problem = await nodes[0].controller.problems["registration"]
        #expect(problem?.contains("lease") == true)
        #expect(cluster.store.grants <= before + 5)
        cluster.store.losesLeases = false
        try await eventually { await nodes[0].controller.problems["registration"] == nil }
        await cluster.end()
    }
}
