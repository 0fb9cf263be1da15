/// What the agent counts (`GET /metrics`).
import Fabric
import Synchronization
package import Telemetry

final class AgentMetrics: Sendable {
    let registry = Metrics()
    private let drifts: Counter
    private let failures: Counter
    private let calls: Histogram
    private let errors: Counter
    private let packets: Counter
    private let lookups: Counter
    private let total = Atomic<Int>(0)

    init() {
        drifts = registry.counter(
            "tulle_drift_repaired_total", "Changes that somebody else made to the kernel and that were undone.", labels: ["kind"])
        failures = registry.counter("tulle_kernel_failures_total", "Steps that the kernel refused.", labels: ["namespace"])
        calls = registry.histogram("tulle_plugin_call_seconds", "Docker's plugin requests: time to the answer.", labels: ["call"])
        errors = registry.counter("tulle_plugin_errors_total", "Docker's plugin requests that were refused.", labels: ["call"])
        packets = registry.counter(
            "tulle_dropped_packets_total", "Packets that the filters dropped.", labels: ["namespace", "reason"])
        lookups = registry.counter("tulle_lookups_total", "Questions of containers, answered here or handed on to Docker's resolver.", labels: ["by"])
    }

    /// Since the start.
    var driftRepaired: Int { total.load(ordering: .relaxed) }

    func drift(_ step: Step) {
        total.add(1, ordering: .relaxed)
        drifts.increment(step.kind)
    }
    func failed(_ namespace: NamespaceID, _ count: Int) { failures.increment("\(namespace)", by: Double(count)) }
    func answered(_ call: String, _ duration: Duration, failed: Bool) {
        calls.observe(duration, call)
        if failed { errors.increment(call) }
    }
    func lookedUp(here: Int, docker: Int) {
        lookups.set(total: Double(here), "tulle")
        lookups.set(total: Double(docker), "docker")
    }
    func dropped(_ namespace: NamespaceID, _ counters: [String: UInt64]) {
        for (name, count) in counters { packets.set(total: Double(count), "\(namespace)", name) }
    }
}

extension Step {
    /// What it concerns, in a word.
    package var kind: String {
        switch self {
        case .createNamespace, .deleteNamespace: "namespace"
        case .createLink, .deleteLink, .changeLink: "link"
        case .addAddress, .deleteAddress: "address"
        case .setNeighbor, .deleteNeighbor: "neighbour"
        case .setForwarding, .deleteForwarding, .setStation, .deleteStation, .addFlood, .deleteFlood: "fdb"
        case .setBridge, .setPort: "link"
        case .addGroup, .deleteGroup: "mdb"
        case .setRoute, .deleteRoute: "route"
        case .setSysctl: "sysctl"
        case .setFilter, .changeSet, .setBridgeFilter, .changeBridgeSet: "filter"
        }
    }
}
