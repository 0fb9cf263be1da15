/// What the store holds, one value a key (docs/store.md lists keys and JSON). Each carries its format version as `v`.
package import Addressing

/// The format of all objects below. Version N reads N − 1.
package let storeFormat = 1

/// Of a network whose mode is not `routed`: an agent that knows only format 1 would lay it out as a routed one, so it must not read it.
package let modeFormat = 2

/// What agents of this version can do that all of a cluster must be able to. A later one that changes what all must agree on raises it, and the
/// cluster's object says which level it needs; who has less takes no part.
package let featureLevel = 1

/// `cluster`: settings that must be one everywhere.
package struct ClusterObject: Hashable, Sendable, Codable {
    package var v = storeFormat
    package var id: String
    /// UDP port of the VXLAN tunnels.
    package var vxlanPort: UInt16
    /// The first VNI that networks get.
    package var vniBase: UInt32
    /// The node whose agent serves the embedded store.
    package var storeNode: NodeID?
    /// Agents take each other's word with certificates only; the shared secret of older versions opens nothing.
    package var isSealed: Bool?
    /// The `featureLevel` that an agent must have to take part; nil: 1.
    package var needs: Int?
    /// Of the store: it grows when a copy of it takes its place; nil: 1, the first.
    package var epoch: UInt64?

    package init(id: String, vxlanPort: UInt16, vniBase: UInt32, storeNode: NodeID?) {
        self.id = id
        self.vxlanPort = vxlanPort
        self.vniBase = vniBase
        self.storeNode = storeNode
    }

    package static let newer = "install the newer version of tulle here"
    /// - Parameter needed: a level that this version has not.
    package static func tooOld(_ needed: Int) -> String {
        "the cluster needs agents of level \(needed), and this one has \(featureLevel): \(newer)"
    }
}

/// `nodes/UUID`: written by that node's agent, and by whoever removes it.
package struct NodeObject: Hashable, Sendable, Codable {
    package var v = storeFormat
    package var id: NodeID
    package var name: String
    /// Where the others send tunnel packets.
    package var underlay: IPAddress
    /// The underlay interface's MTU.
    package var mtu: Int
    /// The agent's own address for other agents.
    package var agent: String
    /// The version of the program.
    package var version: String
    /// The instance that runs: a random number of each start, so that two agents with one identity are told apart.
    package var instance: String
    /// SHA-256 of its certificate's public key, in hexadecimal digits; nil: an agent that knows no certificates.
    package var fingerprint: String?
    /// When it was removed from the cluster, for ever: seconds since 1970.
    package var removed: Int?
    /// The store's epoch in which this node has brought in what it holds; nil: 1.
    package var epoch: UInt64?

    package init(
        id: NodeID, name: String, underlay: IPAddress, mtu: Int, agent: String, version: String, instance: String
    ) {
        self.id = id
        self.name = name
        self.underlay = underlay
        self.mtu = mtu
        self.agent = agent
        self.version = version
        self.instance = instance
    }
}

/// `leases/UUID`: the right to allocate from one's blocks for `term` seconds after the last renewal. Never deleted by time.
package struct LeaseObject: Hashable, Sendable, Codable {
    package var v = storeFormat
    package var node: NodeID
    /// Counts renewals.
    package var count: UInt64
    /// Seconds.
    package var term: Int
    package init(node: NodeID, count: UInt64, term: Int) {
        self.node = node
        self.count = count
        self.term = term
    }
}

/// One address space of a network.
package struct Subnet: Hashable, Sendable, Codable {
    package var prefix: IPPrefix
    package var gateway: IPAddress
    /// Where containers' addresses come from, when it is not the whole prefix (`--ip-range`).
    package var range: IPPrefix?
    /// By the name that the user gave (`--aux-address`).
    package var auxiliary: [String: IPAddress]
    /// The length of the blocks that nodes take.
    package var blockLength: Int
    /// Chosen by us because the user named none.
    package var isAutomatic: Bool
    /// With global scope: the pool's id, by which every engine asks for addresses.
    package var pool: String?

    package init(
        prefix: IPPrefix, gateway: IPAddress, range: IPPrefix? = nil, auxiliary: [String: IPAddress] = [:],
        blockLength: Int? = nil, isAutomatic: Bool = false, pool: String? = nil
    ) {
        self.prefix = prefix
        self.gateway = gateway
        self.range = range
        self.auxiliary = auxiliary
        self.blockLength = blockLength ?? Subnet.defaultBlockLength(prefix)
        self.isAutomatic = isAutomatic
        self.pool = pool
    }

    /// At least 16 blocks where the prefix holds them, at most 64 (IPv4) or 65,536 (IPv6) addresses each.
    package static func defaultBlockLength(_ prefix: IPPrefix) -> Int {
        min(prefix.family.width, max(prefix.length + 4, prefix.family == .v4 ? 26 : 112))
    }
}

