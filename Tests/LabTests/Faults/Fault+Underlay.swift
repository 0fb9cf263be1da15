/// The hosts' network is cut: a cable, a direction, or only what agents and stores say to each other. Traffic is lost between the two sides of the cut and nowhere else.
import LocalAPI
import TestKit
import Testing

extension Fault {
    static let underlay = [
        cable, flapping,
        partition("partition", of: 2, from: [1, 3], directions: ["input", "output"], isShort: false),
        partition("partition-one-way", of: 3, from: [1, 2], directions: ["input"], isShort: true),
        partition("partition-of-two", of: 2, from: [3], directions: ["input", "output"], isShort: false),
        partition("agents-partition", of: 3, from: [1, 2], directions: ["input", "output"], control: true, lasts: FaultLab.lease + 2, isShort: false),
        partition("first-agent-partition-one-way", of: 1, from: [2, 3], directions: ["output"], control: true, isShort: false),
    ]

    private static let cable = Fault(
        name: "cable-pulled", parts: [.host(3), .network], refuses: [3], cuts: { ($0 == 3) != ($1 == 3) }, lasts: .seconds(8), within: .seconds(30),
        inject: { _ in try lab.run(["link", "h3", "down"]) },
        heal: { _ in try lab.run(["link", "h3", "up"]) })

    private static let flapping = Fault(
        name: "cable-loose", parts: [.host(2), .network], refuses: [2], cuts: { ($0 == 2) != ($1 == 2) }, within: .seconds(30),
        inject: { _ in
            for _ in 0..<8 {
                try lab.run(["link", "h2", "down"])
                try await Task.sleep(for: .milliseconds(300))
                try lab.run(["link", "h2", "up"])
                try await Task.sleep(for: .milliseconds(300))
            }
        },
        heal: { _ in })

    /// - Parameters:
    ///   - directions: of the packets that this host does not get or send: "input", "output".
    ///   - control: only what agents (TCP 7940) and etcd's members (2379, 2380) say; the tunnels work.
    ///   - lasts: seconds. Past the lease where agents alone are cut off: their containers must not notice.
    private static func partition(
        _ name: String, of number: Int, from others: [Int], directions: [String], control: Bool = false, lasts: Int = 8, isShort: Bool
    ) -> Fault {
        let places = others.map { "192.168.99.\($0)" }.joined(separator: ", ")
        let rules = directions.map { direction in
            let end = direction == "input" ? "saddr" : "daddr"
            let ports = control ? "tcp dport { 2379, 2380, 7940 } drop; ip \(end) { \(places) } tcp sport { 2379, 2380, 7940 }" : ""
            return "chain \(direction) { type filter hook \(direction) priority -500; ip \(end) { \(places) } \(ports) drop; }"
        }
        // One that has the store is away from everybody.
        let refuses: Set<Int> = number == 1 ? [1, 2, 3] : [number]
        return Fault(
            name: name, parts: number == 1 ? [.host(1), .network, .store] : [.host(number), .network], refuses: refuses,
            cuts: { !control && (($0 == number && others.contains($1)) || ($1 == number && others.contains($0))) },
            lasts: .seconds(lasts), within: .seconds(30), isShort: isShort,
            inject: { _ in try lab.host(number).sh("nft -f - <<'END'\ntable inet fault {\n\(rules.joined(separator: "\n"))\n}\nEND") },
            heal: { _ in try lab.host(number).sh("nft delete table inet fault 2>/dev/null || true") })
    }
}
