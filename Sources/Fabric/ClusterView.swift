/// The cluster's truth as this node last read it: a value, built from a listing and kept by a watch. It is also
/// the node's durable replica: an agent that starts while the store is away works from its last view.
package import Addressing

package struct ClusterView: Sendable {
    package var cluster: ClusterObject?
    package var nodes: [NodeID: NodeObject] = [:]
    /// Those that were removed: they are nobody's peers, and may not come back.
    package var removed: [NodeID: NodeObject] = [:]
    /// Nodes whose agents renewed their sign of life.
    package var alive: Set<NodeID> = []
    package var leases: [NodeID: LeaseObject] = [:]
    package var networks: [NetworkID: NetworkObject] = [:]
    package var blocks: [NetworkID: [IPPrefix: BlockObject]] = [:]
    package var addresses: [NetworkID: [IPAddress: AddressObject]] = [:]
    package var requests: [NetworkID: [String: BorrowObject]] = [:]
    package var endpoints: [NetworkID: [EndpointID: EndpointObject]] = [:]
    package var groups: [NetworkID: [NodeID: GroupsObject]] = [:]
    /// By id.
    package var tokens: [String: TokenObject] = [:]
    /// By fingerprint.
    package var authorities: [String: AuthorityObject] = [:]

    package init() {}

    /// One object as the store has it, or nil for its deletion.
    package enum Object: Sendable {
        case cluster(ClusterObject?)
        case node(NodeID, NodeObject?)
        case alive(NodeID, Bool)
        case lease(NodeID, LeaseObject?)
        case network(NetworkID, NetworkObject?)
        case block(NetworkID, IPPrefix, BlockObject?)
        case address(NetworkID, IPAddress, AddressObject?)
        case request(NetworkID, String, BorrowObject?)
        case endpoint(NetworkID, EndpointID, EndpointObject?)
        case groups(NetworkID, NodeID, GroupsObject?)
        case token(String, TokenObject?)
        case authority(String, AuthorityObject?)
    }

    /// What a change makes stale.
    package enum Scope: Hashable, Sendable {
        /// Every network's kernel state.
        case everything
        case network(NetworkID)
        /// Only what people see.
        case display
    }

    package mutating func set(_ object: Object) -> Scope {
        switch object {
        case .cluster(let value):
            cluster = value
            return .everything
        case .node(let id, let value):
            let isRemoved = value?.removed != nil
            let wasRemoved = removed.updateOptional(id, isRemoved ? value : nil) != nil
            let old = nodes.updateOptional(id, isRemoved ? nil : value)
            if isRemoved != wasRemoved { return .everything }
            let isSame = old?.underlay == value?.underlay && old?.mtu == value?.mtu
            return isSame ? .display : .everything
        case .alive(let id, let isAlive):
            if isAlive { alive.insert(id) } else { alive.remove(id) }
            return .display
        case .lease(let id, let value):
            leases.updateOptional(id, value)
            return .display
        case .network(let id, let value):
            networks.updateOptional(id, value)
            return .network(id)
        case .block(let id, let prefix, let value):
            blocks[id, default: [:]].updateOptional(prefix, value)
            return .network(id)
        case .address(let id, let address, let value):
            addresses[id, default: [:]].updateOptional(address, value)
            return .network(id)
        case .request(let id, let name, let value):
            requests[id, default: [:]].updateOptional(name, value)
            return .display
        case .endpoint(let id, let endpoint, let value):
            endpoints[id, default: [:]].updateOptional(endpoint, value)
            return networks[id]?.isSwitched == true ? .network(id) : .display
        case .groups(let id, let node, let value):
            groups[id, default: [:]].updateOptional(node, value)
            return networks[id]?.isSwitched == true ? .network(id) : .display
        case .token(let id, let value):
            tokens.updateOptional(id, value)
            return .display
        case .authority(let id, let value):
            authorities.updateOptional(id, value)
            return .display
        }
    }

    // MARK: Questions

    package func network(key: String) -> NetworkObject? { live.first { $0.key == key } }
    package func network(name: String) -> NetworkObject? { live.first { $0.state == .active && $0.name == name } }
    package func network(dockerID: String) -> NetworkObject? { live.first { $0.dockerID == dockerID } }
    /// All that are not removed.
    package var live: [NetworkObject] { networks.values.filter { $0.state != .removed } }

    /// The one that signs: the oldest, so that no member puts its own in its place.
    package var authority: AuthorityObject? {
        authorities.values.filter { $0.retired == nil && removed[$0.node] == nil }.min { ($0.created, $0.fingerprint) < ($1.created, $1.fingerprint) }
    }

    /// The store's epoch.
    package var epoch: UInt64 { cluster?.epoch ?? 1 }

    /// Nodes of which it is not known what they took in the store's last epoch just before it ended. What they hold may look free.
    package var unheard: [NodeObject] {
        epoch == 1 ? [] : nodes.values.filter { ($0.epoch ?? 1) < epoch }.sorted { $0.name < $1.name }
    }

    package func blocks(of network: NetworkID, owner: NodeID) -> [IPPrefix] {
        (blocks[network] ?? [:]).filter { $0.value.node == owner }.keys.sorted()
    }

    /// The node that an address belongs to: its own, or its block's.
    package func holder(of address: IPAddress, in network: NetworkObject) -> NodeID? {
        if let single = addresses[network.id]?[address] { return single.node }
        return network.subnet(containing: address).flatMap { blocks[network.id]?[Allocation.block(of: address, in: $0)]?.node }
    }

    /// The first VNI from the base that no network has.
    package func freeVNI(base: UInt32) -> VNI? {
        let used = Set(networks.values.map(\.vni.number))
        var number = base
        while used.contains(number) { number += 1 }
        return VNI(number)
    }

    /// The network's MTU: fixed by its user, or what the narrowest underlay of the nodes leaves after the tunnel header
    /// (RFC 7348: 50 bytes on IPv4, 70 on IPv6).
    package func mtu(of network: NetworkObject, me: NodeObject) -> Int {
        if let fixed = network.mtu { return fixed }
        var narrowest = me.mtu
        // Where all underlays are as wide it does not matter who uses the network, which is dear to find out.
        if nodes.values.contains(where: { $0.mtu < me.mtu }) {
            let users = Set((blocks[network.id] ?? [:]).values.map(\.node))
                .union((addresses[network.id] ?? [:]).values.map(\.node))
            narrowest = users.compactMap { nodes[$0]?.mtu }.reduce(me.mtu, min)
        }
        return max(narrowest - VXLAN.overhead(me.underlay.family), network.subnet(of: .v6) == nil ? 68 : 1280)
    }
}

extension VXLAN {
    /// Outer Ethernet, IP, UDP and VXLAN headers less the part that is not in the underlay's MTU: bytes.
    package static func overhead(_ underlay: AddressFamily) -> Int { underlay == .v4 ? 50 : 70 }
}

extension Dictionary {
    @discardableResult
    fileprivate mutating func updateOptional(_ key: Key, _ value: Value?) -> Value? {
        guard let value else { return removeValue(forKey: key) }
        return updateValue(value, forKey: key)
    }
}
