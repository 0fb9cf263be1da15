/// A cluster store for the engines, as Docker had it before version 23: etcd on the first host, and every engine restarted with it.
import TestKit
import Testing

enum ClusterStore {
    static let dockerArguments = ["--cluster-store=etcd://192.168.99.1:2379", "--cluster-advertise=eth0:2376"]

    static func start(on host: LabHost) throws {
        let place = "http://\(host.address):2379"
        try host.spawn("etcd", [
            "etcd", "--enable-v2=true", "--data-dir", "/var/lib/etcd", "--listen-client-urls", place, "--advertise-client-urls", place,
        ])
        try host.sh("curl -sS --fail --retry 50 --retry-delay 0 --retry-connrefused --max-time 10 -o /dev/null \(place)/version")
    }

    /// Before the first test: etcd, the engines with it, and agents whose settings say so.
    @Sendable static func prepare(_ lab: Lab) async throws {
        let hosts = lab.hosts(LabTrait.hostCount)
        try start(on: hosts[0])
        for (host, process) in try hosts.map({ ($0, try lab.start(["docker-restart", "\($0)"] + dockerArguments)) }) {
            let result = try process.finish(within: .seconds(90))
            try #require(result.status == 0, "\(host): \(result.talk)")
        }
        for host in hosts { try host.sh("mkdir -p /etc/tulle && echo 'scope: global' >/etc/tulle/tulle.yaml") }
        try await lab.startCluster()
    }

    static let isPossible: Bool = {
        let process = try? LabProcess(["sh", "-c", "command -v etcd >/dev/null && dockerd --version"])
        guard let said = try? process?.finish(within: .seconds(10)), said.status == 0,
            let number = said.output.labWords.first(where: { $0.first?.isNumber ?? false }),
            let major = Int(number.prefix { $0.isNumber })
        else { return false }
        return major < 23
    }()
}

extension Trait where Self == ConditionTrait {
    static var needsClusterStore: Self {
        .enabled(
            if: ClusterStore.isPossible,
            "it needs etcd and an engine that can have a cluster store: Docker before version 23, such as Debian 12's docker.io")
    }
}
