/// One network of the cluster, from `GET /v1/networks`.
package struct NetworkReport: Codable, Equatable, Sendable {
    package enum State: String, Codable, Sendable {
        case active
        /// It contradicts an older network of the same name: no endpoint is made, `reason` says why.
        case quarantined
        /// Not yet on this node's engine.
        case pending
        /// Its tombstone is there, its remains are being removed.
        case removed
    }

    package struct Subnet: Codable, Equatable, Sendable {
        package var prefix: String
        package var gateway: String?
        /// 4 or 6.
        package var family: Int
        /// Prefix length of the blocks that nodes own.
        package var blockLength: Int?
        /// Blocks owned by this node.
        package var blocksOwned: Int

        package init(prefix: String, gateway: String? = nil, family: Int, blockLength: Int? = nil, blocksOwned: Int = 0) {
            self.prefix = prefix
            self.gateway = gateway
            self.family = family
            self.blockLength = blockLength
            self.blocksOwned = blocksOwned
        }
    }

    package var id: String
    package var name: String
    /// What `--opt tulle.network=KEY` gave; absent for a network known by its name.
    package var key: String?
    package var vni: UInt32
    /// "routed" or "switched".
    package var mode: String
    /// "vxlan".
    package var backend: String
    package var mtu: Int?
    package var subnets: [Subnet]
    /// Without a way to the outside (`docker network create --internal`).
    package var `internal`: Bool
    package var state: State
    package var reason: String?
    package var endpointsHere: Int
    package var endpointsTotal: Int
    /// Names of the nodes that have endpoints of it.
    package var nodes: [String]
    /// On this node's engine.
    package var dockerNetworkID: String?

    package init(
        id: String, name: String, key: String? = nil, vni: UInt32, mode: String = "routed", backend: String = "vxlan",
        mtu: Int? = nil, subnets: [Subnet] = [], internal: Bool = false, state: State = .active, reason: String? = nil,
        endpointsHere: Int = 0, endpointsTotal: Int = 0, nodes: [String] = [], dockerNetworkID: String? = nil
    ) {
        self.id = id
        self.name = name
        self.key = key
        self.vni = vni
        self.mode = mode
        self.backend = backend
        self.mtu = mtu
        self.subnets = subnets
        self.internal = `internal`
        self.state = state
        self.reason = reason
        self.endpointsHere = endpointsHere
        self.endpointsTotal = endpointsTotal
        self.nodes = nodes
        self.dockerNetworkID = dockerNetworkID
    }
}
