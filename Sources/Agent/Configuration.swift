/// How an agent is set up. Every setting can be a flag, a variable or a line of the file, in that order of precedence;
/// `ConfigurationOption.all` is the one table of them, `Configuration.load` reads them.
package import Addressing
package import HTTP
import LocalAPI
package import Logging
package import Telemetry

package struct Configuration: Equatable, Sendable {
    /// The file that was read; nil when there was none.
    package var file: String?
    package var nodeName: String
    package var stateDirectory = "/var/lib/tulle"
    package var runDirectory = "/run/tulle"
    /// Nil: the interface of the default route.
    package var underlay: UnderlaySelector?
    /// Nil: as this node remembers; at its first start the embedded one.
    package var store: StoreChoice?
    /// Of etcd with TLS: files in PEM form. Nil authorities: the system's.
    package var storeAuthorities: String?
    package var storeCertificate: String?
    package var storeKey: String?
    /// Nil: the underlay address, port `defaultPort`.
    package var listen: ListenAddress?
    package var join: HTTPAddress?
    package var token: String?
    /// Nil: without Docker.
    package var dockerSocket: String? = "/run/docker.sock"
    package var pluginDirectory = "/run/docker/plugins"
    package var logLevel = Logger.Level.info
    package var logFormat = LogFormat.text
    // The same on every node of a cluster:
    package var vxlanPort: UInt16 = 7941
    package var vniBase: UInt32 = 0x100000
    package var scope = NetworkScope.local
    package var forgetAfter: Duration = .seconds(7 * 86_400)
    package var lease: Duration = .seconds(600)
    package var certificateLifetime: Duration = .seconds(30 * 86_400)
    /// What is odd and was ignored; for the log.
    package var warnings: [String] = []

    /// Everything else has its default.
    package init(nodeName: String) { self.nodeName = nodeName }

    /// The seconds of a duration such as 90s, 1h30m or 7d, to 365 days; nil for what is none.
    package static func seconds(_ text: String) -> Int? {
        ConfigurationValue.duration(text, upToDays: 365).map { Int($0.components.seconds) }
    }

    /// The agents' TCP port, where none is given.
    package static let defaultPort: UInt16 = 7940
    /// Read when no other file is named; it may be absent.
    package static let defaultFile = "/etc/tulle/tulle.yaml"

    /// The local API's socket.
    package var localSocket: String { "\(runDirectory)/\(LocalRoute.socketName)" }
    /// Where Docker looks for the driver "tulle".
    var pluginSocket: String { "\(pluginDirectory)/tulle.sock" }
}

/// Which of the host's addresses is the underlay's.
package enum UnderlaySelector: Hashable, Sendable {
    case interface(String)
    case address(IPAddress)
    /// An address within that prefix.
    case prefix(IPPrefix)
}

package enum StoreChoice: Hashable, Sendable {
    case embedded
    /// Its address, as it was given (`EtcdLocation`); it may have a password in it.
    case etcd(String)
}

package struct ListenAddress: Hashable, Sendable {
    package var address: IPAddress
    package var port: UInt16
    package init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }
}

/// What the network driver tells Docker about the reach of its networks.
package enum NetworkScope: String, Hashable, Sendable, CaseIterable {
    case local, global
}
