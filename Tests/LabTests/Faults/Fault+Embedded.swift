/// The embedded store, on the first host: it comes back as it was long ago, empty, as another cluster's, or its disk is full;
/// its history is too short for who was away.
///
/// `Saved` keeps copies of its file beside it.
import Agent
import Fabric
import LocalAPI
import Store
import TestKit
import Testing

extension Fault {
    static let embeddedStores = [older, olderAccepted, emptied, anothers, diskFull, historyLost]

    private static let older = Fault(
        name: "store-older", stores: [.embedded], parts: [.host(1), .store], refuses: [1], lasts: .seconds(3), within: .seconds(20),
        inject: { _ in
            try Saved.swap {
                try Saved.copy(to: "old")
            }
            try await h1.startTestAgent()
            try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
            // What the old file does not know.
            try h1.createNetwork("late", "--subnet 10.99.0.0/24")
            try await networkIsEverywhere("late", within: .seconds(10))
            _ = try await runEverywhere("late", on: "late", hosts: [h2, h3])
            try Saved.swap {
                try Saved.copy(to: "newest")
                try Saved.restore("old")
            }
            try await h1.startTestAgent()
            try await Saved.expectRefusal("went back in time")
        },
        meanwhile: { _ in
            for host in hosts { #expect(try host.engineNetworks().contains("late")) }
            try await Saved.expectNothingPlanned()
            let (a, b) = (Container(host: h2, name: "late2"), Container(host: h3, name: "late3"))
            try await a.mustReach(b.address(on: "late"))
        },
        heal: { scene in
            try Saved.swap { try Saved.restore("newest") }
            try await h1.startTestAgent()
            scene.mending.mark()
            try await eventually("the store is believed", within: .seconds(20)) { try await lab.isWhole() }
            for (host, name) in [(h2, "late2"), (h3, "late3")] { try host.docker("rm -f \(name)") }
            try await eventually("the network is removed", within: .seconds(20)) { (try? h2.docker("network rm late")) != nil }
        })

    /// Nobody has the newest; a person says that the old one counts.
    private static let olderAccepted = Fault(
        name: "store-older-accepted", stores: [.embedded], parts: [.host(1), .store], refuses: [1, 2, 3], lasts: .seconds(2), within: .seconds(30),
        inject: { _ in
            try Saved.swap { try Saved.copy(to: "old") }
            try await h1.startTestAgent()
            try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
            try h2.runContainer("young", on: Stage.network)
            try await eventually("h3 knows of it") { try await h3.agent.endpoints().contains { $0.container == "young" } }
            try Saved.swap { try Saved.restore("old") }
            try await h1.startTestAgent()
            try await Saved.expectRefusal("went back in time")
        },
        heal: { scene in
            let elsewhere = try lab.attempt(["tulle", "h2", "store", "accept"])
            #expect(elsewhere.status == 1 && elsewhere.talk.contains("run it on h1"), "\(elsewhere.talk)")
            try h1.tulle("store accept")
            scene.mending.mark()
            try await eventually("the cluster is whole", within: .seconds(30)) { try await lab.isWhole() }
            let young = Container(host: h2, name: "young")
            try await eventually("what the old one did not know is known again", within: .seconds(10)) {
                try await h3.agent.endpoints().contains { $0.container == "young" }
            }
            try await Stage.web3.mustReach(young.address(on: Stage.network))
            try young.remove()
        })

    private static let emptied = refusedAtStart("store-emptied", "the file is empty") {
        try h1.sh(": >\(FaultLab.state)/store.db; rm -f \(FaultLab.state)/store.db-*")
    }

    private static let anothers = refusedAtStart("store-of-another-cluster", "another cluster") {
        let path = "\(h1.directory)/run/another.db"
        let store = try await EmbeddedStore.open(path: path, create: true)
        _ = try await store.commit(StoreTransaction(operations: [.put(key: "cluster", value: Array("{}".utf8), lease: nil)]))
        await store.close()
        try h1.sh("rm -f \(FaultLab.state)/store.db-*; cp /run/another.db \(FaultLab.state)/store.db && rm /run/another.db*")
    }

    /// The agent with the store does not start with such a file, and leaves it as it is.
    private static func refusedAtStart(
        _ name: String, _ cause: String, spoil: @escaping @Sendable () async throws -> Void
    ) -> Fault {
        Fault(
            name: name, stores: [.embedded], parts: [.host(1), .store], refuses: [1], lasts: .seconds(3), within: .seconds(20),
            inject: { _ in
                try Saved.swap { try Saved.copy(to: "newest") }
                try await spoil()
                let sum = try h1.sh("md5sum <\(FaultLab.state)/store.db")
                let refusal = try h1.tulleAttempt("agent")
                #expect(refusal.status == 1)
                #expect(refusal.talk.contains("store.db") && refusal.talk.contains(cause), "\(refusal.talk)")
                #expect(try h1.sh("md5sum <\(FaultLab.state)/store.db") == sum)
            },
            heal: { _ in
                try Saved.restore("newest")
                try await h1.startTestAgent()
            })
    }

    private static let diskFull = Fault(
        name: "store-disk-full", stores: [.embedded], parts: [.host(1), .store], refuses: [1, 2, 3], lasts: .seconds(5), within: .seconds(20),
        inject: { _ in
            for (name, size) in [("fill", "64k"), ("fill2", "512")] {
                try h1.sh("dd if=/dev/zero of=\(FaultLab.state)/\(name) bs=\(size) 2>/dev/null || true")
            }
        },
        meanwhile: { _ in
            // Somewhere its users are told, with the reason.
            let refusal = try h2.dockerRefuses("network create -d tulle --ipam-driver tulle --subnet 10.98.0.0/24 never")
            #expect(refusal.contains("full") || refusal.contains("disk") || refusal.contains("room"), "\(refusal)")
        },
        heal: { _ in try h1.sh("rm -f \(FaultLab.state)/fill \(FaultLab.state)/fill2") })

    /// More changes than the store remembers while one agent stands still: its watch is missed, and it lists again.
    private static let historyLost = Fault(
        name: "history-lost", stores: [.embedded], parts: [.host(2), .store], refuses: [2], lasts: .seconds(1), within: .seconds(20),
        inject: { scene in
            try h2.stop("agent", "STOP")
            for round in 0..<36 { try await scene.truth.commit(DeadNodes.leases(count: 500, UInt64(round))) }
            try await scene.truth.deleteRange(StoreKey.leases + DeadNodes.mark)
        },
        heal: { _ in try h2.stop("agent", "CONT") })
}

/// Copies of the store's file, which is whole when its agent has ended.
enum Saved {
    private static func path(_ name: String) -> String { "/var/lib/saved-\(name).db" }

    /// Ends the agent, then does that.
    static func swap(_ body: () throws -> Void) throws {
        if !h1.hasEnded("agent") { try h1.stopAgent() }
        try body()
    }
    static func copy(to name: String) throws {
        try h1.sh("test ! -s \(FaultLab.state)/store.db-wal && cp \(FaultLab.state)/store.db \(path(name))")
    }
    static func restore(_ name: String) throws {
        try h1.sh("rm -f \(FaultLab.state)/store.db-*; cp \(path(name)) \(FaultLab.state)/store.db")
    }

    /// Whatever is thought of the store, nothing is touched.
    static func expectNothingPlanned() async throws {
        for host in hosts { #expect(try await host.agent.plan() == [], "\(host)") }
    }

    static func expectRefusal(_ reason: String) async throws {
        for host in hosts {
            try await eventually("\(host) refuses it", within: .seconds(20)) {
                try await host.agent.status().problems.contains { $0.contains(reason) && $0.contains("tulle store accept") }
            }
        }
    }
}
