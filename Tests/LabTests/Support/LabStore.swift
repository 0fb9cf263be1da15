/// Which store the lab's clusters have: that of their first agent, or, with TULLE_LAB_STORE=etcd, an etcd on the underlay that is no host of theirs,
/// so that no fault of a host is one of the store's.
import Glibc
import HTTP
import TestKit
import Testing

enum LabStore {
    static let isEtcd = getenv("TULLE_LAB_STORE").map { String(cString: $0) } == "etcd"
    /// Where it is: the bridge between the hosts.
    static let url = "etcd://192.168.99.254:2379"

    /// What the agent that makes the cluster is given besides.
    static var arguments: String { isEtcd ? "--store \(url)" : "" }

    /// An etcd that ends with the object; nil where the agents have the store.
    static func start(in lab: Lab) async throws -> LabProcess? {
        guard isEtcd else { return nil }
        let place = "http://192.168.99.254:2379", peer = "http://192.168.99.254:2380"
        let process = try lab.start([
            "exec", "net", "sh", "-c", "exec etcd \"$@\" >\(lab.directory)/etcd.log 2>&1", "etcd", "--name", "one", "--data-dir", "\(lab.directory)/etcd",
            "--listen-client-urls", place, "--advertise-client-urls", place, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", "one=\(peer)",
        ])
        try await eventually("etcd serves", within: .seconds(20)) {
            try lab.attempt(["exec", "net", "curl", "-sf", "-m", "2", "\(place)/health"]).output.contains("true")
        }
        return process
    }
}

extension Trait where Self == ConditionTrait {
    /// For what makes no sense where no agent has the store.
    static func needsEmbeddedStore(_ why: String) -> Self { .enabled(if: !LabStore.isEtcd, "with etcd as the store: \(why)") }
}
