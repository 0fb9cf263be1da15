/// One host that runs the agent, from `GET /v1/nodes`.
package struct NodeReport: Codable, Equatable, Sendable {
    package var id: String
    package var name: String
    /// On the underlay.
    package var address: String?
    /// ADDRESS:PORT where its agent listens.
    package var agentAddress: String?
    package var alive: Bool
    package var version: String?
    /// Networks with endpoints on it.
    package var networks: Int
    /// Blocks that it owns.
    package var blocks: Int
    /// The node that answers.
    package var `self`: Bool

    package init(
        id: String, name: String, address: String? = nil, agentAddress: String? = nil, alive: Bool,
        version: String? = nil, networks: Int = 0, blocks: Int = 0, self isSelf: Bool = false
    ) {
        self.id = id
        self.name = name
        self.address = address
        self.agentAddress = agentAddress
        self.alive = alive
        self.version = version
        self.networks = networks
        self.blocks = blocks
        self.`self` = isSelf
    }
}
