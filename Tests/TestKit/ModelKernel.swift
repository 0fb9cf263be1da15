/// A model of the kernel for tests: namespaces as values, the steps' effects as simple as the real ones allow, and flags for faults.
///
/// It knows what the kernel does by itself where plans depend on it: a link that is deleted takes its rows along, a link
/// that goes down loses its routes, a veth pair has two ends, and a namespace takes its links along.
import Addressing
package import Fabric

package actor ModelKernel: DataPlane {
    private var model = KernelModel()
    /// Every step applied, in order.
    package private(set) var history: [Step] = []
    /// Steps that fail, with the reason; asked for each step.
    private var fault: @Sendable (Step) -> String? = { _ in nil }
    private var listeners: [AsyncStream<NamespaceID>.Continuation] = []

    package init() {}

    package var states: [NamespaceID: NamespaceState] { model.states }
    package func setFault(_ fault: @escaping @Sendable (Step) -> String?) { self.fault = fault }
    package func forgetHistory() { history = [] }

    /// Somebody else's hand.
    package func tamper(_ namespace: NamespaceID, _ change: (inout NamespaceState) -> Void) {
        model.tamper(namespace, change)
        for listener in listeners { listener.yield(namespace) }
    }
    package func removeNamespace(_ namespace: NamespaceID) {
        model.drop(namespace)
        for listener in listeners { listener.yield(namespace) }
    }

    // MARK: DataPlane

    package func namespaces() -> Set<NamespaceID> { model.namespaces }
    package func observe(_ namespace: NamespaceID, fresh: Bool) -> NamespaceState? { model.states[namespace] }
    package func changes() -> AsyncStream<NamespaceID> {
        let (stream, continuation) = AsyncStream.makeStream(of: NamespaceID.self)
        listeners.append(continuation)
        return stream
    }
    package func counters(_ namespace: NamespaceID) -> [String: UInt64] { [:] }

    package func apply(_ steps: [Step]) -> [StepFailure] {
        var failures: [StepFailure] = []
        for step in steps {
            if let failure = model.apply(step, after: failures, fault: fault) { failures.append(failure) } else { history.append(step) }
        }
        return failures
    }
}

