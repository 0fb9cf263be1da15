/// Who is called what on which network: a value, made of the cluster's view and of this node's own endpoints, from which questions are answered.
///
/// A lookup goes through it like this: the question comes with the networks that its asker is in. For each of them, in order, the name is looked up
/// as it is, without `.NETWORK` at its end, and at last as what a wildcard alias covers (RFC 4592): the first network that knows it answers, with all
/// endpoints of that name that count (NameTable+Answer). An endpoint counts while it is this node's, or its node is alive; what is not known is
/// somebody else's to answer.
///
/// Each change costs what the one endpoint has of names: nothing here goes through all endpoints, except when the view is read anew.
package import Addressing

package struct NameTable: Sendable {
    /// An endpoint as far as names go.
    package struct Endpoint: Hashable, Sendable {
        package var id: EndpointID
        package var network: NetworkID
        package var node: NodeID
        package var name: String?
        package var names: ContainerNames?
        package var addresses: [IPAddress]

        package init(_ object: EndpointObject) {
            (id, network, node, name) = (object.id, object.network, object.node, object.name)
            (names, addresses) = (object.names, object.addresses)
        }
        package init(_ endpoint: LocalEndpoint, node: NodeID) {
            (id, network, name, self.node) = (endpoint.id, endpoint.network, endpoint.name, node)
            (names, addresses) = (endpoint.names, endpoint.addresses)
        }

        /// Docker's: the first 12 digits.
        var shortID: String? { names.map { String($0.container.prefix(12)) } }
        /// What an address is called.
        var primary: String? { name ?? names?.hostname ?? shortID }
        /// All that it answers to, in lower case.
        var keys: Set<String> {
            let all = [name, names?.hostname, shortID].compactMap(\.self) + (names?.aliases.prefix(ContainerNames.mostAliases) ?? [])
            return Set(all.filter { !$0.isEmpty }.map { folded($0) })
        }
    }

    struct Network: Sendable {
        var name: String?
        var endpoints: [EndpointID: Endpoint] = [:]
        var byName: [String: Set<EndpointID>] = [:]
        var byAddress: [IPAddress: Set<EndpointID>] = [:]
        /// How many names in `byName` begin with `*.`.
        var wildcards = 0

        mutating func set(_ id: EndpointID, _ new: Endpoint?) {
            let old = endpoints[id]
            guard old != new else { return }
            endpoints[id] = new
            let (before, now) = (old?.keys ?? [], new?.keys ?? [])
            for key in before.subtracting(now) {
                byName[key]?.remove(id)
                guard byName[key]?.isEmpty ?? false else { continue }
                byName[key] = nil
                if key.hasPrefix("*.") { wildcards -= 1 }
            }
            for key in now.subtracting(before) {
                if byName[key] == nil, key.hasPrefix("*.") { wildcards += 1 }
                byName[key, default: []].insert(id)
            }
            for address in old?.addresses ?? [] {
                byAddress[address]?.remove(id)
                if byAddress[address]?.isEmpty ?? false { byAddress[address] = nil }
            }
            for address in new?.addresses ?? [] { byAddress[address, default: []].insert(id) }
        }
    }

    private let me: NodeID
    var networks: [NetworkID: Network] = [:]
    /// This node's endpoints, by which alone it knows them.
    private var local: [EndpointID: LocalEndpoint] = [:]
    /// nil: not heard of since the start; then all count.
    private var alive: Set<NodeID>?
    /// They never count.
    private var removed: Set<NodeID> = []

    package init(me: NodeID) { self.me = me }

    // MARK: Changes

    /// One object of the store, as it is now.
    package mutating func set(_ object: ClusterView.Object) {
        switch object {
        case .endpoint(let network, let id, let endpoint):
            // Ours are what we have, not what the store has of us.
            guard endpoint?.node != me, local[id] == nil else { return }
            update(network, id, endpoint.map { Endpoint($0) })
        case .alive(let node, let isAlive):
            if isAlive { alive?.insert(node) } else { alive?.remove(node) }
        case .node(let id, let node): if node?.removed != nil { removed.insert(id) }
        case .network(let id, let network):
            let name = network.flatMap { $0.state == .removed ? nil : $0.name }.map { folded($0) }
            guard name != nil || networks[id] != nil else { return }
            networks[id, default: Network()].name = name
            if networks[id]?.endpoints.isEmpty ?? true, name == nil { networks[id] = nil }
        default: break
        }
    }

    /// The whole view anew.
    /// - Parameter isHeard: it is the store's of now, and not the copy of an agent that has not reached it since its start.
    package mutating func replace(_ view: ClusterView, isHeard: Bool) {
        networks = [:]
        alive = isHeard ? view.alive : nil
        removed = Set(view.removed.keys)
        for network in view.networks.values { set(.network(network.id, network)) }
        for (network, endpoints) in view.endpoints {
            for endpoint in endpoints.values { set(.endpoint(network, endpoint.id, endpoint)) }
        }
        let mine = local
        local = [:]
        set(local: mine)
    }

    /// - Returns: whether there was a change.
    @discardableResult
    package mutating func set(local endpoints: [EndpointID: LocalEndpoint]) -> Bool {
        guard endpoints != local else { return false }
        let before = local
        local = endpoints
        for (id, endpoint) in before where endpoints[id] == nil { update(endpoint.network, id, nil) }
        for (id, endpoint) in endpoints where before[id] != endpoint { update(endpoint.network, id, Endpoint(endpoint, node: me)) }
        return true
    }

    private mutating func update(_ network: NetworkID, _ id: EndpointID, _ endpoint: Endpoint?) {
        guard endpoint != nil || networks[network] != nil else { return }
        networks[network, default: Network()].set(id, endpoint)
        if let left = networks[network], left.endpoints.isEmpty, left.name == nil { networks[network] = nil }
    }

    // MARK: Questions

    /// The networks that a sandbox of this node is in, the oldest attachment first.
    package func networks(of sandbox: String) -> [NetworkID] {
        local.values.filter { $0.sandbox == sandbox }.sorted { ($0.created, $0.id) < ($1.created, $1.id) }.map(\.network)
    }
    /// All of this node's sandboxes.
    package var sandboxes: Set<String> { Set(local.values.compactMap(\.sandbox)) }
    /// The network of that name.
    package func network(named name: String) -> NetworkID? {
        let wanted = folded(name)
        return networks.first { $0.value.name == wanted }?.key
    }

    func counts(_ endpoint: Endpoint) -> Bool {
        if endpoint.node == me { return true }
        return !removed.contains(endpoint.node) && alive?.contains(endpoint.node) ?? true
    }

    /// All endpoints that count, with what they are called.
    package var listing: [(endpoint: Endpoint, network: String?, names: [String], counts: Bool)] {
        networks.values.flatMap { network in
            network.endpoints.values.map { ($0, network.name, $0.keys.sorted(), counts($0)) }
        }
    }
}

/// In lower case as names are compared: ASCII letters only (RFC 4343).
func folded(_ text: String) -> String {
    guard text.utf8.contains(where: { (0x41...0x5a).contains($0) }) else { return text }
    return String(decoding: text.utf8.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }, as: UTF8.self)
}
