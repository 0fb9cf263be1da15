/// One container's attachment to a network, from `GET /v1/endpoints`.
package struct EndpointReport: Codable, Equatable, Sendable {
    package enum State: String, Codable, Sendable {
        /// Made, but its container has not joined.
        case created
        case joined
        /// Its node does not answer; its routes stay.
        case suspended
        /// Another holds its address by right: it is cut off.
        case quarantined
    }

    package var id: String
    /// The network's name.
    package var network: String
    /// Absent until Docker tells it.
    package var container: String?
    /// The node's name.
    package var node: String
    package var addresses: [String]
    package var mac: String?
    /// Whether the network is its way to the outside.
    package var gateway: Bool
    package var state: State
    /// When it got that state.
    package var since: Timestamp?

    package init(
        id: String, network: String, container: String? = nil, node: String, addresses: [String], mac: String? = nil,
        gateway: Bool = false, state: State, since: Timestamp? = nil
    ) {
        self.id = id
        self.network = network
        self.container = container
        self.node = node
        self.addresses = addresses
        self.mac = mac
        self.gateway = gateway
        self.state = state
        self.since = since
    }
}
