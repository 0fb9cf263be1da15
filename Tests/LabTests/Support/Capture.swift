/// What arrives at a container: told by tcpdump within its network namespace.
import TestKit
import Testing

struct Capture {
    private let process: LabProcess

    /// Returns when it listens.
    init(in container: Container, _ filter: String) throws {
        let namespace = "/proc/\(try container.pid())/ns/net"
        process = try container.host.lab.start([
            "exec", "\(container.host)", "sh", "-c",
            "exec nsenter --net=\(namespace) tcpdump -Z root -l -n --immediate-mode -Q in -i eth0 '\(filter)'",
        ])
        try process.wait(for: "listening on", within: .seconds(5))
    }

    /// What arrives at a host's underlay. Returns when it listens.
    init(on host: LabHost, _ filter: String) throws {
        process = try host.lab.start([
            "exec", "\(host)", "sh", "-c", "exec tcpdump -Z root -l -n --immediate-mode -Q in -i eth0 '\(filter)'",
        ])
        try process.wait(for: "listening on", within: .seconds(5))
    }

    /// How many have come so far: a line for each.
    func count() -> Int { process.outputSoFar().lines.count }
}
