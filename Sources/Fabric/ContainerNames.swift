/// What a container is called besides its name, on one network. The driver's requests say nothing of it: the engine is asked.
package struct ContainerNames: Hashable, Sendable, Codable {
    /// The container's id on its engine.
    package var container: String
    package var hostname: String?
    /// `--network-alias`, Compose's service names, and what else the engine would answer to; without the name, the hostname and the short id.
    package var aliases: [String]
    package var ports: [PublishedPort]

    /// So many of each are kept; a container with more of them is known by the first.
    package static let mostAliases = 64, mostPorts = 256

    package init(container: String, hostname: String? = nil, aliases: [String] = [], ports: [PublishedPort] = []) {
        self.container = container
        self.hostname = hostname
        self.aliases = Array(aliases.prefix(Self.mostAliases))
        self.ports = Array(ports.prefix(Self.mostPorts))
    }
}

/// A port of a container that is published.
package struct PublishedPort: Hashable, Sendable, Comparable, Codable {
    /// The container's own, not its host's.
    package var port: UInt16
    /// "tcp", "udp" or "sctp".
    package var `protocol`: String
    package init(port: UInt16, protocol: String) {
        self.port = port
        self.protocol = `protocol`
    }
    package static func < (left: Self, right: Self) -> Bool { (left.port, left.protocol) < (right.port, right.protocol) }
}

extension EndpointObject {
    /// In the store they are fields of the endpoint, each by itself.
    package var names: ContainerNames? {
        get { container.map { ContainerNames(container: $0, hostname: hostname, aliases: aliases ?? [], ports: ports ?? []) } }
        set {
            container = newValue?.container
            hostname = newValue?.hostname
            aliases = newValue.flatMap { $0.aliases.isEmpty ? nil : $0.aliases }
            ports = newValue.flatMap { $0.ports.isEmpty ? nil : $0.ports }
        }
    }
}
