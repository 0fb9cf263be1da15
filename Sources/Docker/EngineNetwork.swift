/// A network as an engine tells it, and as one is made.
package struct EngineNetwork: Equatable, Sendable {
    package var id: String
    package var name: String
    package var driver: String
    /// "local", "global" or "swarm".
    package var scope: String
    /// RFC 3339, as the engine writes it.
    package var created: String
    package var isInternal: Bool
    package var isAttachable: Bool
    package var enablesIPv6: Bool
    package var labels: [String: String]
    package var options: [String: String]
    package var ipam: EngineIPAM
    /// The live endpoints by their id; only `EngineClient.network` fills it.
    package var endpoints: [String: EngineNetworkEndpoint]

    package init(
        id: String, name: String, driver: String, scope: String, created: String, isInternal: Bool = false,
        isAttachable: Bool = false, enablesIPv6: Bool = false, labels: [String: String] = [:], options: [String: String] = [:],
        ipam: EngineIPAM, endpoints: [String: EngineNetworkEndpoint] = [:]
    ) {
        self.id = id
        self.name = name
        self.driver = driver
        self.scope = scope
        self.created = created
        self.isInternal = isInternal
        self.isAttachable = isAttachable
        self.enablesIPv6 = enablesIPv6
        self.labels = labels
        self.options = options
        self.ipam = ipam
        self.endpoints = endpoints
    }
}

/// A network's addresses as they were asked for.
package struct EngineIPAM: Equatable, Sendable {
    package struct Subnet: Equatable, Sendable {
        package var subnet: String?
        package var ipRange: String?
        package var gateway: String?
        package var auxiliaryAddresses: [String: String]

        package init(
            subnet: String? = nil, ipRange: String? = nil, gateway: String? = nil, auxiliaryAddresses: [String: String] = [:]
        ) {
            self.subnet = subnet
            self.ipRange = ipRange
            self.gateway = gateway
            self.auxiliaryAddresses = auxiliaryAddresses
        }
    }

    package var driver: String
    package var options: [String: String]
    package var subnets: [Subnet]

    package init(driver: String, options: [String: String] = [:], subnets: [Subnet] = []) {
        self.driver = driver
        self.options = options
        self.subnets = subnets
    }
}

package struct EngineNetworkEndpoint: Equatable, Sendable {
    package var containerID: String
    /// The container's name.
    package var name: String
    package var macAddress: String
    /// With their lengths; empty where there is none.
    package var ipv4Address: String
    package var ipv6Address: String

    package init(containerID: String, name: String, macAddress: String, ipv4Address: String, ipv6Address: String) {
        self.containerID = containerID
        self.name = name
        self.macAddress = macAddress
        self.ipv4Address = ipv4Address
        self.ipv6Address = ipv6Address
    }
}

/// What to make: the same that `docker network create` takes.
package struct EngineNetworkSpec: Equatable, Sendable {
    package var name: String
    package var driver: String
    package var ipam: EngineIPAM
    package var options: [String: String]
    package var labels: [String: String]
    package var isInternal: Bool
    package var isAttachable: Bool
    package var enablesIPv6: Bool
    /// Engines before 28 know only networks with IPv4 and ignore it.
    package var enablesIPv4 = true

    package init(
        name: String, driver: String, ipam: EngineIPAM, options: [String: String] = [:], labels: [String: String] = [:],
        isInternal: Bool = false, isAttachable: Bool = false, enablesIPv6: Bool = false
    ) {
        self.name = name
        self.driver = driver
        self.ipam = ipam
        self.options = options
        self.labels = labels
        self.isInternal = isInternal
        self.isAttachable = isAttachable
        self.enablesIPv6 = enablesIPv6
    }
}

extension EngineNetwork {
    init(_ fields: FieldReader) throws(DockerError) {
        id = try fields.requiredText("Id")
        name = try fields.requiredText("Name")
        driver = try fields.text("Driver")
        scope = try fields.text("Scope")
        created = try fields.text("Created")
        isInternal = try fields.bool("Internal")
        isAttachable = try fields.bool("Attachable")
        enablesIPv6 = try fields.bool("EnableIPv6")
        labels = try fields.textMap("Labels")
        options = try fields.textMap("Options")
        ipam = try EngineIPAM(fields.reader("IPAM"))
        endpoints = [:]
        for (containerID, entry) in try fields.readerMap("Containers") {
            endpoints[try entry.requiredText("EndpointID")] = EngineNetworkEndpoint(
                containerID: containerID, name: try entry.text("Name"), macAddress: try entry.text("MacAddress"),
                ipv4Address: try entry.text("IPv4Address"), ipv6Address: try entry.text("IPv6Address"))
        }
    }
}

extension EngineIPAM {
    init(_ fields: FieldReader) throws(DockerError) {
        driver = try fields.text("Driver")
        options = try fields.textMap("Options")
        subnets = []
        for entry in try fields.readers("Config") {
            subnets.append(
                Subnet(
                    subnet: try entry.optionalText("Subnet"), ipRange: try entry.optionalText("IPRange"),
                    gateway: try entry.optionalText("Gateway"),
                    auxiliaryAddresses: try entry.textMap("AuxiliaryAddresses")))
        }
    }

    fileprivate var json: JSONValue {
        ["Driver": .text(driver), "Options": .texts(options), "Config": .list(subnets.map(\.json))]
    }
}

extension EngineIPAM.Subnet {
    fileprivate var json: JSONValue {
        var fields = [String: JSONValue]().adding("Subnet", subnet).adding("IPRange", ipRange).adding("Gateway", gateway)
        if !auxiliaryAddresses.isEmpty { fields["AuxiliaryAddresses"] = .texts(auxiliaryAddresses) }
        return .object(fields)
    }
}

extension EngineNetworkSpec {
    var json: JSONValue {
        [
            "Name": .text(name), "CheckDuplicate": true, "Driver": .text(driver), "IPAM": ipam.json, "Options": .texts(options),
            "Labels": .texts(labels), "Internal": .bool(isInternal), "Attachable": .bool(isAttachable),
            "EnableIPv6": .bool(enablesIPv6), "EnableIPv4": .bool(enablesIPv4),
        ]
    }
}
