/// A Compose project: one file, put on every host, and what people type there.
import FoundationEssentials
import TestKit
import Testing

struct Project: Sendable, CustomStringConvertible {
    let name: String
    /// What the file says about the network `shop`, a line each, indented as within it.
    let network: [String]

    /// Compose puts the project's name in front.
    var networkName: String { "\(name)_shop" }
    var description: String { network.isEmpty ? "nothing" : network.joined(separator: "; ") }

    init(name: String = "site", network: [String]) {
        self.name = name
        self.network = network
    }

    /// Both drivers, and what else the network is to have.
    /// - Parameters:
    ///   - config: a subnet each, as what stands between braces.
    ///   - options: the same of the address driver's options.
    static func tulle(name: String = "site", _ more: [String] = [], config: [String] = [], options: String = "") -> Project {
        let addresses = ["driver: tulle", "options: {\(options)}", "config: [\(config.map { "{\($0)}" }.joined(separator: ", "))]"]
        return Project(name: name, network: ["driver: tulle"] + more + ["ipam:"] + addresses.map { "  " + $0 })
    }

    private var text: String {
        """
        services:
          web:
            image: lab
            container_name: \(container)
            command: sleep 3600
            stop_signal: SIGKILL
            networks: [shop]
        networks:
          shop:
        \(network.map { "    \($0)" }.joined(separator: "\n"))

        """
    }
    private var container: String { "\(name)-web" }
    /// In the host.
    private var file: String { "/var/lib/compose/\(name)/docker-compose.yml" }

    func web(on host: LabHost) -> Container { Container(host: host, name: container) }
    func webs(on hosts: [LabHost]? = nil) -> [Container] { (hosts ?? LabTests.hosts).map { web(on: $0) } }

    /// What `docker-compose LINE` is as a command of `lab/lab`; the host has the file then.
    func command(_ line: String, on host: LabHost) throws -> [String] {
        let place = "\(host.directory)/lib/compose/\(name)"
        try host.lab.shell("mkdir -p \(place)")
        try text.write(toFile: "\(place)/docker-compose.yml", atomically: true, encoding: .utf8)
        return ["compose", "\(host)", "-f", file] + line.labWords
    }
    func attempt(_ line: String, on host: LabHost) throws -> LabProcess.Result {
        try host.lab.attempt(command(line, on: host), within: .seconds(60))
    }
    func run(_ line: String, on host: LabHost) throws {
        let result = try attempt(line, on: host)
        try #require(result.status == 0, "\(host): docker-compose \(line): \(result.output)\(result.talk)")
    }
    /// The same on several hosts at once; what became of each.
    func attemptAtOnce(_ line: String, on hosts: [LabHost]? = nil) throws -> [LabProcess.Result] {
        let running = try (hosts ?? LabTests.hosts).map { try $0.lab.start(command(line, on: $0)) }
        return try running.map { try $0.finish(within: .seconds(90)) }
    }
    func runAtOnce(_ line: String, on hosts: [LabHost]? = nil) throws {
        for result in try attemptAtOnce(line, on: hosts) {
            try #require(result.status == 0, "docker-compose \(line): \(result.output)\(result.talk)")
        }
    }
}

extension Trait where Self == ConditionTrait {
    /// The engine runs without it, so `scripts/lab-tools` goes on where it cannot be had.
    static var needsCompose: Self {
        .enabled("there is no docker-compose: scripts/lab-tools says why") {
            let script = #"PATH=${LAB_TOOLS:+$LAB_TOOLS:}$PATH; docker-compose version || docker compose version"#
            return try LabProcess(["sh", "-c", script]).finish(within: .seconds(30)).status == 0
        }
    }
}
