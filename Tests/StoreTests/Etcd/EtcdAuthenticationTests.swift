@testable import Store
import TestKit
import Testing

@Suite(.serialized, .timeLimit(.minutes(2)), .enabled(if: EtcdProcess.isAvailable, needsEtcd))
struct EtcdAuthenticationTests {
    /// An etcd with users root and agent, each with their name as password; agent may use the prefix only.
    private func withUsers(_ body: (EtcdProcess) async throws -> Void) async throws {
        try await withEtcd(flags: ["--bcrypt-cost=4"]) { process, _ in
            let prefix = EtcdRequest.object { permission in
                permission.add("permType", constant: "READWRITE")
                EtcdKeyRange(below: "/tulle/").add(to: &permission)
            }
            let permission = String(decoding: prefix.finished, as: UTF8.self)
            for (path, request) in [
                ("role/add", #"{"name":"root"}"#), ("role/add", #"{"name":"tulle"}"#), ("role/grant", #"{"name":"tulle","perm":\#(permission)}"#),
                ("user/add", #"{"name":"root","password":"root"}"#), ("user/add", #"{"name":"agent","password":"agent"}"#),
                ("user/grant", #"{"user":"root","role":"root"}"#), ("user/grant", #"{"user":"agent","role":"tulle"}"#), ("enable", "{}"),
            ] { try await process.ask("/v3/auth/" + path, request) }
            try await body(process)
        }
    }

    @Test("user and password open the store; without them, or with wrong ones, it says what to do")
    func users() async throws {
        try await withUsers { process in
            let store = try process.store(user: "agent:agent@")
            let start = try await store.write(.put("a"))
            var reader = await WatchReader(store, after: start)
            let end = try await store.write(.put("b", lease: try await store.grantLease(seconds: 60)))
            #expect(try await reader.changes(upTo: end).count == 1)

            let nobody = await expectError(.permission) { _ = try await process.store().list(prefix: "") }
            #expect(nobody?.remedy.contains("USER:PASSWORD") == true)
            for user in ["agent:wrong@", "agent@", "nobody:agent@"] {
                let error = await expectError(.permission) { _ = try await process.store(user: user).list(prefix: "") }
                #expect(error?.description.contains("wrong@") == false && error?.remedy.contains("user") == true)
            }
            let error = await expectError(.permission) { _ = try await process.store("/other", user: "agent:agent@").list(prefix: "") }
            #expect(error?.remedy.contains("role") == true)
            await expectError(.permission) {
                for try await _ in try process.store("/other", user: "agent:agent@").watch(prefix: "", after: .zero) {}
            }
        }
    }

    @Test("a token that etcd has forgotten is replaced, also in the midst of fifty calls")
    func stale() async throws {
        try await withUsers { process in
            let store = try process.store(user: "agent:agent@")
            try await store.write(.put("a"))
            // Its tokens are in memory.
            process.stop()
            try await process.restart()
            try await eventually("the store is there again") { (try? await store.list(prefix: "")) != nil }
            process.stop()
            try await process.restart()
            let counts = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<50 { group.addTask { try await obtain("a list") { try await store.list(prefix: "").entries.count } } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(counts == Array(repeating: 1, count: 50))
            try await store.write(.put("a"))
        }
    }

    @Test("a user for an etcd that wants none does no harm")
    func needless() async throws {
        try await withEtcd { process, _ in
            let store = try process.store(user: "agent:agent@")
            try await store.write(.put("a"))
            #expect(try await store.list(prefix: "").entries.count == 1)
        }
    }
}
