/// What one container is called on one network, from `GET /v1/names`.
package struct NameReport: Codable, Equatable, Sendable {
    /// All that it answers to, in lower case; each also with the network's name after it.
    package var names: [String]
    package var addresses: [String]
    package var network: String
    /// The node's name.
    package var node: String
    /// Published ports, as "80/tcp".
    package var ports: [String]
    /// False while its node does not answer: its names are withheld.
    package var answered: Bool

    package init(names: [String], addresses: [String], network: String, node: String, ports: [String] = [], answered: Bool) {
        self.names = names
        self.addresses = addresses
        self.network = network
        self.node = node
        self.ports = ports
        self.answered = answered
    }
}

/// What `POST /v1/names/ask` takes.
package struct NameQuestion: Codable, Equatable, Sendable {
    package var name: String
    /// A, AAAA, PTR, SRV …; absent: A and AAAA, or PTR for an address.
    package var type: String?
    /// Asked as a container of this network; absent: as one that is in all of them.
    package var network: String?

    package init(name: String, type: String? = nil, network: String? = nil) {
        self.name = name
        self.type = type
        self.network = network
    }
}

/// What a container would be told, from `POST /v1/names/ask`.
package struct NameAnswerReport: Codable, Equatable, Sendable {
    package struct Record: Codable, Equatable, Sendable {
        package var name: String
        package var type: String
        package var ttl: Int
        package var data: String

        package init(name: String, type: String, ttl: Int, data: String) {
            self.name = name
            self.type = type
            self.ttl = ttl
            self.data = data
        }
    }
    /// Tulle answers; otherwise Docker's resolver is asked.
    package var known: Bool
    package var answers: [Record]
    package var additional: [Record]

    package init(known: Bool, answers: [Record] = [], additional: [Record] = []) {
        self.known = known
        self.answers = answers
        self.additional = additional
    }
}
