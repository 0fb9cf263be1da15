import LocalAPI
import TestKit
import Testing

/// Certificates that end soon: nobody notices.
@Suite(
    "joining: certificates are renewed", .serialized, .needsLab,
    .lab("renew", agents: "--certificate-lifetime 20s", prepare: Stage.prepare))
struct JoiningRenewalTests {
    private func serial(_ host: LabHost) throws -> String {
        try lab.shell("openssl x509 -noout -serial -in \(host.directory)/lib/tulle/node.pem")
    }

    @Test("each node's certificate is replaced before it ends, twice, without a lost packet and with the store in reach")
    func renewal() async throws {
        let there = try Pinger(from: Stage.web1, to: Stage.web2.address(on: Stage.network))
        let back = try Pinger(from: Stage.web3, to: Stage.web1.address(on: Stage.network))
        var seen = Dictionary(uniqueKeysWithValues: try hosts.map { ($0.number, Set([try serial($0)])) })
        try await eventually("each has its third certificate", within: .seconds(60)) {
            for host in hosts {
                seen[host.number, default: []].insert(try serial(host))
                let status = try await host.agent.status()
                if !status.store.reachable || !status.problems.isEmpty { Issue.record("\(host): \(status.store) \(status.problems)") }
            }
            return seen.values.allSatisfy { $0.count >= 3 }
        }
        // By connections with the new ones, as the first have ended by now.
        try h3.createNetwork("later", "--subnet 10.40.0.0/16")
        try await networkIsEverywhere("later")
        try h3.docker("network rm later")
        try h2.restartAgent()
        try await eventually("a fresh start uses the file", within: .seconds(20)) { try await lab.isWhole() }
        for host in hosts {
            let file = "\(host.directory)/lib/tulle/node.pem"
            #expect(try lab.shell("stat -c %a:%u \(file)") == "600:0")
            try lab.shell("openssl x509 -noout -checkend 0 -in \(file)")
        }
        try there.expectNoLoss()
        try back.expectNoLoss()
    }

    @Test("a node that slept past its certificate's end cannot come back by itself, and its message says what to do")
    func overslept() async throws {
        try h3.stopAgent()
        try await eventually("its certificate has ended", within: .seconds(30)) {
            try lab.shell("openssl x509 -noout -checkend 0 -in \(h3.directory)/lib/tulle/node.pem >/dev/null && echo good || echo over") == "over"
        }
        try h3.startAgent()
        let problems = try await obtain("it says so", within: .seconds(15)) {
            let problems = try await h3.agent.status().problems.joined(separator: "\n")
            return problems.isEmpty ? nil : problems
        }
        #expect(problems.contains("clock") && problems.contains("join"), "\(problems)")
        // What it has goes on.
        try await Stage.web3.mustReach(Stage.web1.address(on: Stage.network))
    }
}
