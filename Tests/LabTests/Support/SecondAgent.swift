/// An agent beside the host's own one, with directories and a port of its own and without Docker.
import TestKit
import Testing

struct SecondAgent {
    let host: LabHost
    let name: String
    private let arguments: String

    /// - Parameter more: further flags, such as `--join`.
    init(_ name: String, on host: LabHost, listen: String? = nil, stateDirectory: String? = nil, _ more: String = "") {
        self.host = host
        self.name = name
        arguments = "--state-dir \(stateDirectory ?? "/var/lib/\(name)") --run-dir /run/\(name) --plugin-dir /run/\(name)-plugins"
            + " --docker-socket none --node-name \(name) --listen \(listen ?? "\(host.address):7950") \(more)"
    }

    /// Where a program outside the host sees its files.
    func path(_ file: String) -> String { "\(host.directory)/lib/\(name)/\(file)" }

    func spawn() throws { try host.spawn(name, [try host.lab.program(), "agent"] + arguments.labWords) }
    /// Starts it and waits until it answers.
    func start() async throws {
        try spawn()
        try await eventually("\(name) serves", within: .seconds(10)) { try host.tulleAttempt("status --run-dir /run/\(name)").status == 0 }
    }
    func stop() throws {
        try host.stop(name)
        #expect(try host.exitStatus(name) == 0)
    }

    /// A start that must fail; what it says.
    func refused(status: Int32 = 1) throws -> String {
        let result = try host.tulleAttempt("agent \(arguments)")
        #expect(result.status == status, "\(result.talk)")
        return result.talk
    }
}
