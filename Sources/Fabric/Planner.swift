/// Compares what should be with what is, and orders the difference: a pure function, without memory.
///
/// The order within a namespace: the filter first, so that nothing passes unguarded; then deletions, links before what
/// hangs on the new ones, addresses before neighbours and routes; and last, out of the filter's sets, what is gone.
/// A second look after the steps were applied finds what the kernel itself dropped on the way (routes of a link that
/// went down), so a caller plans until the plan is empty.

package enum Planner {
    package static func plan(_ id: NamespaceID, desired: NamespaceState?, observed: NamespaceState?) -> [Step] {
        guard let desired else {
            guard observed != nil, id != .host else { return [] }
            return [.deleteNamespace(id)]
        }
        var steps: [Step] = observed == nil ? [.createNamespace(id)] : []
        var observed = (observed ?? NamespaceState()).without(desired.unknownLinks)
        var removals: [Step] = []

        planFilter(desired.filter, observed.filter, &steps, &removals) { .setFilter(id, $0) } change: {
            .changeSet(id, set: $0, type: $1, add: $2, remove: $3)
        }
        planFilter(desired.bridgeFilter, observed.bridgeFilter, &steps, &removals) { .setBridgeFilter(id, $0) } change: {
            .changeBridgeSet(id, set: $0, type: $1, add: $2, remove: $3)
        }
        planLinks(id, desired, &observed, &steps)
        for (path, value) in desired.sysctls.sorted(by: { $0.key < $1.key }) where observed.sysctls[path] != value {
            steps.append(.setSysctl(id, path: path, value: value))
        }
        planRows(id, desired, observed, &steps)
        return steps + removals
    }

    private static func planFilter(
        _ desired: PacketFilter?, _ observed: PacketFilter?, _ steps: inout [Step], _ removals: inout [Step], replace: (PacketFilter?) -> Step,
        change: (String, FilterSet.ElementType, Set<FilterElement>, Set<FilterElement>) -> Step
    ) {
        guard desired != observed else { return }
        guard let desired, let observed, desired.hasSameRules(as: observed) else {
            steps.append(replace(desired))
            return
        }
        for (name, set) in desired.sets.sorted(by: { $0.key < $1.key }) {
            let present = observed.sets[name]?.elements ?? []
            let add = set.elements.subtracting(present)
            let remove = present.subtracting(set.elements)
            if !add.isEmpty { steps.append(change(name, set.type, add, [])) }
            if !remove.isEmpty { removals.append(change(name, set.type, [], remove)) }
        }
    }

    /// Leaves in `observed` only what survives the steps.
    private static func planLinks(
        _ id: NamespaceID, _ desired: NamespaceState, _ observed: inout NamespaceState, _ steps: inout [Step]
    ) {
        var gone: Set<String> = []
        for (name, link) in observed.links.sorted(by: { $0.key < $1.key }) {
            let wanted = desired.links[name]
            guard wanted == nil || wanted?.kind != link.kind, link.kind != .loopback else { continue }
            steps.append(.deleteLink(id, name))
            gone.insert(name)
        }
        observed = observed.without(gone)
        // A bridge before its ports.
        for (name, link) in desired.links.sorted(by: { ($0.value.kind == .bridge ? 0 : 1, $0.key) < ($1.value.kind == .bridge ? 0 : 1, $1.key) }) {
            defer { planPort(id, name, link, observed.links[name], &steps) }
            if let present = observed.links[name] {
                let mac = link.mac != nil && link.mac != present.mac ? link.mac : nil
                let mtu = link.mtu != nil && link.mtu != present.mtu ? link.mtu : nil
                let isUp = link.isUp != present.isUp ? link.isUp : nil
                guard mac != nil || mtu != nil || isUp != nil else { continue }
                steps.append(
                    .changeLink(id, name, mac: mac, mtu: mtu, isUp: isUp, sandbox: mtu == nil ? nil : link.sandbox))
            } else if link.kind == .loopback {
                // In a namespace that is about to be made.
                steps.append(.changeLink(id, name, mac: nil, mtu: nil, isUp: true, sandbox: nil))
            } else if link.kind != .veth || link.peer != nil {
                // A pair without a peer's description is made from its other end.
                steps.append(.createLink(id, name, link))
            }
        }
    }

    /// What a link has to do with a bridge. A pair that its other end has yet to make must wait for it.
    private static func planPort(_ id: NamespaceID, _ name: String, _ link: Link, _ present: Link?, _ steps: inout [Step]) {
        // A new one is made with its settings.
        if let bridge = link.bridge, let present, bridge != present.bridge { steps.append(.setBridge(id, name, bridge)) }
        guard link.port != present?.port, present != nil || link.kind != .veth || link.peer != nil else { return }
        steps.append(.setPort(id, name, link.port))
    }

    private static func planRows(
        _ id: NamespaceID, _ desired: NamespaceState, _ observed: NamespaceState, _ steps: inout [Step]
    ) {
        // What hangs on a pair that its other end has yet to make must wait for it.
        func exists(_ link: String) -> Bool {
            guard let wanted = desired.links[link] else { return false }
            return observed.links[link] != nil || wanted.kind != .veth || wanted.peer != nil
        }
        for row in observed.addresses.subtracting(desired.addresses).sorted(by: \.sortKey) {
            steps.append(.deleteAddress(id, row))
        }
        for (key, _) in observed.neighbors where desired.neighbors[key] == nil { steps.append(.deleteNeighbor(id, key)) }
        for (key, _) in observed.forwarding where desired.forwarding[key] == nil {
            steps.append(.deleteForwarding(id, key))
        }
        for (mac, port) in observed.stations where desired.stations[mac] == nil { steps.append(.deleteStation(id, mac, port: port)) }
        for row in observed.floods.subtracting(desired.floods) { steps.append(.deleteFlood(id, row)) }
        for row in observed.groups.subtracting(desired.groups) { steps.append(.deleteGroup(id, row)) }
        for (key, _) in observed.routes where desired.routes[key] == nil { steps.append(.deleteRoute(id, key)) }

        for row in desired.addresses.subtracting(observed.addresses).sorted(by: \.sortKey) where exists(row.link) {
            steps.append(.addAddress(id, row))
        }
        for (key, mac) in desired.neighbors where observed.neighbors[key] != mac { steps.append(.setNeighbor(id, key, mac)) }
        for (key, remote) in desired.forwarding where observed.forwarding[key] != remote {
            steps.append(.setForwarding(id, key, remote))
        }
        for row in desired.floods.subtracting(observed.floods) { steps.append(.addFlood(id, row)) }
        if !observed.lacksGroups {
            for row in desired.groups.subtracting(observed.groups) { steps.append(.addGroup(id, row)) }
        }
        // After the tunnel's own row: a MAC of which the tunnel knows nothing would go to all hosts.
        for (mac, port) in desired.stations where observed.stations[mac] != port && exists(port) {
            steps.append(.setStation(id, mac, port: port))
        }
        for (key, target) in desired.routes where observed.routes[key] != target && target.link.map(exists) ?? true {
            if observed.routes[key] == .foreign { steps.append(.deleteRoute(id, key)) }
            steps.append(.setRoute(id, key, target))
        }
    }
}

extension Link {
    /// The container's namespace, where the far end's MTU follows ours.
    package var sandbox: String? {
        guard case .sandbox(let path, _, _) = peer?.place else { return nil }
        return path
    }
}

extension LinkAddress {
    fileprivate var sortKey: String { "\(link) \(address)" }
}

extension Sequence {
    fileprivate func sorted(by key: KeyPath<Element, String>) -> [Element] {
        sorted { $0[keyPath: key] < $1[keyPath: key] }
    }
}
