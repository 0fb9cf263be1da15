/// A server in a container, over TCP and UDP and both families, which tells each client the address that it sees.
import Addressing
import TestKit
import Testing

enum Service {
    /// Socat's words for the kinds of sockets, and what a client on a machine without names types.
    enum Kind: String, CaseIterable, Sendable {
        case tcp4 = "TCP4", tcp6 = "TCP6", udp4 = "UDP4", udp6 = "UDP6"
        var isV6: Bool { rawValue.hasSuffix("6") }
        var isTCP: Bool { rawValue.hasPrefix("TCP") }
    }

    /// In the container, on that port.
    static func start(in container: Container, port: Int = 80, kinds: [Kind] = Kind.allCases) throws {
        for kind in kinds {
            let listen = kind.isTCP ? "\(kind.rawValue)-LISTEN:\(port),fork,reuseaddr" : "\(kind.rawValue)-RECVFROM:\(port),fork,reuseaddr"
            try container.host.docker([
                "exec", "-d", container.name, "socat", listen + (kind.isV6 ? ",ipv6only=1" : ""), "SYSTEM:echo \(container.name) $SOCAT_PEERADDR",
            ])
        }
    }

    /// What a client types; answers "NAME ADDRESS".
    static func command(_ kind: Kind, _ address: String, _ port: Int, source: String? = nil) -> String {
        let place = "\(kind.rawValue):\(kind.isV6 ? "[\(address)]" : address):\(port)"
        let bind = source.map { ",bind=\(kind.isV6 ? "[\($0)]" : $0)" } ?? ""
        return kind.isTCP
            ? "socat -T 3 - \(place),connect-timeout=3\(bind) </dev/null" : "echo | socat -T 2 -t 2 - \(place)\(bind)"
    }

    /// Name and client's address from an answer; socat writes all digits of IPv6, in brackets.
    static func parse(_ answer: String) -> (name: String, client: String)? {
        let words = answer.labWords
        guard words.count == 2 else { return nil }
        let text = words[1].filter { $0 != "[" && $0 != "]" }
        return (words[0], IPAddress(text)?.description ?? text)
    }
}

extension LabHost {
    /// Asks a service from the host itself; nil: no answer.
    func asks(_ kind: Service.Kind, _ address: String, _ port: Int, source: String? = nil) throws -> (name: String, client: String)? {
        Service.parse(try attempt(Service.command(kind, address, port, source: source)).output.trimmed)
    }
}

extension Container {
    func asks(_ kind: Service.Kind, _ address: String, _ port: Int) throws -> (name: String, client: String)? {
        let result = try host.lab.attempt(["docker", "\(host)", "exec", name, "sh", "-c", Service.command(kind, address, port)])
        return Service.parse(result.output.trimmed)
    }
}
