/// The stage on which faults happen: three hosts, one network with containers on each, and agents with a short lease and clocks
/// that a test moves. The embedded store's host has its state on a small disk of its own, so that it can be full.
import Agent
import LocalAPI
import TestKit
import Testing

enum StoreKind: String, CaseIterable, Sendable { case embedded, etcd }

enum FaultLab {
    /// Seconds; an agent uses nine tenths.
    static let lease = 20
    private static let settings = "lease: \(lease)s\nforget-after: 1h\n"
    /// Bytes that etcd may keep, so that it can be full.
    static let etcdQuota = 24 << 20
    static let etcdFlags = ["--quota-backend-bytes=\(etcdQuota)", "--max-txn-ops=1024"]
    static let clockFile = "/run/test-clock"
    static let state = "/var/lib/tulle"

    @Sendable static func prepareEmbedded(_ lab: Lab) async throws { try await prepare(lab, .embedded) }
    @Sendable static func prepareEtcd(_ lab: Lab) async throws { try await prepare(lab, .etcd) }

    private static func prepare(_ lab: Lab, _ kind: StoreKind) async throws {
        let hosts = lab.hosts(LabTrait.hostCount)
        FaultSettings.say("faults: STORE=\(kind) SEED=\(FaultSettings.seed)")
        for host in hosts {
            try host.sh("mkdir -p /etc/tulle \(state) && printf '\(settings)' >/etc/tulle/tulle.yaml")
            try host.setClock(boot: 0, wall: 0)
        }
        try hosts[0].sh("mount -t tmpfs -o size=32m,mode=700 tulle \(state)")
        if kind == .etcd { try await EtcdMembers.startAll(hosts, etcdFlags) }
        try await hosts[0].startTestAgent(kind == .etcd ? "--store \(EtcdMembers.url)" : "")
        for host in hosts.dropFirst() { try await host.joinAsTest(hosts[0]) }
        try await eventually("the agents know each other", within: .seconds(20)) { try await lab.isWhole() }
        try await Stage.prepare(lab)
    }

    /// After a case that failed: whatever is still broken is mended as far as that can be done, so that the next one says something.
    static func recover(_ kind: StoreKind) async throws {
        for host in hosts {
            for daemon in ["agent", "etcd"] where !host.hasEnded(daemon) { try? host.stop(daemon, "CONT") }
            try lab.run(["link", "\(host)", "up"])
            try host.sh("nft delete table inet fault 2>/dev/null; rm -f \(state)/fill \(state)/fill2")
            try host.setWallClock(0)
            if kind == .etcd, host.hasEnded("etcd") { try EtcdMembers.start(on: host, etcdFlags) }
        }
        for host in hosts where host.hasEnded("agent") { try await host.startTestAgent() }
        try await eventually("the cluster is whole", within: .seconds(40)) { try await lab.isWhole() }
        let stage = Set(Stage.all.map(\.description))
        for host in hosts {
            for name in try host.docker(["ps", "-a", "--format", "{{.Names}}"]).lines where !stage.contains("\(name) (\(host))") {
                try host.docker("rm -f \(name)")
            }
        }
        for network in try h1.engineNetworks() where network != Stage.network { _ = try? h1.docker("network rm \(network)") }
    }
}

extension LabHost {
    /// Starts the agent with clocks that `setClock` moves, and waits until it answers.
    func startTestAgent(_ arguments: String = "") async throws {
        let command = ["env", "\(AgentClock.variable)=\(FaultLab.clockFile)", try lab.program(), "agent"]
        try spawn("agent", command + arguments.labWords)
        try await eventually("the agent on \(self) answers", within: .seconds(20)) {
            guard !hasEnded("agent") else { throw LabFailure("it ended: \(try log().suffix(600))") }
            _ = try await agent.status()
            return true
        }
    }
    func joinAsTest(_ member: LabHost) async throws {
        try await startTestAgent("--join \(member.address) --token \(member.agent.joinToken())")
    }
    /// If it has ended.
    func startTestAgentAgain() async throws {
        if hasEnded("agent") { try await startTestAgent() }
    }

    /// Seconds that the agent's clocks differ from the machine's.
    func setClock(boot: Int, wall: Int) throws {
        // In one step: the agent may read it at any moment.
        try sh("printf 'tulle-test-clock \(boot) \(wall)' >\(FaultLab.clockFile).new && mv \(FaultLab.clockFile).new \(FaultLab.clockFile)")
    }
    /// CLOCK_BOOTTIME never goes back while a machine runs.
    func addToClock(boot: Int) throws {
        let words = try sh("cat \(FaultLab.clockFile)").labWords
        try setClock(boot: (Int(words.dropFirst().first ?? "") ?? 0) + boot, wall: 0)
    }
    /// The wall clock goes there and back, and stays there at the end.
    func spawnJumps(of seconds: Int) throws {
        let boot = try sh("cat \(FaultLab.clockFile)").labWords.dropFirst().first ?? "0"
        let file = FaultLab.clockFile
        try spawn("jumps", ["sh", "-c", """
            for wall in \(seconds) 0 \(seconds) 0 \(seconds) 0 \(seconds); do sleep 0.5
            printf "tulle-test-clock \(boot) $wall" >\(file).new && mv \(file).new \(file); done
            """])
    }
    func setWallClock(_ seconds: Int) throws {
        let words = try sh("cat \(FaultLab.clockFile)").labWords
        try setClock(boot: Int(words.dropFirst().first ?? "") ?? 0, wall: seconds)
    }
}
