/// How the agent is, from `GET /v1/status`. Optional fields are absent where the agent does not know.
package struct StatusReport: Codable, Equatable, Sendable {
    package var version: String
    package var node: Node
    /// Absent before the node joined or made a cluster.
    package var cluster: Cluster?
    package var store: Store
    /// Absent when the agent runs without Docker by its configuration.
    package var docker: Docker?
    package var lease: Lease
    /// Networks with an endpoint on this node.
    package var networks: Int
    /// Endpoints on this node.
    package var endpoints: Int
    /// When the kernel was last found, or made, equal to the desired state.
    package var lastSync: Timestamp?
    /// How often somebody else's change to a kernel object of ours was undone, since the agent's start.
    package var driftRepaired: Int
    /// What is wrong now: sentences, each with its remedy.
    package var problems: [String]

    package init(
        version: String = tulleVersion, node: Node, cluster: Cluster? = nil, store: Store, docker: Docker? = nil, lease: Lease,
        networks: Int = 0, endpoints: Int = 0, lastSync: Timestamp? = nil, driftRepaired: Int = 0, problems: [String] = []
    ) {
        self.version = version
        self.node = node
        self.cluster = cluster
        self.store = store
        self.docker = docker
        self.lease = lease
        self.networks = networks
        self.endpoints = endpoints
        self.lastSync = lastSync
        self.driftRepaired = driftRepaired
        self.problems = problems
    }
}

extension StatusReport {
    /// The node that answers.
    package struct Node: Codable, Equatable, Sendable {
        package var id: String
        package var name: String
        /// The underlay address; absent while no underlay is found.
        package var address: String?
        /// Of the underlay interface.
        package var mtu: Int?

        package init(id: String, name: String, address: String? = nil, mtu: Int? = nil) {
            self.id = id
            self.name = name
            self.address = address
            self.mtu = mtu
        }
    }

    package struct Cluster: Codable, Equatable, Sendable {
        package var id: String
        package var nodesTotal: Int
        package var nodesAlive: Int

        package init(id: String, nodesTotal: Int, nodesAlive: Int) {
            self.id = id
            self.nodesTotal = nodesTotal
            self.nodesAlive = nodesAlive
        }
    }

    package struct Store: Codable, Equatable, Sendable {
        /// "embedded".
        package var kind: String
        /// Where it is served; absent when nobody is known to.
        package var address: String?
        package var reachable: Bool
        /// The last that this node has seen.
        package var revision: UInt64?
        /// 1, until a copy took the first store's place.
        package var epoch: UInt64?

        package init(kind: String, address: String? = nil, reachable: Bool, revision: UInt64? = nil, epoch: UInt64? = nil) {
            self.epoch = epoch
            self.kind = kind
            self.address = address
            self.reachable = reachable
            self.revision = revision
        }
    }

    package struct Docker: Codable, Equatable, Sendable {
        package var socket: String
        package var reachable: Bool
        package var version: String?
        /// Tulle networks that this engine has.
        package var networks: Int?

        package init(socket: String, reachable: Bool, version: String? = nil, networks: Int? = nil) {
            self.socket = socket
            self.reachable = reachable
            self.version = version
            self.networks = networks
        }
    }

    /// The right to allocate addresses from this node's blocks.
    package struct Lease: Codable, Equatable, Sendable {
        package enum State: String, Codable, Sendable {
            case held
            /// Over: traffic goes on, no new address is given until the store renews it.
            case ended
            /// Not yet got.
            case pending
        }
        package var state: State
        package var secondsLeft: Int?

        package init(state: State, secondsLeft: Int? = nil) {
            self.state = state
            self.secondsLeft = secondsLeft
        }
    }
}
