import TestKit
import Testing

/// What others do to the host's firewall. Docker itself has set the FORWARD policy to DROP.
@Suite("beside the host's firewall", .serialized, .needsLab, .lab("wall", prepare: Stage.prepare))
struct FirewallTests {
    /// What somebody does on every host.
    struct Act: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let script: String
    }
    static let acts = [
        Act(testDescription: "FORWARD policy DROP", script: "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP"),
        Act(testDescription: "iptables -F FORWARD", script: "iptables -F FORWARD; ip6tables -F FORWARD; \(dropForward)"),
        Act(testDescription: "iptables -F", script: "iptables -F; ip6tables -F; \(dropForward)"),
        Act(testDescription: "iptables -F and -X", script: "iptables -F; iptables -X; ip6tables -F; ip6tables -X; \(dropForward)"),
        Act(testDescription: "rules as ufw makes them", script: ["iptables", "ip6tables"].map(ufw).joined(separator: "\n")),
    ]
    private static let dropForward = "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP"

    /// Deny incoming and routed, allow what was asked for: ssh and the agents' two ports (docs/ports.md).
    private static func ufw(_ tool: String) -> String {
        """
        \(tool) -F FORWARD
        \(tool) -N ufw-in; \(tool) -A INPUT -j ufw-in
        \(tool) -A ufw-in -i lo -j ACCEPT
        \(tool) -A ufw-in -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        \(tool) -A ufw-in -m conntrack --ctstate INVALID -j DROP
        \(tool) -A ufw-in -p \(tool == "iptables" ? "icmp" : "icmpv6") -j ACCEPT
        \(tool) -A ufw-in -p tcp -m multiport --dports 22,7940,8000 -j ACCEPT
        \(tool) -A ufw-in -p udp --dport 7941 -j ACCEPT
        \(tool) -N ufw-forward; \(tool) -A FORWARD -j ufw-forward
        \(tool) -A ufw-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        \(tool) -A ufw-forward -j REJECT
        \(tool) -P INPUT DROP; \(tool) -P FORWARD DROP
        """
    }

    @Test("containers do not notice, and the way out is open again within seconds", arguments: acts)
    func firewall(act: Act) async throws {
        for host in hosts { try host.sh("iptables-save >/run/v4.save; ip6tables-save >/run/v6.save") }
        let across = try Pinger(from: Stage.web1, to: Stage.web2.address(on: Stage.network))
        let across6 = try Pinger(from: Stage.web3, to: Stage.beside.address6(on: Stage.network))
        let here = try Pinger(from: Stage.beside, to: Stage.web1.address(on: Stage.network))
        for host in hosts { try host.sh(act.script) }
        let wayOut = await Result.of {
            for container in Stage.all {
                for outside in [h1, h2, h3].filter({ $0.number != container.host.number }) {
                    try await container.mustReach(outside.address, within: .seconds(8))
                    try await container.mustReach(outside.address6, within: .seconds(8))
                }
            }
        }
        try across.expectNoLoss()
        try across6.expectNoLoss()
        try here.expectNoLoss()
        for host in hosts {
            // The policies and chains that were there before, and no others.
            try host.sh("""
                iptables -P INPUT ACCEPT; ip6tables -P INPUT ACCEPT; iptables -F; iptables -X; ip6tables -F; ip6tables -X
                iptables-restore </run/v4.save; ip6tables-restore </run/v6.save
                """)
        }
        try wayOut.get()
    }
}

extension Result where Success == Void, Failure == any Error {
    static func of(_ body: () async throws -> Void) async -> Self {
        do { return .success(try await body()) } catch { return .failure(error) }
    }
}
