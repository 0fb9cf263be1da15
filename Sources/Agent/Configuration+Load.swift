/// From flags, variables and the file to a `Configuration`.
///
/// Each source gives texts by setting; for each setting the text of the first source that has one counts, is parsed by its row of the
/// table, and is named with its origin when it is not allowed.
import Glibc

extension Configuration {
    /// - Parameters:
    ///   - flags: by setting's name, without dashes.
    ///   - environment: all variables; those that begin with TULLE_ count, an empty one does not.
    package static func load(
        flags: [String: String], environment: [String: String], defaultFile: String = Configuration.defaultFile,
        hostName: () -> String = Configuration.hostName
    ) throws(ConfigurationError) -> Configuration {
        var configuration = Configuration(nodeName: "")
        var settings = try Settings(flags: flags, environment: environment, warnings: &configuration.warnings)
        configuration.file = try settings.readFile(default: defaultFile)
        for option in ConfigurationOption.all where option.isFileKey {
            guard let setting = settings[option] else { continue }
            guard option.set(&configuration, setting.text) else { throw setting.refusal(option) }
        }
        if settings[.nodeName] == nil { try configuration.takeName(of: hostName()) }
        if configuration.forgetAfter <= configuration.lease {
            let place = (settings[.forgetAfter] ?? settings[.lease])?.place ?? "the defaults"
            throw ConfigurationError(
                .contradiction, place,
                "forget-after must be longer than lease: a node that may still give addresses must learn of a removed network",
                remedy: "raise forget-after or lower lease")
        }
        if (configuration.storeCertificate == nil) != (configuration.storeKey == nil) {
            throw ConfigurationError(
                .contradiction, (settings[.storeCertificate] ?? settings[.storeKey])?.place ?? "the defaults",
                "store-cert and store-key belong together, and one of them is missing", remedy: "give both or none")
        }
        if configuration.dockerSocket != nil, configuration.pluginSocket == configuration.localSocket {
            throw ConfigurationError(
                .contradiction, (settings[.pluginDirectory] ?? settings[.runDirectory])?.place ?? "the defaults",
                "plugin-dir and run-dir are the same directory, and both sockets would be \(configuration.localSocket)",
                remedy: "give --run-dir another directory")
        }
        return configuration
    }

    /// Where to find the agent, for its clients: they need one setting, and no fault of the others stops them.
    package static func localSocket(
        flags: [String: String], environment: [String: String], defaultFile: String = Configuration.defaultFile
    ) throws(ConfigurationError) -> String {
        var configuration = Configuration(nodeName: "")
        var settings = try Settings(flags: flags, environment: environment, warnings: &configuration.warnings)
        if settings[.runDirectory] == nil { _ = try? settings.readFile(default: defaultFile) }
        if let setting = settings[.runDirectory], !ConfigurationOption.runDirectory.set(&configuration, setting.text) {
            throw setting.refusal(.runDirectory)
        }
        return configuration.localSocket
    }

    private mutating func takeName(of host: String) throws(ConfigurationError) {
        guard ConfigurationOption.nodeName.set(&self, host) else {
            throw ConfigurationError(
                .badValue, "node-name", "the host's name '\(host.shown)' cannot be the node's",
                remedy: "give --node-name \(ConfigurationOption.nodeName.allowed)")
        }
    }

    /// As gethostname(2) gives it.
    package static func hostName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

private struct Settings {
    struct Setting {
        var text: String
        /// A flag and a variable name the setting, a line of the file does not.
        var place: String
        var isLine = false

        func refusal(_ option: ConfigurationOption) -> ConfigurationError {
            let value = option.isSecret ? "this value" : "'\(text.shown)'"
            let cause = "\(isLine ? "\(option.name): " : "")\(value) is not allowed"
            return ConfigurationError(.badValue, place, cause, remedy: "give \(option.allowed)")
        }
    }

    private var flags: [String: Setting] = [:]
    private var variables: [String: Setting] = [:]
    private var file: [String: Setting] = [:]

    subscript(option: ConfigurationOption) -> Setting? {
        flags[option.name] ?? variables[option.name] ?? file[option.name]
    }

    init(flags: [String: String], environment: [String: String], warnings: inout [String]) throws(ConfigurationError) {
        let all = ConfigurationOption.all
        for (name, text) in flags.sorted(by: { $0.key < $1.key }) {
            guard all.contains(where: { $0.name == name }) else {
                throw ConfigurationError(
                    .unknownName, "--\(name.shown)",
                    "no such option" + ConfigurationHint.suffix("--\(name)", among: all.map { "--\($0.name)" }))
            }
            self.flags[name] = Setting(text: text, place: "--\(name)")
        }
        for (variable, text) in environment.sorted(by: { $0.key < $1.key }) where variable.hasPrefix(ConfigurationOption.variablePrefix) {
            if let option = all.first(where: { $0.variable == variable }) {
                if !text.isEmpty { variables[option.name] = Setting(text: text, place: variable) }
            } else if variable != AgentClock.variable || !AgentClock.isTest {
                let hint = ConfigurationHint.suffix(variable, among: all.map(\.variable))
                warnings.append("\(variable.shown) is ignored: no such setting\(hint)")
            }
        }
    }

    /// The path that was read, nil when the default file is absent.
    mutating func readFile(default defaultFile: String) throws(ConfigurationError) -> String? {
        let named = self[.config]
        let path = named?.text ?? defaultFile
        if let named, path.isEmpty { throw named.refusal(.config) }
        guard let read = try ConfigurationFile.read(path) else {
            guard let named else { return nil }
            throw ConfigurationError(.unreadableFile, named.place, "there is no file '\(path.shown)'")
        }
        let keys = ConfigurationOption.all.filter(\.isFileKey).map(\.name)
        for entry in read.entries {
            let place = "\(path):\(entry.line)"
            guard keys.contains(entry.key) else {
                throw ConfigurationError(
                    .unknownName, place, "unknown key '\(entry.key.shown)'" + ConfigurationHint.suffix(entry.key, among: keys))
            }
            file[entry.key] = Setting(text: entry.value, place: place, isLine: true)
        }
        return path
    }
}
