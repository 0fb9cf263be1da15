import Addressing
import Agent
import Glibc
import HTTP
import Testing

/// A settings file in a directory of its own.
final class SettingsFile {
    let path: String
    private let directory: String

    init(_ text: String) throws {
        var template = Array("/tmp/tulle-settings-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        path = directory + "/tulle.yaml"
        let descriptor = open(path, O_WRONLY | O_CREAT, 0o600)
        let bytes = Array(text.utf8)
        try #require(write(descriptor, bytes, bytes.count) == bytes.count)
        close(descriptor)
    }
    deinit {
        unlink(path)
        rmdir(directory)
    }
}

private let absent = "/nonexistent/tulle.yaml"

func load(
    _ flags: [String: String] = [:], _ environment: [String: String] = [:], file: SettingsFile? = nil, host: String = "host1"
) throws(ConfigurationError) -> Configuration {
    try Configuration.load(flags: flags, environment: environment, defaultFile: file?.path ?? absent) { host }
}

@Suite struct ConfigurationTests {
    @Test("without any source everything has its default")
    func defaults() throws {
        let configuration = try load()
        #expect(configuration == Configuration(nodeName: "host1"))
        #expect(configuration.file == nil)
        #expect(configuration.localSocket == "/run/tulle/tulle.sock")
        #expect(configuration.lease == .seconds(600))
        #expect(configuration.forgetAfter == .seconds(604_800))
        #expect(configuration.vniBase == 1_048_576)
        #expect(configuration.listen == nil)
    }

    @Test("a flag counts before a variable, a variable before the file, the file before the default")
    func precedence() throws {
        let file = try SettingsFile("node-name: from-file\nlease: 1m\nvxlan-port: 1111\n")
        let variables = ["TULLE_NODE_NAME": "from-variable", "TULLE_VXLAN_PORT": "2222", "TULLE_LEASE": "", "HOME": "/"]
        let configuration = try load(["node-name": "from-flag"], variables, file: file)
        #expect(configuration.nodeName == "from-flag")
        #expect(configuration.vxlanPort == 2222)
        #expect(configuration.lease == .seconds(60))
        #expect(configuration.file == file.path)
        #expect(configuration.warnings == [])
    }

    @Test("each setting can be given by each source")
    func every() throws {
        let values = [
            "node-name": "n", "state-dir": "/a/", "run-dir": "/b", "underlay": "eth0", "store": "etcds://h/p", "store-ca": "/ca", "store-cert": "/cert", "store-key": "/key", "certificate-lifetime": "2d", "listen": "192.0.2.1:1",
            "join": "host2", "token": "0123456789abcdef", "docker-socket": "none", "plugin-dir": "/c", "log-level": "debug",
            "log-format": "json", "vxlan-port": "1", "vni-base": "0xff", "scope": "global", "forget-after": "1d12h", "lease": "1h30m5s",
        ]
        let names = ConfigurationOption.all.filter(\.isFileKey).map(\.name)
        #expect(Set(values.keys) == Set(names))
        let byFlag = try load(values)
        let byVariable = try load([:], Dictionary(uniqueKeysWithValues: ConfigurationOption.all.compactMap { option in
            values[option.name].map { (option.variable, $0) }
        }))
        let file = try SettingsFile(values.map { "\($0.key): \"\($0.value)\"\n" }.joined())
        var byFile = try load(file: file)
        byFile.file = nil
        var expected = Configuration(nodeName: "n")
        expected.stateDirectory = "/a"
        expected.runDirectory = "/b"
        expected.underlay = .interface("eth0")
        expected.store = .etcd("etcds://h/p")
        (expected.storeAuthorities, expected.storeCertificate, expected.storeKey) = ("/ca", "/cert", "/key")
        expected.certificateLifetime = .seconds(2 * 86_400)
        expected.listen = ListenAddress(address: IPAddress(v4: 0xc000_0201), port: 1)
        expected.join = .tcp(host: "host2", port: 7940)
        expected.token = "0123456789abcdef"
        expected.dockerSocket = nil
        expected.pluginDirectory = "/c"
        expected.logLevel = byFlag.logLevel
        expected.logFormat = byFlag.logFormat
        expected.vxlanPort = 1
        expected.vniBase = 255
        expected.scope = .global
        expected.forgetAfter = .seconds(129_600)
        expected.lease = .seconds(5405)
        #expect("\(byFlag.logLevel) \(byFlag.logFormat)" == "debug json")
        #expect(byFlag == expected)
        #expect(byVariable == expected)
        #expect(byFile == expected)
    }

