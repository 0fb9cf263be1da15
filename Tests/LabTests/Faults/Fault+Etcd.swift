/// etcd as the store, with a member on each host: members die or stand still, one is replaced, the history is compacted, the
/// disk is full, or it comes back as something else.
import Agent
import Fabric
import FoundationEssentials
import LocalAPI
import TestKit
import Testing

extension Fault {
    static let etcds = [
        lost("etcd-member-killed", [2]), lost("etcd-majority-killed", [2, 3]), frozenMembers("etcd-member-frozen", [1]),
        frozenMembers("etcd-majority-frozen", [1, 2]), memberReplaced, compacted, etcdFull, etcdEmptied, etcdAnothers, etcdOlder,
    ]

    /// kill -9. Without a majority leases end.
    private static func lost(_ name: String, _ numbers: [Int]) -> Fault {
        Fault(
            name: name, stores: [.etcd], parts: [.store], lasts: .seconds(8), within: .seconds(20),
            inject: { _ in for number in numbers { try lab.host(number).stop("etcd", "KILL") } },
            heal: { _ in for number in numbers { try await Members.start(lab.host(number)) } })
    }

    private static func frozenMembers(_ name: String, _ numbers: [Int]) -> Fault {
        let isMajority = numbers.count > 1
        return Fault(
            name: name, stores: [.etcd], parts: [.store], refuses: isMajority ? [1, 2, 3] : [],
            lasts: .seconds(isMajority ? FaultLab.lease + 2 : 6), within: .seconds(30),
            inject: { _ in for number in numbers { try lab.host(number).stop("etcd", "STOP") } },
            heal: { _ in
                for number in numbers { try lab.host(number).stop("etcd", "CONT") }
                for host in hosts { try await Members.serves(host) }
            })
    }

    /// One member and its data are lost for good: it is taken out, and an empty one comes in its place, at the same address.
    private static let memberReplaced = Fault(
        name: "etcd-member-replaced", stores: [.etcd], parts: [.store], lasts: .seconds(3), within: .seconds(20), isShort: true,
        inject: { scene in
            try h3.stop("etcd", "KILL")
            try h3.sh("rm -rf /var/lib/etcd")
            // It may have been the leader, and without one a change of members is not refused but lost.
            try await Members.serves(h1)
            let gone = try await #require(Members.list(scene).first { $0.name == "h3" })
            _ = try await scene.truth.etcd("cluster/member/remove", ["ID": gone.ID], TruthStore.Nothing.self, at: h1)
            _ = try await scene.truth.etcd("cluster/member/add", ["peerURLs": ["http://\(h3.address):2380"]], TruthStore.Nothing.self, at: h1)
        },
        heal: { _ in
            try EtcdMembers.start(on: h3, FaultLab.etcdFlags + ["--initial-cluster-state=existing"])
            try await Members.serves(h3)
        })

    /// While an agent stands still and hears nothing.
    private static let compacted = Fault(
        name: "etcd-compacted", stores: [.etcd], parts: [.host(2), .store], refuses: [2], lasts: .seconds(1), within: .seconds(20),
        inject: { scene in
            try h2.stop("agent", "STOP")
            for round in 0..<3 { try await scene.truth.commit(DeadNodes.leases(count: 100, UInt64(round))) }
            try await scene.truth.deleteRange(StoreKey.leases + DeadNodes.mark)
            try await Members.compact(scene)
        },
        heal: { _ in try h2.stop("agent", "CONT") })

    private static let etcdFull = Fault(
        name: "etcd-disk-full", stores: [.etcd], parts: [.store], refuses: [1, 2, 3], lasts: .seconds(4), within: .seconds(30),
        inject: { scene in try await Members.fill(scene) },
        meanwhile: { _ in
            let refusal = try h2.dockerRefuses("network create -d tulle --ipam-driver tulle --subnet 10.98.0.0/24 never")
            #expect(refusal.contains("space exceeded") && refusal.contains("etcdctl alarm disarm"), "\(refusal)")
        },
        heal: { scene in try await Members.makeRoom(scene) })

    /// All keys are gone; a person says, on one node, that it is the cluster's.
    private static let etcdEmptied = Fault(
        name: "etcd-emptied", stores: [.etcd], parts: [.host(1), .host(2), .host(3), .store], refuses: [1, 2, 3], lasts: .seconds(3), within: .seconds(30),
        inject: { scene in
            _ = try await scene.truth.etcd("kv/deleterange", ["key": "AA==", "range_end": "AA=="], TruthStore.Nothing.self)
            for host in hosts {
                try await eventually("\(host) refuses it", within: .seconds(20)) {
                    try await host.agent.status().problems.contains { $0.contains("tulle store accept") }
                }
            }
        },
        meanwhile: { _ in try await Saved.expectNothingPlanned() },
        heal: { scene in
            try h3.tulle("store accept")
            scene.mending.mark()
            try await eventually("the cluster is whole", within: .seconds(30)) { try await lab.isWhole() }
        })

    /// The key that says whose store it is says another.
    private static let etcdAnothers = Fault(
        name: "etcd-of-another-cluster", stores: [.etcd], parts: [.store], refuses: [1, 2, 3], lasts: .seconds(3), within: .seconds(20),
        inject: { scene in
            try await Members.claim(scene, "11111111-2222-4333-8444-555555555555")
            for host in hosts {
                try await eventually("\(host) does not believe it", within: .seconds(20)) { try await !host.agent.status().problems.isEmpty }
                #expect(try await host.agent.plan() == [])
            }
        },
        heal: { scene in
            let status = try await h1.agent.status()
            try await Members.claim(scene, #require(status.cluster?.id), epoch: status.store.epoch ?? 1)
        })

    /// All members come back with the data of a while ago.
    private static let etcdOlder = Fault(
        name: "etcd-older", stores: [.etcd], parts: [.host(1), .host(2), .host(3), .store], refuses: [1, 2, 3], lasts: .seconds(3), within: .seconds(30),
        isShort: true,
        inject: { _ in
            try await Members.swap("cp -a /var/lib/etcd /var/lib/etcd-old")
            try await eventually("the cluster is whole", within: .seconds(30)) { try await lab.isWhole() }
            // So that it has come further on.
            try h2.runContainer("young", on: Stage.network)
            try await eventually("h3 knows of it", within: .seconds(10)) { try await h3.agent.endpoints().contains { $0.container == "young" } }
            try await Members.swap("mv /var/lib/etcd /var/lib/etcd-newest; mv /var/lib/etcd-old /var/lib/etcd")
            try await Saved.expectRefusal("went back in time")
        },
        meanwhile: { _ in try await Saved.expectNothingPlanned() },
        heal: { scene in
            try await Members.swap("rm -rf /var/lib/etcd; mv /var/lib/etcd-newest /var/lib/etcd")
            scene.mending.mark()
            try await eventually("the cluster is whole", within: .seconds(30)) { try await lab.isWhole() }
            try h2.docker("rm -f young")
        })
}
