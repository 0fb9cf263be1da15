/// etcd with a member on each host, as the cluster's only store.
import TestKit
import Testing

enum EtcdMembers {
    /// What the first agent is given.
    static let url = "etcd://192.168.99.1:2379,192.168.99.2:2379,192.168.99.3:2379"

    /// - Parameter more: further flags; of one given twice etcd takes the last.
    static func start(on host: LabHost, _ more: [String] = []) throws {
        let peers = (1...LabTrait.hostCount).map { "h\($0)=http://192.168.99.\($0):2380" }.joined(separator: ",")
        try host.spawn("etcd", [
            "etcd", "--name", "\(host)", "--data-dir", "/var/lib/etcd", "--initial-cluster", peers,
            "--listen-client-urls", "http://\(host.address):2379", "--advertise-client-urls", "http://\(host.address):2379",
            "--listen-peer-urls", "http://\(host.address):2380", "--initial-advertise-peer-urls", "http://\(host.address):2380",
        ] + more)
    }

    /// One member that is all of etcd.
    static func startAlone(on host: LabHost) throws {
        try host.spawn("etcd", [
            "etcd", "--name", "\(host)", "--data-dir", "/var/lib/etcd",
            "--listen-client-urls", "http://\(host.address):2379", "--advertise-client-urls", "http://\(host.address):2379",
        ])
    }

    static func isServing(_ host: LabHost) throws -> Bool {
        try host.attempt("curl -sf -m 2 http://\(host.address):2379/health | grep -q true").status == 0
    }

    static func startAll(_ hosts: [LabHost], _ more: [String] = []) async throws {
        for host in hosts { try start(on: host, more) }
        for host in hosts { try await eventually("etcd on \(host) serves", within: .seconds(20)) { try isServing(host) } }
    }

    /// Before the first test: etcd, the cluster on it, a network with a container on each host.
    @Sendable static func prepare(_ lab: Lab) async throws {
        let hosts = lab.hosts(LabTrait.hostCount)
        try await startAll(hosts)
        try hosts[0].startAgent("--store \(url)")
        let token = try await hosts[0].agent.joinToken()
        // The others learn the store from the one that they join.
        for host in hosts.dropFirst() { try host.startAgent("--join \(hosts[0].address) --token \(token)") }
        try await eventually("the agents know each other", within: .seconds(20)) { try await lab.isWhole() }
        try await Stage.prepare(lab)
    }
}
