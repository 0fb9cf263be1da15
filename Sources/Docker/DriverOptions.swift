/// The `Options` of a network: the engine's own under `com.docker.network.*`, the user's under `…generic`.
package struct NetworkOptions: Equatable, Sendable {
    /// `--opt NAME=VALUE`.
    package var driver: [String: String]
    /// `--internal`.
    package var isInternal: Bool
    /// `--ipv6`.
    package var enablesIPv6: Bool
    /// `--ipv4=false` makes it false (Docker 28); engines that do not send it always mean true.
    package var enablesIPv4: Bool

    package init(
        driver: [String: String] = [:], isInternal: Bool = false, enablesIPv6: Bool = false, enablesIPv4: Bool = true
    ) {
        self.driver = driver
        self.isInternal = isInternal
        self.enablesIPv6 = enablesIPv6
        self.enablesIPv4 = enablesIPv4
    }
}

/// The `Options` of an endpoint: its ports and what was asked for with `--driver-opt`.
package struct EndpointOptions: Equatable, Sendable {
    /// `-p`; at `network connect` only Join carries them.
    package var portMappings: [PortMapping]
    /// `--expose` and EXPOSE.
    package var exposedPorts: [ExposedPort]
    /// `--mac-address`, in the form "02:11:22:33:44:55".
    package var macAddress: String?
    /// `--dns`.
    package var dnsServers: [String]
    /// `--driver-opt NAME=VALUE`, and other texts that the engine adds.
    package var driver: [String: String]

    package init(
        portMappings: [PortMapping] = [], exposedPorts: [ExposedPort] = [], macAddress: String? = nil, dnsServers: [String] = [],
        driver: [String: String] = [:]
    ) {
        self.portMappings = portMappings
        self.exposedPorts = exposedPorts
        self.macAddress = macAddress
        self.dnsServers = dnsServers
        self.driver = driver
    }
}

/// `proto` is the protocol's number (IANA): 6 TCP, 17 UDP, 132 SCTP.
package struct ExposedPort: Hashable, Sendable {
    package var proto: UInt8
    package var port: UInt16

    package init(proto: UInt8, port: UInt16) {
        self.proto = proto
        self.port = port
    }
}

package struct PortMapping: Hashable, Sendable {
    package var proto: UInt8
    /// The container's own address; nil means all.
    package var address: String?
    package var port: UInt16
    /// nil means all of the host's addresses.
    package var hostAddress: String?
    /// 0 to have one chosen from up to `hostPortEnd`.
    package var hostPort: UInt16
    package var hostPortEnd: UInt16

    package init(
        proto: UInt8, address: String? = nil, port: UInt16, hostAddress: String? = nil, hostPort: UInt16, hostPortEnd: UInt16
    ) {
        self.proto = proto
        self.address = address
        self.port = port
        self.hostAddress = hostAddress
        self.hostPort = hostPort
        self.hostPortEnd = hostPortEnd
    }
}

extension NetworkOptions {
    init(_ options: FieldReader) throws(DockerError) {
        driver = try options.textMap("com.docker.network.generic")
        isInternal = try options.bool("com.docker.network.internal")
        enablesIPv6 = try options.bool("com.docker.network.enable_ipv6")
        let ipv4 = "com.docker.network.enable_ipv4"
        enablesIPv4 = options.fields[ipv4] == nil ? true : try options.bool(ipv4)
    }
}

extension EndpointOptions {
    private static let prefix = "com.docker.network."

    init(_ options: FieldReader) throws(DockerError) {
        let prefix = EndpointOptions.prefix
        portMappings = []
        for entry in try options.readers(prefix + "portmap") { portMappings.append(try PortMapping(entry)) }
        exposedPorts = []
        for entry in try options.readers(prefix + "endpoint.exposedports") {
            exposedPorts.append(ExposedPort(proto: try entry.integer("Proto"), port: try entry.integer("Port")))
        }
        dnsServers = try options.texts(prefix + "endpoint.dnsservers")

        let macName = prefix + "endpoint.macaddress"
        macAddress = nil
        if let text = try options.optionalText(macName) {
            guard let address = EndpointOptions.macAddress(text) else { 
                throw options.fault(macName, "is not a MAC address of six bytes", remedy: "correct --mac-address, as in 02:42:ac:11:00:02")
            }
            macAddress = address
        }
        driver = [:]
        for (name, value) in options.fields where name != macName {
            if case .text = value { driver[name] = try options.text(name) }
        }
    }

    /// The engine sends the six bytes in base64 (8 digits, RFC 4648); the usual form is taken as well.
    private static func macAddress(_ text: String) -> String? {
        var bytes: [UInt8] = []
        if text.contains(":") {
            for part in text.split(separator: ":", omittingEmptySubsequences: false) {
                guard part.utf8.count == 2, part.allSatisfy(\.isHexDigit), let byte = UInt8(part, radix: 16) else { return nil }
                bytes.append(byte)
            }
        } else {
            let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
            guard text.utf8.count == 8 else { return nil }
            var value: UInt64 = 0
            for digit in text.utf8 {
                guard let index = alphabet.firstIndex(of: digit) else { return nil }
                value = value << 6 | UInt64(index)
            }
            bytes = (0..<6).map { UInt8(truncatingIfNeeded: value >> (40 - 8 * $0)) }
        }
        guard bytes.count == 6 else { return nil }
        return bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
    }
}

extension PortMapping {
    init(_ entry: FieldReader) throws(DockerError) {
        self.init(
            proto: try entry.integer("Proto"), address: try entry.optionalText("IP"), port: try entry.integer("Port"),
            hostAddress: try entry.optionalText("HostIP"), hostPort: try entry.integer("HostPort"),
            hostPortEnd: try entry.integer("HostPortEnd"))
    }
}