/// What the model is, as a value.
package struct KernelModel: Sendable {
    package private(set) var states: [NamespaceID: NamespaceState] = [.host: NamespaceState()]
    /// The other end of each pair.
    private var pairs: [End: End] = [:]

    private struct End: Hashable {
        var namespace: NamespaceID
        var link: String
    }

    package init() {}

    package var namespaces: Set<NamespaceID> { Set(states.keys.filter { $0 != .host }) }
    package mutating func tamper(_ namespace: NamespaceID, _ change: (inout NamespaceState) -> Void) {
        change(&states[namespace, default: NamespaceState()])
    }

    /// One step of a plan, after those of its steps that failed.
    package mutating func apply(_ step: Step, after failures: [StepFailure], fault: (Step) -> String?) -> StepFailure? {
        let isBlocked = failures.contains { failed in
            switch failed.step {
            case .createNamespace(let id): step.namespace == id
            case .createLink(let id, let name, _): step.namespace == id && step.link == name
            default: false
            }
        }
        if isBlocked { return StepFailure(step: step, reason: "depends on a failed step", isSkipped: true) }
        return (fault(step) ?? execute(step)).map { StepFailure(step: step, reason: $0) }
    }

    // MARK: Effects

    /// What the kernel says against it, or nil.
    private mutating func execute(_ step: Step) -> String? {
        let id = step.namespace
        if case .createNamespace = step {
            if states[id] == nil {
                states[id] = NamespaceState()
                states[id]?.links["lo"] = Link(.loopback, isUp: false)
            }
            return nil
        }
        guard var state = states[id] else { return "no such namespace" }
        if let link = step.link, state.links[link] == nil {
            switch step {
            case .createLink, .deleteLink, .deleteAddress, .deleteNeighbor, .deleteForwarding, .deleteStation, .deleteFlood, .deleteGroup: break
            default: return "no such device \(link)"
            }
        }
        switch step {
        case .createNamespace: break
        case .deleteNamespace:
            drop(id)
            return nil
        case .createLink(_, let name, let link):
            if state.links[name] != nil { return "file exists" }
            var made = link
            made.peer = nil
            // A port only by a step of its own.
            made.port = nil
            made.mtu = link.mtu ?? 1500
            state.links[name] = made
            states[id] = state
            makePeer(of: End(namespace: id, link: name), link)
            return nil
        case .deleteLink(_, let name):
            removeLink(End(namespace: id, link: name))
            return nil
        case .changeLink(_, let name, mac: let mac, mtu: let mtu, isUp: let isUp, sandbox: _):
            if let mac { state.links[name]?.mac = mac }
            if let mtu { state.links[name]?.mtu = mtu }
            if let isUp { state.links[name]?.isUp = isUp }
            if isUp == false { state.routes = state.routes.filter { $0.value.link != name } }
        case .addAddress(_, let row): state.addresses.insert(row)
        case .deleteAddress(_, let row): state.addresses.remove(row)
        case .setNeighbor(_, let key, let mac): state.neighbors[key] = mac
        case .deleteNeighbor(_, let key): state.neighbors[key] = nil
        case .setForwarding(_, let key, let remote): state.forwarding[key] = remote
        case .deleteForwarding(_, let key): state.forwarding[key] = nil
        case .setBridge(_, let name, let bridge): state.links[name]?.bridge = bridge
        case .setPort(_, let name, let port):
            if let port, state.links[port.bridge]?.kind != .bridge { return "no such bridge \(port.bridge)" }
            state.links[name]?.port = port
            state.stations = state.stations.filter { $0.value != name || port != nil }
        case .setStation(_, let mac, port: let port):
            if state.links[port]?.port == nil { return "\(port) is no port" }
            state.stations[mac] = port
        case .deleteStation(_, let mac, port: let port): if state.stations[mac] == port { state.stations[mac] = nil }
        case .addFlood(_, let row): state.floods.insert(row)
        case .deleteFlood(_, let row): state.floods.remove(row)
        case .addGroup(_, let row): state.groups.insert(row)
        case .deleteGroup(_, let row): state.groups.remove(row)
        case .setRoute(_, let key, let target):
            if let link = target.link, state.links[link]?.isUp != true { return "network is down" }
            state.routes[key] = target
        case .deleteRoute(_, let key): state.routes[key] = nil
        case .setSysctl(_, path: let path, value: let value): state.sysctls[path] = value
        case .setFilter(_, let filter): state.filter = filter
        case .changeSet(_, set: let set, type: _, add: let add, remove: let remove):
            guard state.filter?.sets[set] != nil else { return "no such set \(set)" }
            state.filter?.sets[set]?.elements.formUnion(add)
            state.filter?.sets[set]?.elements.subtract(remove)
        case .setBridgeFilter(_, let filter): state.bridgeFilter = filter
        case .changeBridgeSet(_, set: let set, type: _, add: let add, remove: let remove):
            guard state.bridgeFilter?.sets[set] != nil else { return "no such set \(set)" }
            state.bridgeFilter?.sets[set]?.elements.formUnion(add)
            state.bridgeFilter?.sets[set]?.elements.subtract(remove)
        }
        states[id] = state
        return nil
    }

    private mutating func makePeer(of end: End, _ link: Link) {
        guard case .namespace(let place)? = link.peer?.place, let name = link.peer?.name, place != end.namespace else { return }
        let other = End(namespace: place, link: name)
        pairs[end] = other
        pairs[other] = end
        // The host's observation covers only links of ours by name.
        guard place != .host || name.hasPrefix(Desired.hostPrefix) else { return }
        states[place]?.links[name] = Link(.veth, mac: link.peer?.mac, mtu: link.mtu ?? 1500, isUp: false)
    }

    private mutating func removeLink(_ end: End) {
        for one in [end, pairs[end]].compactMap({ $0 }) {
            guard var state = states[one.namespace] else { continue }
            let isBridge = state.links[one.link]?.kind == .bridge
            state.links[one.link] = nil
            for name in state.links.keys where state.links[name]?.port?.bridge == one.link { state.links[name]?.port = nil }
            state.stations = isBridge ? [:] : state.stations.filter { $0.value != one.link }
            state.floods = state.floods.filter { $0.link != one.link }
            state.groups = state.groups.filter { $0.link != one.link }
            state.addresses = state.addresses.filter { $0.link != one.link }
            state.neighbors = state.neighbors.filter { $0.key.link != one.link }
            state.forwarding = state.forwarding.filter { $0.key.link != one.link }
            state.routes = state.routes.filter { $0.value.link != one.link }
            states[one.namespace] = state
            pairs[one] = nil
        }
    }

    /// The namespace goes with all that is in it.
    package mutating func drop(_ id: NamespaceID) {
        for link in (states[id]?.links ?? [:]).keys { removeLink(End(namespace: id, link: link)) }
        states[id] = nil
    }
}
