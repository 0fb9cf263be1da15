/// Knows every container of every engine, every allocation of the store and every row of the kernels, and says where they contradict each other: nothing, when all is
/// well. (S1: one address, one container, and the address is its node's; S2: what was acknowledged is there; S3: the kernels hold what
/// the store says.)
import Addressing
import Agent
import Fabric
import LocalAPI
import TestKit

struct Checker: Sendable {
    let truth: TruthStore

    /// - Parameters:
    ///   - acknowledged: containers that somebody was told they run.
    ///   - networks: likewise.
    ///   - skipped: hosts of which nothing is asked now.
    func differences(acknowledged: [Container], networks: [String], except skipped: Set<Int> = []) async throws -> [String] {
        let asked = hosts.filter { !skipped.contains($0.number) }
        // All at once: each takes a while.
        let looks = try asked.map { host in (host, try lab.start(["exec", "\(host)", "sh", "-c", Self.engineScript + "\n" + KernelText.script])) }
        let view = try await truth.view()
        var found: [String] = []
        var all: [(host: LabHost, node: NodeObject, endpoint: EngineEndpoint)] = []
        for (host, process) in looks {
            let result = try process.finish(within: .seconds(30))
            guard result.status == 0 else { throw LabFailure("\(host): \(result.talk)") }
            guard let node = view.nodes.values.first(where: { $0.name == "\(host)" }) else {
                found.append("\(host): no node in the store")
                continue
            }
            let lines = result.output.lines
            let endpoints = lines.compactMap { Self.endpoint($0) }
            all += endpoints.map { (host, node, $0) }
            let kernel = KernelText.observed(lines.filter { !$0.hasPrefix("engine ") })
            let expected = KernelText.expected(view, me: node.id, endpoints)
            found += expected.subtracting(kernel).sorted().map { "\(host): S3: missing \($0)" }
            found += kernel.subtracting(expected).sorted().map { "\(host): S3: too much \($0)" }
            let engine = Set(lines.filter { $0.hasPrefix("engine network ") }.map { String($0.dropFirst(15)) })
            let wanted = Set(view.live.filter { $0.state == .active }.compactMap(\.name))
            if engine != wanted { found.append("\(host): its engine has the networks \(engine.sorted()), the store \(wanted.sorted())") }
            for name in networks where !wanted.contains(name) { found.append("S2: network \(name) was acknowledged and is not there") }
            found += try await state(of: host)
        }
        found += allocations(all, view, everywhere: skipped.isEmpty)
        let running = Set(all.map { "\($0.endpoint.container) (\($0.host))" })
        found += acknowledged.filter { !skipped.contains($0.host.number) && !running.contains($0.description) }
            .map { "S2: \($0) was acknowledged and does not run" }
        return found
    }

    /// What the agent itself thinks is amiss.
    private func state(of host: LabHost) async throws -> [String] {
        let status = try await host.agent.status()
        var found = status.problems.map { "\(host): problem: \($0)" }
        found += try await host.agent.plan().map { "\(host): plan: \($0.namespace): \($0.steps)" }
        if status.lease.state != .held { found.append("\(host): its lease is \(status.lease.state)") }
        if !status.store.reachable { found.append("\(host): its store is away") }
        return found
    }

    private func allocations(
        _ all: [(host: LabHost, node: NodeObject, endpoint: EngineEndpoint)], _ view: ClusterView, everywhere: Bool
    ) -> [String] {
        var found: [String] = []
        var holders: [String: String] = [:]
        var record: [String: EndpointObject] = [:]
        for (_, endpoints) in view.endpoints {
            for endpoint in endpoints.values { record[endpoint.id.description] = endpoint }
        }
        for (host, node, endpoint) in all {
            let name = "\(endpoint.container) (\(host))"
            for key in endpoint.addresses.map(\.description) + [endpoint.mac] {
                let place = "\(endpoint.network) \(key)"
                if let other = holders.updateValue(name, forKey: place) { found.append("S1: \(place) is \(other)'s and \(name)'s") }
            }
            if let network = view.network(name: endpoint.network) {
                for address in endpoint.addresses {
                    let holder = view.holder(of: address, in: network)
                    if holder != node.id { found.append("S1: \(name) has \(address), which is \(holder.flatMap { view.nodes[$0]?.name } ?? "nobody")'s") }
                }
            }
            guard let kept = record.removeValue(forKey: endpoint.id.description) else {
                found.append("S2: the store has no endpoint of \(name)")
                continue
            }
            if kept.node != node.id || Set(kept.addresses) != Set(endpoint.addresses) || "\(kept.mac)" != endpoint.mac {
                found.append("the store's endpoint of \(name) is \(kept)")
            }
        }
        if everywhere { found += record.values.map { "the store has an endpoint of no container: \($0.name ?? $0.id.description) \($0.addresses)" } }
        return found
    }

    // MARK: What the engines say

    /// A line for each network of ours and for each attachment of a running container.
    static let engineScript = """
        docker -H unix:///run/docker.sock network ls --filter driver=tulle --format 'engine network {{.Name}}' || exit
        ids=$(docker -H unix:///run/docker.sock ps -q --no-trunc) || exit
        [ -z "$ids" ] || docker -H unix:///run/docker.sock inspect -f \
        '{{$c := .Name}}{{range $n, $e := .NetworkSettings.Networks}}engine endpoint {{$c}} {{$n}} {{$e.EndpointID}} {{$e.MacAddress}} {{$e.IPAddress}} {{$e.GlobalIPv6Address}}
        {{end}}' $ids
        """

    static func endpoint(_ line: String) -> EngineEndpoint? {
        let words = line.labWords
        // (Without an endpoint's id and MAC it is not attached: it has just ended.)
        guard words.count >= 7, words[0] == "engine", words[1] == "endpoint", words[3] != "bridge", words[3] != "none" else { return nil }
        return EngineEndpoint(
            container: String(words[2].drop { $0 == "/" }), network: words[3], id: EndpointID(words[4]), addresses: words[6...].compactMap { IPAddress($0) },
            mac: words[5])
    }
}