/// `networks/ID`.
package struct NetworkObject: Hashable, Sendable, Codable {
    package enum State: String, Hashable, Sendable, Codable {
        /// Created on an engine, its name not learnt yet.
        case pending
        case active
        /// A tombstone: it is to vanish everywhere.
        case removed
    }
    /// How it looks to containers.
    package enum Mode: String, Hashable, Sendable, Codable, CaseIterable {
        /// Layer 3: per-node blocks, one next hop, no broadcast.
        case routed
        /// Layer 2: one Ethernet segment; broadcast and multicast work.
        case switched
    }
    package var v = storeFormat
    package var id: NetworkID
    /// What tells it from others with the same subnet: the user's `tulle.network`, or else the id.
    package var key: String
    package var name: String?
    package var state: State
    package var vni: VNI
    package var subnets: [Subnet]
    /// No way out, and no gateway.
    package var isInternal: Bool
    package var isAttachable: Bool
    /// Fixed by the user; nil: follows the nodes' underlays.
    package var mtu: Int?
    /// nil: routed.
    package var mode: Mode? {
        didSet { v = mode == nil ? storeFormat : modeFormat }
    }
    /// The user's options of network and address driver, without those that agents add.
    package var options: [String: String]
    package var addressOptions: [String: String]
    package var labels: [String: String]
    /// Where it was created.
    package var origin: NodeID
    /// With global scope: Docker's id, the same on every engine.
    package var dockerID: String?
    /// When it became a tombstone: seconds since 1970.
    package var removed: Int?

    package init(
        id: NetworkID, key: String, name: String?, state: State, vni: VNI, subnets: [Subnet], isInternal: Bool,
        isAttachable: Bool = false, mtu: Int?, options: [String: String], addressOptions: [String: String],
        labels: [String: String] = [:], origin: NodeID, dockerID: String? = nil
    ) {
        self.id = id
        self.key = key
        self.name = name
        self.state = state
        self.vni = vni
        self.subnets = subnets
        self.isInternal = isInternal
        self.isAttachable = isAttachable
        self.mtu = mtu
        self.options = options
        self.addressOptions = addressOptions
        self.labels = labels
        self.origin = origin
        self.dockerID = dockerID
    }

    package var isSwitched: Bool { mode == .switched }
    /// The prefix length that a container's interface gets with that address: in a segment the subnet is on its link, otherwise only itself.
    package func lengthOnLink(of address: IPAddress) -> Int {
        isSwitched ? subnet(containing: address)?.prefix.length ?? address.family.width : address.family.width
    }
    package var families: [AddressFamily] { subnets.map(\.prefix.family) }
    package func subnet(of family: AddressFamily) -> Subnet? { subnets.first { $0.prefix.family == family } }
    package func subnet(containing address: IPAddress) -> Subnet? { subnets.first { $0.prefix.contains(address) } }
    /// The user gave it one (`tulle.network`).
    package var hasOwnKey: Bool { key != id.description }
    /// For people.
    package var displayName: String { name ?? "(\(id.short))" }
}

/// `blocks/NETWORK/ADDRESS-LENGTH`: only that node allocates from the block. Only it, or its removal, gives it up.
package struct BlockObject: Hashable, Sendable, Codable {
    package var v = storeFormat
    package var node: NodeID
    /// Grows with each owner.
    package var fence: UInt64
    package init(node: NodeID, fence: UInt64) {
        self.node = node
        self.fence = fence
    }
}

/// `addresses/NETWORK/ADDRESS`: one address that lives on a node which does not own its block.
package struct AddressObject: Hashable, Sendable, Codable {
    package var v = storeFormat
    package var node: NodeID
    package init(node: NodeID) { self.node = node }
}

/// `requests/NETWORK/UUID`: a node without room asks a block's owner for one address. The owner answers by putting the
/// `AddressObject` and deleting this in one transaction, or by a refusal.
package struct BorrowObject: Hashable, Sendable, Codable {
    package var v = storeFormat
    package var from: NodeID
    package var owner: NodeID
    package var block: IPPrefix
    /// nil: any.
    package var address: IPAddress?
    package var refusal: String?
    package var granted: IPAddress?
    package init(from: NodeID, owner: NodeID, block: IPPrefix, address: IPAddress?) {
        self.from = from
        self.owner = owner
        self.block = block
        self.address = address
    }
}

/// `endpoints/NETWORK/ENDPOINT`: for people, for the question who still uses a network, and for switched networks, whose nodes learn from it behind
/// which node a MAC is. No packet of a routed network depends on it.
package struct EndpointObject: Hashable, Sendable, Codable {
    package var v = storeFormat
    package var id: EndpointID
    package var network: NetworkID
    package var node: NodeID
    package var name: String?
    package var addresses: [IPAddress]
    package var mac: MACAddress
    /// Seconds since 1970.
    package var created: Int
    /// What its container is called besides (`ContainerNames`); nil: not told yet, or by an agent that knows nothing of it.
    package var container: String?
    package var hostname: String?
    package var aliases: [String]?
    package var ports: [PublishedPort]?
    package init(
        id: EndpointID, network: NetworkID, node: NodeID, name: String?, addresses: [IPAddress], mac: MACAddress,
        created: Int
    ) {
        self.id = id
        self.network = network
        self.node = node
        self.name = name
        self.addresses = addresses
        self.mac = mac
        self.created = created
    }
}

/// `groups/NETWORK/NODE`: the multicast groups of a switched network to which containers on that node listen. Only that node's agent writes it.
package struct GroupsObject: Hashable, Sendable, Codable {
    package var v = storeFormat
    package var network: NetworkID
    package var node: NodeID
    /// Sorted, without link-local ones; `most` of them.
    package var groups: [IPAddress]
    /// There are more: it gets all multicast.
    package var hasMore: Bool?
    package static let most = 512

    package init(network: NetworkID, node: NodeID, listened: Set<IPAddress>) {
        self.network = network
        self.node = node
        groups = Array(listened.sorted().prefix(Self.most))
        hasMore = listened.count > Self.most ? true : nil
    }
}
