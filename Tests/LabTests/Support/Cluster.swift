/// Agents: started as a cluster, asked over their local API, waited for.
import LocalAPI
import TestKit
import Testing

extension Lab {
    /// The first host makes the cluster, the others join; returns when each knows all.
    func startCluster(arguments: String = "") async throws {
        let all = hosts(LabTrait.hostCount)
        try all[0].startAgent("\(LabStore.arguments) \(arguments)")
        let token = try await all[0].agent.joinToken()
        for host in all.dropFirst() { try host.startAgent("--join \(all[0].address) --token \(token) \(arguments)") }
        try await eventually("the agents know each other", within: .seconds(10)) { try await self.isWhole() }
    }

    /// Each agent sees every node alive, and has its store and its engine.
    func isWhole() async throws -> Bool {
        for host in hosts(LabTrait.hostCount) {
            let status = try await host.agent.status()
            guard status.cluster?.nodesAlive == LabTrait.hostCount, status.store.reachable, status.lease.state == .held,
                status.docker?.reachable ?? true
            else { return false }
        }
        return true
    }

    /// Removes all containers and networks, and waits until that is so everywhere.
    func clear() async throws {
        let all = hosts(LabTrait.hostCount)
        for host in all {
            if host.hasEnded("dockerd") { try run(["docker-start", "\(host)"], within: .seconds(60)) }
            if host.hasEnded("agent") { try host.startAgent() }
        }
        try await eventually("the cluster is whole again", within: .seconds(20)) { try await self.isWhole() }
        try await eventually("nothing is left of the test before", within: .seconds(20)) {
            for host in all {
                let containers = try host.docker("ps -aq").lines
                if !containers.isEmpty { try host.docker(["rm", "-f"] + containers) }
            }
            for host in all {
                for network in try host.engineNetworks() { try host.docker("network rm \(network)") }
            }
            for host in all {
                guard try host.engineNetworks().isEmpty, try await host.agent.networks().isEmpty,
                    try await host.agent.endpoints().isEmpty
                else { return false }
            }
            return true
        }
    }

    func saveLogs(in place: String) throws {
        for host in hosts(LabTrait.hostCount) {
            let target = "\(place)/\(name)-\(host)"
            try shell("mkdir -p \(target) && cp \(host.directory)/*.log \(target)/")
        }
    }
}

extension LocalClient {
    /// What other hosts join with.
    func joinToken() async throws -> String { try await createToken(TokenRequest(ttl: 3600)).token }
}

extension LabHost {
    /// Its agent's local API.
    var agent: LocalClient { LocalClient(socket: "\(directory)/run/tulle/tulle.sock", timeout: .seconds(5)) }

    func hasEnded(_ daemon: String) -> Bool { (try? exitStatus(daemon)) != nil }

    /// Names of the Tulle networks that its engine has.
    func engineNetworks() throws -> [String] {
        try docker(["network", "ls", "--filter", "driver=tulle", "--format", "{{.Name}}"]).lines
    }

    func network(_ name: String) async throws -> NetworkReport? { try await agent.networks().first { $0.name == name } }

    /// The network's namespace on this host.
    func namespace(of network: String) async throws -> String {
        let id = try #require(try await self.network(network)?.id, "\(self) has no network \(network)")
        return "tulle-" + id.filter { $0 != "-" }.prefix(12)
    }

    /// A script in a network's namespace.
    @discardableResult
    func sh(in namespace: String, _ script: String) throws -> String {
        try lab.run(["exec", "\(self)", "ip", "netns", "exec", namespace, "sh", "-c", script]).trimmed
    }

    /// The sum of a metric over the samples whose labels contain all those given.
    func metric(_ name: String, _ labels: [String: String] = [:]) async throws -> Double {
        try await agent.metrics().lines.filter { line in
            line.hasPrefix("\(name){") || line.hasPrefix("\(name) ")
        }.filter { line in
            labels.allSatisfy { line.contains("\($0)=\"\($1)\"") }
        }.reduce(0) { $0 + (Double($1.split(separator: " ").last ?? "") ?? 0) }
    }
    func dropped(_ reason: String) async throws -> Double {
        try await metric("tulle_dropped_packets_total", ["reason": reason])
    }
}
