/// A container and its endpoints.
package struct EngineContainer: Equatable, Sendable {
    package var id: String
    /// Without the leading slash.
    package var name: String
    /// An endpoint's id stays with a container that has exited: it counts only while this is true.
    package var isRunning: Bool
    package var labels: [String: String]
    package var endpoints: [EngineEndpoint]

    package init(
        id: String, name: String, isRunning: Bool = false, labels: [String: String] = [:], endpoints: [EngineEndpoint] = []
    ) {
        self.id = id
        self.name = name
        self.isRunning = isRunning
        self.labels = labels
        self.endpoints = endpoints
    }
}

package struct EngineEndpoint: Equatable, Sendable {
    package var endpointID: String
    package var networkID: String
    /// As the container was attached with.
    package var networkName: String
    /// `--network-alias`, and the container's short id; only `EngineClient.container` fills it on older engines.
    package var aliases: [String]
    /// Without their lengths; empty where there is none.
    package var ipv4Address: String
    package var ipv6Address: String
    package var macAddress: String

    package init(
        endpointID: String, networkID: String, networkName: String, aliases: [String] = [], ipv4Address: String,
        ipv6Address: String, macAddress: String
    ) {
        self.endpointID = endpointID
        self.networkID = networkID
        self.networkName = networkName
        self.aliases = aliases
        self.ipv4Address = ipv4Address
        self.ipv6Address = ipv6Address
        self.macAddress = macAddress
    }
}

extension EngineContainer {
    /// From the list of running containers.
    init(listed fields: FieldReader) throws(DockerError) {
        id = try fields.requiredText("Id")
        name = EngineContainer.withoutSlash(try fields.texts("Names").first ?? "")
        isRunning = ["running", "paused", "restarting"].contains(try fields.text("State"))
        labels = try fields.textMap("Labels")
        endpoints = try EngineEndpoint.list(fields.reader("NetworkSettings"))
    }

    /// From an inspection.
    init(inspected fields: FieldReader) throws(DockerError) {
        id = try fields.requiredText("Id")
        name = EngineContainer.withoutSlash(try fields.text("Name"))
        isRunning = try fields.reader("State").bool("Running")
        labels = try fields.reader("Config").textMap("Labels")
        endpoints = try EngineEndpoint.list(fields.reader("NetworkSettings"))
    }

    private static func withoutSlash(_ name: String) -> String { name.hasPrefix("/") ? String(name.dropFirst()) : name }
}

extension EngineEndpoint {
    /// In the order of the networks' names; a network without an endpoint (a stopped container's) is left out.
    fileprivate static func list(_ settings: FieldReader) throws(DockerError) -> [EngineEndpoint] {
        var endpoints: [EngineEndpoint] = []
        for (name, entry) in try settings.readerMap("Networks").sorted(by: { $0.key < $1.key }) {
            guard let endpointID = try entry.optionalText("EndpointID") else { continue }
            endpoints.append(
                EngineEndpoint(
                    endpointID: endpointID, networkID: try entry.text("NetworkID"), networkName: name,
                    aliases: try entry.texts("Aliases"), ipv4Address: try entry.text("IPAddress"),
                    ipv6Address: try entry.text("GlobalIPv6Address"), macAddress: try entry.text("MacAddress")))
        }
        return endpoints
    }
}
