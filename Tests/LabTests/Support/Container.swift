/// A container of a test. Its program sleeps; tests run others in it.
import TestKit
import Testing

struct Container: Sendable, CustomStringConvertible {
    let host: LabHost
    let name: String

    var description: String { "\(name) (\(host))" }

    @discardableResult
    func exec(_ line: String, within limit: Duration = .seconds(40)) throws -> String {
        try host.docker("exec \(name) \(line)", within: limit)
    }
    @discardableResult
    func sh(_ script: String, within limit: Duration = .seconds(40)) throws -> String {
        try host.docker(["exec", name, "sh", "-c", script], within: limit)
    }
    func succeeds(_ script: String) throws -> Bool {
        try host.lab.attempt(["docker", "\(host)", "exec", name, "sh", "-c", script]).status == 0
    }

    /// Its addresses on a network, of which there may be one per family.
    func address(on network: String) throws -> String { try inspect(network, "IPAddress") }
    func address6(on network: String) throws -> String { try inspect(network, "GlobalIPv6Address") }
    func mac(on network: String) throws -> String { try inspect(network, "MacAddress") }
    private func inspect(_ network: String, _ field: String) throws -> String {
        try host.docker(["inspect", "-f", "{{(index .NetworkSettings.Networks \"\(network)\").\(field)}}", name])
    }

    /// Whether an answer comes within a second.
    func reaches(_ address: String) throws -> Bool { try succeeds("ping -q -c 1 -W 1 \(address)") }

    func mustReach(_ address: String, within limit: Duration = .seconds(3)) async throws {
        try await eventually("\(self) reaches \(address)", within: limit) { try reaches(address) }
    }

    /// The process id of its program, as the host counts.
    func pid() throws -> String { try host.docker(["inspect", "-f", "{{.State.Pid}}", name]) }
    func remove() throws { try host.docker("rm -f \(name)") }
}

extension LabHost {
    @discardableResult
    func createNetwork(_ name: String, _ options: String) throws -> String {
        try docker("network create -d tulle --ipam-driver tulle \(options) \(name)")
    }

    /// `docker run` of a container that sleeps.
    @discardableResult
    func runContainer(_ name: String, on network: String, _ options: String = "") throws -> Container {
        try docker(runLine(name, network, options))
        return Container(host: self, name: name)
    }
}

/// Process 1 ignores SIGTERM: without another signal each stop would take 10 s.
private func runLine(_ name: String, _ network: String, _ options: String) -> String {
    "run -d --stop-signal KILL --name \(name) --network \(network) \(options) lab sleep 3600"
}

/// The containers NAME1, NAME2, …, one on each of these hosts, started side by side.
func runEverywhere(_ name: String, on network: String, _ options: String = "", hosts: [LabHost]? = nil) async throws -> [Container] {
    let hosts = hosts ?? LabTests.hosts
    try await networkIsEverywhere(network, on: hosts)
    let started = try hosts.map { host in
        let container = Container(host: host, name: "\(name)\(host.number)")
        return (container, try host.lab.start("docker \(host) \(runLine(container.name, network, options))".labWords))
    }
    return try started.map { container, process in
        let result = try process.finish(within: .seconds(40))
        try #require(result.status == 0, "\(container): \(result.talk)")
        return container
    }
}

/// Waits until the engines have the network.
func networkIsEverywhere(_ network: String, on hosts: [LabHost]? = nil, within limit: Duration = .seconds(2)) async throws {
    let hosts = hosts ?? LabTests.hosts
    try await eventually("network \(network) is on \(hosts)", within: limit) {
        try hosts.allSatisfy { try $0.engineNetworks().contains(network) }
    }
}

/// Every pair of these containers, in both directions; those that failed.
///
/// Each has three tries of 3 s: a busy machine is not what is tested, and of many of Busybox's pings at once one misses its
/// answer now and then (on loopback too: 22 of 3,600).
func unreachablePairs(_ containers: [Container], addresses: [String]) throws -> [String] {
    // All at once: one that does not answer costs its own time, not everybody's.
    let ping = "ping -q -c 1 -W 3"
    let script = addresses.map { "(\(ping) \($0) || \(ping) \($0) || \(ping) \($0) || echo \($0) >&3) &" }.joined(separator: " ")
        + " wait"
    let running = try containers.map { container in
        let arguments = ["exec", container.name, "sh", "-c", "(\(script)) 3>&1 >/dev/null 2>&1"]
        return (container, try container.host.lab.start(["docker", "\(container.host)"] + arguments))
    }
    return try running.flatMap { container, process in
        try process.finish(within: .seconds(60)).output.lines.map { "\(container) -> \($0)" }
    }
}
