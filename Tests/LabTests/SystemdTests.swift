import Glibc
import LocalAPI
import TestKit
import Testing

/// `dist/systemd/tulle.service` as it is shipped, under a real systemd; only the paths of the programs are others.
@Suite("the systemd unit", .serialized, .needsLab, .lab("unit", agents: nil, options: ["--systemd"], prepare: installUnit))
struct SystemdTests {
    private func property(_ name: String, _ unit: String = "tulle", on host: LabHost = h1) throws -> String {
        try host.sh("systemctl show -P \(name) \(unit).service")
    }

    @Test("systemd takes the unit without a word of complaint, and the agent is active with it")
    func active() throws {
        for host in hosts {
            #expect(try property("ActiveState", on: host) == "active")
            #expect(try property("Type", on: host) == "notify")
        }
        let said = try h1.attempt("systemd-analyze verify /etc/systemd/system/tulle.service 2>&1 | grep tulle.service || true")
        #expect(said.output.isEmpty, "\(said.output)")
    }

    @Test("the agent is ready before the engine begins, when both are started at once")
    func order() throws {
        for host in hosts {
            let ready = try #require(Int(property("ActiveEnterTimestampMonotonic", on: host)))
            let engine = try #require(Int(property("ExecMainStartTimestampMonotonic", "docker", on: host)))
            #expect(ready > 0 && ready <= engine, "\(host)")
        }
    }

    @Test("containers reach each other under the unit's restrictions")
    func traffic() throws {
        let addresses = try Stage.all.flatMap { try [$0.address(on: Stage.network), $0.address6(on: Stage.network)] }
        #expect(try unreachablePairs(Stage.all, addresses: addresses) == [])
        for host in hosts { #expect(try host.docker("ps -q").lines.count == (host.number == 1 ? 2 : 1)) }
    }

    @Test("nothing is lost when the unit is restarted, stopped and started, or killed", arguments: [
        "systemctl restart tulle", "systemctl stop tulle; sleep 1; systemctl start tulle", "systemctl kill -s KILL tulle",
        "systemctl reload-or-restart tulle", "systemctl daemon-reexec; systemctl restart tulle",
    ])
    func restart(command: String) async throws {
        let out = try Pinger(from: Stage.web1, to: Stage.web2.address(on: Stage.network))
        let back = try Pinger(from: Stage.web3, to: Stage.web1.address6(on: Stage.network))
        let here = try Pinger(from: Stage.web1, to: Stage.beside.address(on: Stage.network))
        let before = try property("ExecMainPID")
        try h1.sh(command)
        try await eventually("a new agent serves", within: .seconds(20)) {
            guard try property("ExecMainPID") != before, try property("ActiveState") == "active" else { return false }
            return try await lab.isWhole()
        }
        try out.expectNoLoss()
        try back.expectNoLoss()
        try here.expectNoLoss()
        #expect(try await h1.agent.plan() == [])
        #expect(try await h1.metric("tulle_drift_repaired_total") == 0)
        #expect(try h1.sh("ls /run/netns").contains("tulle-"))
    }

    @Test("the namespace's pin is in the host's mount namespace, not in one of the unit's own")
    func pin() async throws {
        let namespace = try await h1.namespace(of: Stage.network)
        #expect(try h1.attempt("mountpoint -q /run/netns/\(namespace)").status == 0)
        #expect(try h1.sh("readlink /proc/1/ns/mnt") == h1.sh("readlink /proc/\(property("ExecMainPID"))/ns/mnt"))
    }

    @Test("the agent has no more privileges than the unit says")
    func privileges() throws {
        let status = try h1.sh("grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/\(property("ExecMainPID"))/status").labWords
        let words = status.joined(separator: " ").split { $0.isWhitespace }
        let capabilities = try #require(UInt64(words[1], radix: 16))
        let allowed: [UInt64] = [12, 13, 21]  // CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN
        #expect(capabilities & ~allowed.reduce(0) { $0 | 1 << $1 } == 0, "\(words)")
        #expect(words.suffix(4) == ["NoNewPrivs:", "1", "Seccomp:", "2"], "\(words)")
    }

    @Test("new containers start, and the way out is open, under the unit's restrictions")
    func newContainer() async throws {
        let container = try h2.runContainer("fresh", on: Stage.network, "-p 8081:80")
        try await container.mustReach(Stage.web1.address(on: Stage.network))
        try await Stage.web1.mustReach(h3.address, within: .seconds(10))
        try await Stage.web1.mustReach(h3.address6, within: .seconds(10))
        try container.remove()
    }

    @Test("an agent that follows a new store begins anew in its process: systemd sees a service that never ended, and no packet is lost")
    func beginAnew() async throws {
        let followers = [h2, h3]
        let before = try followers.map { try property("ExecMainPID", on: $0) }
        let pinger = try Pinger(from: Stage.web3, to: Stage.web2.address(on: Stage.network))
        try h1.sh("systemctl stop tulle")
        try lab.run(["tulle", "h2", "store", "promote"], within: .seconds(30))
        try await eventually("both have begun anew, with the new store", within: .seconds(20)) {
            for host in followers {
                guard let status = try? await host.agent.status(), status.store.epoch ?? 1 > 1, status.store.reachable else { return false }
            }
            return true
        }
        #expect(try followers.map { try property("ExecMainPID", on: $0) } == before)
        for host in followers {
            #expect(try property("ActiveState", on: host) == "active")
            #expect(try property("NRestarts", on: host) == "0")
        }
        try h1.sh("systemctl start tulle")
        try await eventually("the cluster is whole", within: .seconds(30)) { try await lab.isWhole() }
        // A service that has begun anew ends as any other.
        try h2.sh("systemctl stop tulle")
        #expect(try property("Result", on: h2) == "success")
        try h2.sh("systemctl start tulle")
        try await eventually("the cluster is whole", within: .seconds(30)) { try await lab.isWhole() }
        try pinger.expectNoLoss()
    }
}

/// On each host; h1 makes the cluster, the others find in their settings whom to join.
@Sendable private func installUnit(_ lab: Lab) async throws {
    let program = try lab.program()
    var token = ""
    for host in lab.hosts(LabTrait.hostCount) {
        let units = "\(host.directory)/etc/systemd/system"
        try lab.shell("""
            cp \(Lab.repository)/dist/systemd/tulle.service \(units)/ && mkdir -p \(units)/tulle.service.d
            printf '[Service]\\nExecStart=\\nExecStart=\(program) agent\\nEnvironment=PATH=%s\\n' "$PATH" >\(units)/tulle.service.d/path.conf
            printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >\(units)/docker.service
            printf '[Unit]\\nWants=docker.service tulle.service\\n' >\(units)/boot.target
            """)
        if host.number > 1 {
            try host.sh("umask 077; printf 'join: 192.168.99.1\\ntoken: \(token)\\n' >/etc/tulle/tulle.yaml")
        }
        // Both in one transaction, as at boot.
        try host.sh("systemctl daemon-reload; systemctl start boot.target")
        if host.number == 1 { token = try await host.agent.joinToken() }
    }
    try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
    try await Stage.prepare(lab)
}
