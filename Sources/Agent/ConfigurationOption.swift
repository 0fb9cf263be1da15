/// The table of all settings: it serves the flags and their help, the variables, the keys of the file, the hint at the nearest
/// name, and `docs/configuration.md`, which a test compares with it.
package struct ConfigurationOption: Sendable {
    /// The key in the file; the flag is `--NAME`.
    package let name: String
    /// What stands for the value in help texts.
    package let placeholder: String
    /// A sentence without its full stop.
    package let help: String
    package let standard: String
    /// Which values there are, to follow "give".
    package let allowed: String
    /// Its value is never printed.
    package let isSecret: Bool
    /// False when the value is not allowed.
    let set: @Sendable (inout Configuration, String) -> Bool

    private init<Value>(
        _ name: String, _ placeholder: String, _ help: String, standard: String, allowed: String, isSecret: Bool = false,
        parse: @escaping @Sendable (String) -> Value?, set: @escaping @Sendable (inout Configuration, Value) -> Void
    ) {
        self.name = name
        self.placeholder = placeholder
        self.help = help
        self.standard = standard
        self.allowed = allowed
        self.isSecret = isSecret
        self.set = { configuration, text in
            guard let value = parse(text) else { return false }
            set(&configuration, value)
            return true
        }
    }

    /// TULLE_NODE_NAME for node-name.
    package var variable: String { Self.variablePrefix + name.uppercased().split(separator: "-").joined(separator: "_") }
    static let variablePrefix = "TULLE_"
    /// The file cannot name a file.
    package var isFileKey: Bool { name != Self.config.name }
}

extension ConfigurationOption {
    package static let all = [
        config, nodeName, stateDirectory, runDirectory, underlay, store,
        storeAuthorities, storeCertificate, storeKey, listen, join, token, dockerSocket, pluginDirectory,
        logLevel, logFormat, vxlanPort, vniBase, scope, forgetAfter, lease,
        certificateLifetime,
    ]

    package static let config = ConfigurationOption(
        "config", "FILE", "Settings file", standard: "\(Configuration.defaultFile), if it exists", allowed: "the path of a file",
        parse: { $0.isEmpty ? nil : $0 }, set: { $0.file = $1 })

    package static let nodeName = ConfigurationOption(
        "node-name", "NAME", "This node's name in lists", standard: "the host's name",
        allowed: "1 to 64 letters, digits, '.', '-' and '_', a letter or digit first",
        parse: ConfigurationValue.nodeName, set: { $0.nodeName = $1 })

    package static let stateDirectory = ConfigurationOption(
        "state-dir", "DIR", "What must survive a reboot: identity, cluster, addresses", standard: "/var/lib/tulle",
        allowed: "an absolute path", parse: ConfigurationValue.path, set: { $0.stateDirectory = $1 })

    package static let runDirectory = ConfigurationOption(
        "run-dir", "DIR", "What lives until the reboot; the local API's socket tulle.sock is in it", standard: "/run/tulle",
        allowed: "an absolute path of at most 96 bytes", parse: ConfigurationValue.socketDirectory, set: { $0.runDirectory = $1 })

    package static let underlay = ConfigurationOption(
        "underlay", "IFACE|ADDRESS|CIDR", "The hosts' network that carries the tunnels", standard: "the interface of the default route",
        allowed: "an interface, an address of this host, or a network such as 192.0.2.0/24",
        parse: ConfigurationValue.underlay, set: { $0.underlay = $1 })

    package static let store = ConfigurationOption(
        "store", "embedded|URL", "Where the cluster's truth is kept; hosts that join learn it",
        standard: "embedded, or what this node remembers",
        allowed: "embedded, or etcd's address: etcd://[USER[:PASSWORD]@]HOST:PORT,HOST:PORT[/PREFIX], etcds:// with TLS, etcd+srv://DOMAIN",
        isSecret: true, parse: ConfigurationValue.store, set: { $0.store = $1 })

    package static let storeAuthorities = ConfigurationOption(
        "store-ca", "FILE", "With etcds://, the authorities that certify etcd (PEM)", standard: "the system's", allowed: "an absolute path",
        parse: ConfigurationValue.path, set: { $0.storeAuthorities = $1 })

    package static let storeCertificate = ConfigurationOption(
        "store-cert", "FILE", "With etcds://, this host's certificate for etcd (PEM)", standard: "none", allowed: "an absolute path",
        parse: ConfigurationValue.path, set: { $0.storeCertificate = $1 })