    @Test("an underlay is an address, a network or an interface")
    func underlay() throws {
        func underlay(_ text: String) throws -> UnderlaySelector? { try load(["underlay": text]).underlay }
        let address = try #require(IPAddress("192.0.2.5"))
        #expect(try underlay("192.0.2.5") == .address(address))
        #expect(try underlay("192.0.2.5/24") == .prefix(IPPrefix(containing: address, length: 24)))
        #expect(try underlay("2001:db8::/64") == IPPrefix("2001:db8::/64").map { .prefix($0) })
        #expect(try underlay("enp0s31f6.100") == .interface("enp0s31f6.100"))
        for bad in ["", "192.0.2", "192.0.2.256", "a/b", "a b", "sixteen-letters0", "..", "eth0:1", "fe80::1%eth0", "äth0"] {
            #expect(throws: ConfigurationError.self, "\(bad)") { try underlay(bad) }
        }
    }

    @Test("hosts and ports")
    func hosts() throws {
        func join(_ text: String) throws -> HTTPAddress? { try load(["join": text]).join }
        #expect(try join("host1:1") == .tcp(host: "host1", port: 1))
        #expect(try join("192.0.2.1") == .tcp(host: "192.0.2.1", port: 7940))
        #expect(try join("2001:db8::1") == .tcp(host: "2001:db8::1", port: 7940))
        #expect(try join("[2001:db8::1]") == .tcp(host: "2001:db8::1", port: 7940))
        #expect(try join("[2001:db8::1]:99") == .tcp(host: "2001:db8::1", port: 99))
        #expect(try join("a.example.org:65535") == .tcp(host: "a.example.org", port: 65535))
        for bad in ["", ":1", "host:", "host:0", "host:65536", "host:+1", "[::1", "[::1]x", "[host]:1", "192.0.2.256", "a..b", "-a", "http://a"] {
            #expect(throws: ConfigurationError.self, "\(bad)") { try join(bad) }
        }
        for bad in ["192.0.2.1", "host:1", "[::1]", "0:1:2", "192.0.2.1:0"] {
            #expect(throws: ConfigurationError.self, "\(bad)") { try load(["listen": bad]) }
        }
    }

    @Test("durations and numbers out of range or badly written are refused")
    func ranges() {
        let bad = [
            "lease": ["0s", "", "10", "m", "1m1h", "1m1m", "8d", "-1s", "1.5h", "9999999999s", "1ms", "١s"],
            "vxlan-port": ["0", "65536", "4789", "8472", "7941 ", "+1", "0x1"],
            "vni-base": ["0", "0xff0001", "0x", "0xg", "-1", "+1", "1e5"],
            "node-name": ["", "-a", "a b", "ä", String(repeating: "a", count: 65)],
            "state-dir": ["", "var", "/", "//", "/a\nb"], "run-dir": ["/" + String(repeating: "a", count: 96)],
            "docker-socket": ["unix:///run/docker.sock", ""], "log-level": ["INFO", "warn"], "token": ["short", String(repeating: "a b", count: 9)],
        ]
        for (name, values) in bad {
            for value in values { #expect(throws: ConfigurationError.self, "\(name) \(value)") { try load([name: value]) } }
        }
    }

    @Test("the clients find the agent's socket, whatever else the file has")
    func socket() throws {
        let broken = try SettingsFile("token: &x {}")
        let good = try SettingsFile("run-dir: /run/other")
        func socket(_ flags: [String: String], _ environment: [String: String], _ file: String) throws -> String {
            try Configuration.localSocket(flags: flags, environment: environment, defaultFile: file)
        }
        #expect(try socket([:], [:], absent) == "/run/tulle/tulle.sock")
        #expect(try socket([:], [:], broken.path) == "/run/tulle/tulle.sock")
        #expect(try socket([:], [:], good.path) == "/run/other/tulle.sock")
        #expect(try socket([:], ["TULLE_RUN_DIR": "/v"], good.path) == "/v/tulle.sock")
        #expect(try socket([:], ["TULLE_CONFIG": good.path], absent) == "/run/other/tulle.sock")
        #expect(try socket(["run-dir": "/f"], ["TULLE_RUN_DIR": "/v"], good.path) == "/f/tulle.sock")
        #expect(throws: ConfigurationError.self) { try socket(["run-dir": "f"], [:], absent) }
    }
}
