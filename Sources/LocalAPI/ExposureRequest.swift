/// The body of `POST /v1/expose`: the host is to join a network.
package struct ExposureRequest: Codable, Equatable, Sendable {
    /// The network's name or id.
    package var network: String
    /// At most one of each family; without one, any is given.
    package var addresses: [String]

    package init(network: String, addresses: [String] = []) {
        self.network = network
        self.addresses = addresses
    }
}