    package static let storeKey = ConfigurationOption(
        "store-key", "FILE", "With etcds://, the private key of --store-cert (PEM)", standard: "none", allowed: "an absolute path",
        parse: ConfigurationValue.path, set: { $0.storeKey = $1 })

    package static let listen = ConfigurationOption(
        "listen", "ADDRESS:PORT", "Where other agents reach this one (TCP)",
        standard: "the underlay address, port \(Configuration.defaultPort)",
        allowed: "an address and a port, such as 192.0.2.1:7940 or [2001:db8::1]:7940",
        parse: ConfigurationValue.listen, set: { $0.listen = $1 })

    package static let join = ConfigurationOption(
        "join", "HOST[:PORT]", "An agent of the cluster to join; counts on the first start only",
        standard: "none: the first start makes a cluster", allowed: "a host with or without a port, such as 192.0.2.1 or host1:7940",
        parse: ConfigurationValue.join, set: { $0.join = $1 })

    package static let token = ConfigurationOption(
        "token", "TOKEN",
        "What lets this host join, as `tulle token create` prints it; better as a variable or in the file, where `ps` does not show it",
        standard: "none; counts on the first start only", allowed: "16 to 256 printable characters without blanks", isSecret: true,
        parse: ConfigurationValue.token, set: { $0.token = $1 })

    package static let dockerSocket = ConfigurationOption(
        "docker-socket", "PATH|none", "The Docker engine's socket", standard: "/run/docker.sock",
        allowed: "an absolute path of at most 107 bytes, or none", parse: ConfigurationValue.dockerSocket,
        set: { $0.dockerSocket = $1.path })

    package static let pluginDirectory = ConfigurationOption(
        "plugin-dir", "DIR", "Where Docker looks for its plugins' sockets", standard: "/run/docker/plugins",
        allowed: "an absolute path of at most 96 bytes", parse: ConfigurationValue.socketDirectory, set: { $0.pluginDirectory = $1 })

    package static let logLevel = ConfigurationOption(
        "log-level", "LEVEL", "The least level that is logged", standard: "info",
        allowed: "trace, debug, info, notice, warning, error or critical", parse: ConfigurationValue.logLevel, set: { $0.logLevel = $1 })

    package static let logFormat = ConfigurationOption(
        "log-format", "text|json", "How log lines look", standard: "text", allowed: "text or json",
        parse: ConfigurationValue.logFormat, set: { $0.logFormat = $1 })

    package static let vxlanPort = ConfigurationOption(
        "vxlan-port", "PORT", "UDP port of the tunnels; the same on every node", standard: "7941",
        allowed: "a port from 1 to 65535, but not 4789 or 8472, which other overlays use", parse: ConfigurationValue.vxlanPort,
        set: { $0.vxlanPort = $1 })

    package static let vniBase = ConfigurationOption(
        "vni-base", "NUMBER", "The first VXLAN network identifier; the same on every node", standard: "0x100000",
        allowed: "a number from 1 to 0xff0000, decimal or with 0x", parse: ConfigurationValue.vniBase, set: { $0.vniBase = $1 })

    package static let scope = ConfigurationOption(
        "scope", "local|global",
        "What Docker is told about the networks' reach; global is for engines with a cluster store of their own; the same on every node",
        standard: "local", allowed: "local or global", parse: { NetworkScope(rawValue: $0) }, set: { $0.scope = $1 })

    package static let certificateLifetime = ConfigurationOption(
        "certificate-lifetime", "DURATION",
        "How long a node's certificate is good for, on the host that has the authority; it is renewed when a third is left", standard: "30d",
        allowed: "a duration from 1s to 3650d, such as 90d", parse: { ConfigurationValue.duration($0, upToDays: 3650) },
        set: { $0.certificateLifetime = $1 })

    package static let forgetAfter = ConfigurationOption(
        "forget-after", "DURATION", "How long a removed network is remembered for nodes that are away; the same on every node",
        standard: "7d", allowed: "a duration from 1s to 3650d, such as 12h or 1d12h",
        parse: { ConfigurationValue.duration($0, upToDays: 3650) }, set: { $0.forgetAfter = $1 })

    package static let lease = ConfigurationOption(
        "lease", "DURATION", "How long a node may give addresses without the store; the same on every node", standard: "10m",
        allowed: "a duration from 1s to 7d, such as 90s or 1h30m", parse: { ConfigurationValue.duration($0, upToDays: 7) },
        set: { $0.lease = $1 })
}
