/// A server on a host which tells each client the address that it sees.
import Addressing
import TestKit
import Testing

struct Echo {
    private let host: LabHost
    private static let port = 8000

    init(on host: LabHost) throws {
        self.host = host
        for family in ["4", "6"] {
            let listen = "TCP\(family)-LISTEN:\(Self.port),fork,reuseaddr" + (family == "6" ? ",ipv6only=1" : "")
            try host.spawn("echo\(family)", ["socat", listen, "SYSTEM:echo $SOCAT_PEERADDR"])
        }
    }
    func stop() throws { for family in ["4", "6"] { try host.stop("echo\(family)") } }

    /// - Parameter address: of the host; nil: that of the underlay.
    func ask(from container: Container, at address: String? = nil) throws -> String { try ask("TCP4:\(address ?? host.address)", container) }
    func ask6(from container: Container, at address: String? = nil) throws -> String {
        let answer = try ask("TCP6:[\(address ?? host.address6)]", container)
        // Socat writes all digits, in brackets.
        return IPAddress(String(answer.dropFirst().dropLast()))?.description ?? answer
    }
    private func ask(_ place: String, _ container: Container) throws -> String {
        try container.sh("socat -T 3 - \(place):\(Self.port),connect-timeout=3,retry=20,interval=0.1 </dev/null")
    }
}
