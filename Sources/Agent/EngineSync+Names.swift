/// What containers are called besides their names: aliases, hostnames, published ports.
///
/// The engine tells it of one container at a time, and while it starts that container it does not answer, for as long as our own driver's answer takes: so
/// nothing waits for it. Each container that is new on a network is asked about by a task of its own, which leaves what it learns with the controller.
package import Docker
package import Fabric
import Logging

extension EngineSync {
    /// Questions of this kind at once.
    private static let mostQuestions = 16

    func describe(_ id: EndpointID, _ endpoint: EngineNetworkEndpoint) {
        guard beginDescribing(id, endpoint, limit: Self.mostQuestions) else { return }
        Task {
            do {
                let container = try await client.container(endpoint.containerID)
                if let names = ContainerNames(container, endpoint: id) {
                    try await controller.describe(id, names)
                    endDescribing(id, endpoint)
                } else {
                    endDescribing(id, nil)
                }
            } catch {
                // The next look asks again.
                log.debug("cannot learn a container's names", metadata: ["container": "\(endpoint.name)", "error": "\(error)"])
                endDescribing(id, nil)
            }
        }
    }
}

extension ContainerNames {
    /// nil when the container is not on that network, or no more.
    package init?(_ container: EngineContainer, endpoint: EndpointID) {
        guard let attachment = container.attachments.values.first(where: { $0.endpointID == endpoint.description }) else { return nil }
        let known: Set<String> = [container.name, container.hostname, String(container.id.prefix(12))]
        var seen: Set<String> = []
        // The user's first: of too many, the engine's own go.
        let aliases = (attachment.aliases + attachment.dnsNames).filter {
            !$0.isEmpty && $0.utf8.count <= Self.longestAlias && !known.contains($0) && seen.insert($0).inserted
        }
        let ports = container.ports.compactMap { text -> PublishedPort? in
            let parts = text.split(separator: "/")
            guard let number = parts.first.flatMap({ UInt16($0) }) else { return nil }
            return PublishedPort(port: number, protocol: parts.count > 1 ? String(parts[1]) : "tcp")
        }
        self.init(
            container: container.id, hostname: container.hostname.isEmpty ? nil : container.hostname, aliases: aliases, ports: ports.sorted())
    }
    /// A longer text is no name.
    private static let longestAlias = 253
}

extension Controller {
    package func isKnown(_ id: EndpointID) -> Bool { local.endpoints[id] != nil }

    /// What else the container is called.
    package func describe(_ id: EndpointID, _ names: ContainerNames) throws {
        guard var endpoint = local.endpoints[id], endpoint.names != names else { return }
        endpoint.names = names
        try local.set(endpoint)
        viewChanged()
    }
}
