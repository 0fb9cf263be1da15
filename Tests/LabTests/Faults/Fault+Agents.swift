/// Agents that die or stand still, on a host with the embedded store and on one without. No packet may be lost by any of it.
import LocalAPI
import TestKit
import Testing

extension Fault {
    static let agents = [killed(2), killed(1), killedAgain(3), killedAll, frozen(3), frozen(1)]

    /// kill -9, and a start seconds later.
    private static func killed(_ number: Int) -> Fault {
        Fault(
            name: number == 1 ? "first-agent-killed" : "agent-killed", parts: number == 1 ? [.host(1), .store] : [.host(number)], refuses: [number],
            within: .seconds(20),
            inject: { _ in try lab.host(number).stopAgent("KILL") },
            heal: { _ in try await lab.host(number).startTestAgentAgain() })
    }

    /// Ten times in a row, as by a supervisor.
    private static func killedAgain(_ number: Int) -> Fault {
        Fault(
            name: "agent-killed-again", parts: [.host(number)], refuses: [number], lasts: .seconds(2), within: .seconds(20),
            inject: { _ in
                for _ in 0..<10 {
                    try lab.host(number).stopAgent("KILL")
                    try await lab.host(number).startTestAgent()
                }
            },
            heal: { _ in })
    }

    private static let killedAll = Fault(
        name: "all-agents-killed", parts: [.host(1), .host(2), .host(3), .store], refuses: [1, 2, 3], within: .seconds(20),
        inject: { _ in for host in hosts { try host.stopAgent("KILL") } },
        heal: { _ in for host in hosts { try await host.startTestAgentAgain() } })

    /// SIGSTOP until the lease is over. The embedded store stands still with the first agent: then nobody's lease is renewed.
    private static func frozen(_ number: Int) -> Fault {
        Fault(
            name: number == 1 ? "first-agent-frozen" : "agent-frozen", parts: number == 1 ? [.host(1), .store] : [.host(number)],
            refuses: number == 1 ? [1, 2, 3] : [number], lasts: .seconds(FaultLab.lease + 2), within: .seconds(20), isShort: number == 1,
            inject: { _ in try lab.host(number).stop("agent", "STOP") },
            meanwhile: { scene in
                guard number == 1, scene.kind == .embedded else { return }
                try await eventually("the lease has ended") { try await h2.agent.status().lease.state == .ended }
                let answer = try h2.dockerRefuses("run --name never --network \(Stage.network) lab true")
                #expect(answer.contains("lease ended"), "\(answer)")
                _ = try? h2.docker("rm -f never")
            },
            heal: { _ in try lab.host(number).stop("agent", "CONT") })
    }
}
