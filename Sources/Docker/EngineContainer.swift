/// A container as an engine tells it, as far as names go (`GET /containers/ID/json`).
package struct EngineContainer: Equatable, Sendable {
    /// On one network.
    package struct Attachment: Equatable, Sendable {
        package var endpointID: String
        /// What the user gave, and with engines before 25 the short id.
        package var aliases: [String]
        /// All that the engine itself answers to; engines from 25 on tell it.
        package var dnsNames: [String]

        package init(endpointID: String, aliases: [String] = [], dnsNames: [String] = []) {
            self.endpointID = endpointID
            self.aliases = aliases
            self.dnsNames = dnsNames
        }
    }

    package var id: String
    package var name: String
    package var hostname: String
    /// By the network's name.
    package var attachments: [String: Attachment]
    /// Those that are published, as the engine writes them: "80/tcp".
    package var ports: [String]

    package init(id: String, name: String, hostname: String = "", attachments: [String: Attachment] = [:], ports: [String] = []) {
        self.id = id
        self.name = name
        self.hostname = hostname
        self.attachments = attachments
        self.ports = ports
    }
}

extension EngineContainer {
    init(_ fields: FieldReader) throws(DockerError) {
        id = try fields.requiredText("Id")
        // The engine writes "/web".
        let full = try fields.text("Name")
        name = full.hasPrefix("/") ? String(full.dropFirst()) : full
        hostname = try fields.reader("Config").text("Hostname")
        attachments = [:]
        let settings = try fields.reader("NetworkSettings")
        for (network, entry) in try settings.readerMap("Networks") {
            attachments[network] = Attachment(
                endpointID: try entry.text("EndpointID"), aliases: try entry.texts("Aliases"), dnsNames: try entry.texts("DNSNames"))
        }
        // Those that were named, and all that are (`-P`); one that is only exposed has null there.
        ports = Set(try fields.reader("HostConfig").keys("PortBindings") + settings.keys("Ports")).sorted()
    }
}
