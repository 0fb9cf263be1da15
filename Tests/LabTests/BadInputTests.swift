import LocalAPI
import TestKit
import Testing

/// What a member's host, or a stranger at the port, may do to a cluster: junk in the store, and floods of connections.
@Suite("bad input", .serialized, .needsLab, .lab("bad", prepare: Stage.prepare))
struct BadInputTests {
    /// A commit with h1's certificate, as somebody with root on a member could make it.
    private func commit(_ operations: String) throws {
        let answer = try h1.sh(
            #"curl -sk -m 10 --cert /var/lib/tulle/node.pem -X POST -d '{"conditions":[],"operations":[\#(operations)]}' https://192.168.99.1:7940/v1/store/commit"#)
        #expect(answer.contains("committed"), "\(answer)")
    }
    private func stored(_ prefix: String) throws -> String {
        try h1.sh(#"curl -sk -m 5 --cert /var/lib/tulle/node.pem -X POST -d '{"prefix":"\#(prefix)"}' https://192.168.99.1:7940/v1/store/list"#)
    }

    @Test("junk, and objects of a newer version, are named by each agent; traffic goes on, containers start, and nothing there is overwritten", .needsEmbeddedStore("it writes by the agent's port; StoredObjectFuzzTests has the rest"))
    func junk() async throws {
        let pings = try Pinger(from: Stage.web1, to: Stage.web2.address(on: Stage.network))
        let id = try #require(try await h1.network(Stage.network)?.id).filter { $0 != "-" }
        let keys = [
            "nodes/nobody", "networks/zz", "nodes/11111111-1111-4111-8111-111111111111", "endpoints/\(id)/x", "blocks/\(id)/10.32.0.0-26", "tokens/x",
        ]
        let values = ["junk", "{}", #"{\"v\":2}"#, #"{\"v\":1}"#, "", "[[[["]
        try commit(zip(keys, values).map { #"{"put":"\#($0)","value":"\#($1)"}"# }.joined(separator: ","))
        for host in hosts {
            for key in keys {
                try await eventually("\(host) names \(key)") { try await host.agent.status().problems.contains { $0.contains(key) } }
            }
        }
        let before = try keys.map { try stored($0) }
        let fresh = try h2.runContainer("fresh", on: Stage.network)
        try await Stage.web1.mustReach(fresh.address(on: Stage.network))
        try h3.createNetwork("second", "--subnet 10.44.0.0/16")
        try await networkIsEverywhere("second")
        try pings.expectNoLoss()
        /// Without the store's revision, which went on.
        func entries(_ answer: String) -> String { answer.split(separator: "\"revision\":").map { $0.drop(while: \.isNumber) }.joined() }
        #expect(try keys.map { entries(try stored($0)) } == before.map(entries))
        try commit(keys.map { #"{"delete":"\#($0)"}"# }.joined(separator: ","))
        for host in hosts { try await eventually("\(host) has no problem left") { try await host.agent.status().problems.isEmpty } }
        try fresh.remove()
        try h1.docker("network rm second")
    }

    @Test("a flood of connections that say nothing, or come with wrong tokens, is held to its number, and members are answered all the while")
    func flood() async throws {
        let connections = #"ss -Htn state established "( sport = :7940 )" | wc -l"#
        let before = try #require(Int(try h1.sh(connections)))
        func ask() throws -> String {
            try h2.sh("curl -sk -m 5 --cert /var/lib/tulle/node.pem -o /dev/null -w '%{http_code}' https://192.168.99.1:7940/v1/cluster")
        }
        let silent = try lab.start(["exec", "net", "bash", "-c", "ulimit -n 4096; for i in $(seq 1500); do exec {fd}<>/dev/tcp/192.168.99.1/7940; done; exec sleep 60"])
        for _ in 0..<10 { #expect(try ask() == "200") }
        try await eventually("the flood is held to 256", within: .seconds(20)) {
            let count = try #require(Int(try h1.sh(connections)))
            return count >= 200 + before && count <= 256 + before + 10
        }
        withExtendedLifetime(silent) {}
        let order = #"{"proof":"00112233445566778899aabbccddeeff00112233","node":"11111111-1111-4111-8111-111111111111","name":"x","request":"x","time":1}"#
        let tokens = try lab.start([
            "exec", "net", "bash", "-c",
            "for i in $(seq 100); do curl -sk -m 9 -o /dev/null -w '%{http_code}\\n' -X POST -d '\(order)' https://192.168.99.1:7940/v1/join & done; wait",
        ])
        for _ in 0..<10 { #expect(try ask() == "200") }
        let answers = try tokens.finish(within: .seconds(40)).output.lines
        #expect(answers.count == 100 && answers.allSatisfy { $0 == "403" || $0 == "000" } && answers.contains("403"), "\(answers)")
        #expect(try await h1.agent.tokens().allSatisfy { $0.used <= 2 }, "none took a use")
        // Requests that are refused leave no line each in the log.
        #expect(try h1.log().lines.filter { $0.contains("token") }.count < 20)
        try await eventually("all is as before", within: .seconds(20)) { try await lab.isWhole() }
    }
}
