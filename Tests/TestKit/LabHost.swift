/// One host of the lab: its engine, its agent, and somebody's hands on it.
import Glibc

package struct LabHost: Sendable, CustomStringConvertible {
    package let lab: Lab
    package let number: Int

    package var description: String { "h\(number)" }
    package var directory: String { "\(lab.directory)/\(self)" }
    package var address: String { "192.168.99.\(number)" }
    package var address6: String { "fd99:99::\(String(number, radix: 16))" }

    // MARK: Commands. A line is taken apart at its blanks; an array is taken as it is.

    @discardableResult
    package func docker(_ line: String, within limit: Duration = .seconds(40)) throws(LabFailure) -> String {
        try docker(line.labWords, within: limit)
    }
    @discardableResult
    package func docker(_ words: [String], within limit: Duration = .seconds(40)) throws(LabFailure) -> String {
        try lab.run(["docker", "\(self)"] + words, within: limit).trimmed
    }
    /// A Docker command that must fail; what it says.
    package func dockerRefuses(_ line: String) throws(LabFailure) -> String {
        let result = try lab.attempt(["docker", "\(self)"] + line.labWords)
        guard result.status != 0 else { throw LabFailure("docker \(line) succeeded on \(self): \(result.output)") }
        return result.talk
    }

    /// A shell's script on the host.
    @discardableResult
    package func sh(_ script: String, within limit: Duration = .seconds(40)) throws(LabFailure) -> String {
        try lab.run(["exec", "\(self)", "sh", "-c", script], within: limit).trimmed
    }
    package func attempt(_ script: String) throws(LabFailure) -> LabProcess.Result {
        try lab.attempt(["exec", "\(self)", "sh", "-c", script])
    }

    /// `tulle LINE`, which must succeed.
    @discardableResult
    package func tulle(_ line: String) throws(LabFailure) -> String { try lab.run(["tulle", "\(self)"] + line.labWords).trimmed }
    package func tulleAttempt(_ line: String, within limit: Duration = .seconds(20)) throws(LabFailure) -> LabProcess.Result {
        try lab.attempt(["tulle", "\(self)"] + line.labWords, within: limit)
    }

    // MARK: Daemons

    /// Runs on until `stop`, or until the host goes; its output is in the file that `log` reads.
    package func spawn(_ name: String, _ command: [String]) throws(LabFailure) { try lab.run(["spawn", name, "\(self)"] + command) }
    package func stop(_ name: String, _ signal: String = "TERM") throws(LabFailure) { try lab.run(["kill", name, "\(self)", signal]) }
    /// Starts the agent and waits until it answers Docker.
    package func startAgent(_ arguments: String = "") throws(LabFailure) { try lab.run(["agent", "\(self)"] + arguments.labWords) }
    package func stopAgent(_ signal: String = "TERM") throws(LabFailure) { try stop("agent", signal) }
    package func restartAgent(_ signal: String = "TERM", with arguments: String = "") throws(LabFailure) {
        try stopAgent(signal)
        try startAgent(arguments)
    }
    /// The exit status of a daemon that has ended.
    package func exitStatus(_ name: String) throws(LabFailure) -> Int32? { Int32(try read("\(name).exit").trimmed) }

    package func log(_ name: String = "agent") throws(LabFailure) -> String { try read("\(name).log") }
    /// What the agent logged while `body` ran.
    package func logged(during body: () async throws -> Void) async throws -> String {
        let before = try log().utf8.count
        try await body()
        return String(try log().utf8.dropFirst(before)) ?? ""
    }

    /// A file of the host's directory, as it is seen from outside.
    package func read(_ path: String) throws(LabFailure) -> String {
        let file = open("\(directory)/\(path)", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw LabFailure("cannot read \(directory)/\(path): \(String(cString: strerror(errno)))") }
        defer { close(file) }
        var bytes: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(file, &room, room.count)
            if count <= 0 { break }
            bytes += room[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension String {
    package var trimmed: String {
        var text = self[...]
        while text.last?.isWhitespace == true { text.removeLast() }
        while text.first?.isWhitespace == true { text.removeFirst() }
        return String(text)
    }
    package var lines: [String] { split(separator: "\n").map(String.init) }
}
