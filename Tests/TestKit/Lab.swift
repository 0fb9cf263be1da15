/// Real Docker hosts on this machine, made of namespaces by `lab/lab` (see `lab/README.md`), for one suite of tests.
import Glibc

package struct Lab: Sendable {
    /// Also says where its files are.
    package let name: String
    /// The variables that `lab/lab` reads, such as LAB_MTU.
    private let settings: [String: String]

    /// - Parameter suite: a few lower-case letters; `LAB_PREFIX` in front of them tells runs apart.
    package init(suite: String, settings: [String: String] = [:]) {
        name = (getenv("LAB_PREFIX").map { String(cString: $0) } ?? "test") + suite
        self.settings = settings.merging(["LAB_NAME": name]) { $1 }
    }

    package var directory: String { "/tmp/lab-\(name)" }
    package func host(_ number: Int) -> LabHost { LabHost(lab: self, number: number) }
    package func hosts(_ count: Int) -> [LabHost] { (1...count).map { host($0) } }

    package static let repository: String = {
        // This file is Tests/TestKit/Lab.swift of it.
        #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3).joined(separator: "/")
    }()

    /// `lab/lab ARGUMENTS`, as a process that runs on.
    package func start(_ arguments: [String], input: [UInt8] = []) throws(LabFailure) -> LabProcess {
        try LabProcess(["\(Self.repository)/lab/lab"] + arguments, environment: settings, input: input)
    }

    /// `lab/lab ARGUMENTS` to its end, whatever that is.
    package func attempt(
        _ arguments: [String], input: [UInt8] = [], within limit: Duration = .seconds(40)
    ) throws(LabFailure) -> LabProcess.Result {
        try start(arguments, input: input).finish(within: limit)
    }

    /// `lab/lab ARGUMENTS`, which must succeed; its output.
    @discardableResult
    package func run(
        _ arguments: [String], input: [UInt8] = [], within limit: Duration = .seconds(40)
    ) throws(LabFailure) -> String {
        let result = try attempt(arguments, input: input, within: limit)
        guard result.status == 0 else {
            throw LabFailure("lab \(arguments.joined(separator: " ")): status \(result.status)\n\(result.output)\(result.talk)")
        }
        return result.output
    }

    package func up(hosts: Int, options: [String] = []) throws(LabFailure) {
        try run(["up", String(hosts)] + options, within: .seconds(180))
    }

    /// Takes it down; what is left of it afterwards, which should be nothing.
    package func down() throws(LabFailure) -> String {
        try run(["down"], within: .seconds(120))
        return try attempt(["residue"]).output
    }

    /// The program under test, as `lab/lab` finds it.
    package func program() throws(LabFailure) -> String {
        if let path = getenv("TULLE") { return String(cString: path) }
        return try shell("ls \(Self.repository)/.build/release/tulle \(Self.repository)/.build/debug/tulle 2>/dev/null | head -1")
    }

    /// A script on the machine itself, for files of the lab.
    @discardableResult
    package func shell(_ script: String) throws(LabFailure) -> String {
        let result = try LabProcess(["sh", "-c", script]).finish(within: .seconds(20))
        guard result.status == 0 else { throw LabFailure("\(script): status \(result.status)\n\(result.output)\(result.talk)") }
        return result.output.trimmed
    }

    /// A command on the underlay: the bridge between the hosts, 192.168.99.254, which is no node of the cluster.
    @discardableResult
    package func underlay(_ line: String, input: [UInt8] = []) throws(LabFailure) -> String {
        try run(["exec", "net"] + line.labWords, input: input)
    }
}

extension String {
    /// Its words, as a shell without quotes would take them.
    package var labWords: [String] { split(separator: " ").map(String.init) }
}
