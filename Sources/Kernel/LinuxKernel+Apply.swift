/// Steps in order, in runs: rows of one namespace as batches, its sysctls by one visit, everything else singly. What depends on
/// a failed step is not tried: all of a namespace that could not be made, all of a link that could not be.
package import Fabric

extension LinuxKernel {
    package func apply(_ steps: [Step]) -> [StepFailure] {
        var failures = StepFailures()
        var rest = steps[...]
        while let first = rest.first {
            var routes: Set<RouteKey> = []
            // How a route is removed depends on the route that is there: a second step for the same key waits for the first.
            let others = rest.dropFirst().prefix(Self.longestRun).prefix { step in
                step.joins(first) && step.routeKey.map { $0 != first.routeKey && routes.insert($0).inserted } ?? true
            }
            let run = rest.prefix(1 + others.count)
            rest = rest.dropFirst(run.count)
            let possible = failures.admit(run)
            guard !possible.isEmpty else { continue }
            do throws(KernelError) {
                try execute(possible, &failures)
            } catch {
                for step in possible { failures.add(step, error) }
            }
        }
        return failures.all
    }

    /// Requests in one send: small enough for the socket's buffers, large enough that waking up costs nothing.
    private static let longestRun = 255

    /// Steps of one run. Throws when it failed as a whole.
    private func execute(_ run: [Step], _ failures: inout StepFailures) throws(KernelError) {
        let first = run[0]
        switch first {
        case .createNamespace(let id):
            return try createNamespace(id)
        case .deleteNamespace(let id):
            return try deleteNamespace(id)
        default:
            break
        }
        guard let namespace = try namespace(first.namespace) else {
            throw KernelError(.notFound, "change \(first.namespace)", cause: "there is no such namespace")
        }
        switch first {
        case .createNamespace, .deleteNamespace:
            break
        case .createLink(_, let name, let link):
            try synchronize(namespace)
            try createLink(name, link, namespace)
        case .changeLink(_, let name, let mac, let mtu, let isUp, let sandbox):
            try synchronize(namespace)
            try changeLink(name, mac: mac, mtu: mtu, isUp: isUp, sandbox: sandbox, namespace)
        case .setSysctl:
            let settings = run.compactMap(\.setting)
            for (step, error) in zip(run, writeSysctls(settings, namespace)) {
                if let error { failures.add(step, error) }
            }
        case .setBridge(_, let name, let bridge):
            try synchronize(namespace)
            try setBridge(name, bridge, namespace)
        case .setPort(_, let name, let port):
            try synchronize(namespace)
            try setPort(name, port, namespace)
        case .setFilter(_, let filter):
            try NetfilterTable.replace(filter, namespace.netfilter())
        case .setBridgeFilter(_, let filter):
            try NetfilterTable.replace(filter, namespace.netfilter(), .bridge)
        case .changeBridgeSet(_, let set, let type, let add, let remove):
            try NetfilterTable.change(set: set, type: type, add: add, remove: remove, namespace.netfilter(), .bridge)
        case .changeSet(_, let set, let type, let add, let remove):
            try NetfilterTable.change(set: set, type: type, add: add, remove: remove, namespace.netfilter())
        case .deleteLink, .addAddress, .deleteAddress, .setNeighbor, .deleteNeighbor, .setForwarding, .deleteForwarding, .setStation,
            .deleteStation, .addFlood, .deleteFlood, .addGroup, .deleteGroup, .setRoute, .deleteRoute:
            try synchronize(namespace)
            try applyRows(run, namespace, &failures)
        }
        try drain(namespace)
    }
}

/// What failed so far, and what must not be tried because of it.
struct StepFailures {
    private(set) var all: [StepFailure] = []
    private var lostNamespaces: Set<NamespaceID> = []
    private var lostLinks: Set<LinkName> = []
    private struct LinkName: Hashable {
        let namespace: NamespaceID
        let link: String
    }

    mutating func add(_ step: Step, _ error: KernelError) {
        all.append(StepFailure(step: step, reason: error.description))
        switch step {
        case .createNamespace(let id): lostNamespaces.insert(id)
        case .createLink(let id, let name, _): lostLinks.insert(LinkName(namespace: id, link: name))
        default: break
        }
    }

    /// Those that do not depend on something that failed; the others are recorded.
    mutating func admit(_ run: ArraySlice<Step>) -> [Step] {
        run.filter { step in
            guard let reason = obstacle(to: step) else { return true }
            all.append(StepFailure(step: step, reason: reason, isSkipped: true))
            return false
        }
    }

    private func obstacle(to step: Step) -> String? {
        if lostNamespaces.contains(step.namespace) { return "skipped: namespace \(step.namespace) could not be made" }
        if case .createLink = step { return nil }
        guard let link = step.link ?? step.setting.flatMap({ SysctlFile.link($0.path) }),
            lostLinks.contains(LinkName(namespace: step.namespace, link: link))
        else { return nil }
        return "skipped: link \(link) of \(step.namespace) could not be made"
    }
}

extension Step {
    fileprivate enum Manner { case row, sysctl, single }

    fileprivate var manner: Manner {
        switch self {
        case .deleteLink, .addAddress, .deleteAddress, .setNeighbor, .deleteNeighbor, .setForwarding, .deleteForwarding, .setStation,
            .deleteStation, .addFlood, .deleteFlood, .addGroup, .deleteGroup, .setRoute, .deleteRoute:
            .row
        case .setSysctl: .sysctl
        case .createNamespace, .deleteNamespace, .createLink, .changeLink, .setBridge, .setPort, .setFilter, .changeSet, .setBridgeFilter,
            .changeBridgeSet:
            .single
        }
    }

    /// Whether it can be done in one go with that one.
    fileprivate func joins(_ other: Step) -> Bool {
        manner == other.manner && manner != .single && namespace == other.namespace
    }

    fileprivate var setting: (path: String, value: String)? {
        guard case .setSysctl(_, let path, let value) = self else { return nil }
        return (path, value)
    }
}
