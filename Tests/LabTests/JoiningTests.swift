import Addressing
import LocalAPI
import TestKit
import Testing

/// How a host becomes a node, as a user sees it. h1 has the authority; those that join are agents beside h3's own.
@Suite("joining", .serialized, .needsLab, .lab("join"))
struct JoiningTests {
    private func remove(_ agent: SecondAgent) async throws {
        try agent.stop()
        try h1.tulle("node remove \(agent.name)")
        try await eventually("it is forgotten on \(hosts)") {
            for host in hosts where try await host.agent.nodes().contains(where: { $0.name == agent.name }) { return false }
            return true
        }
    }

    private func make(_ options: String, on host: LabHost) throws -> String { try #require(try host.tulle("token create \(options)").lines.first) }

    // MARK: The commands

    @Test("tokens are made, listed and revoked on any node; the secret is shown once")
    func commands() async throws {
        let made = try h2.tulleAttempt("token create --ttl 10m --uses 2")
        #expect(made.status == 0)
        #expect(made.output.lines.count == 1 && made.output.hasPrefix("tulle2-"), "\(made.output)")
        #expect(made.talk.contains("sudo tulle agent --join 192.168.99.2:7940 --token TOKEN"), "\(made.talk)")
        let known = try await obtain("the others know it") { try await h3.agent.tokens().first { $0.uses == 2 } }
        for host in hosts {
            try await eventually("\(host) lists it") {
                let lines = try host.tulle("token list").lines
                guard lines.first?.labWords == ["ID", "STATE", "ENDS", "IN", "USED", "USES"] else { return false }
                return lines.contains { $0.labWords.first == known.id && $0.labWords[1] == "valid" && $0.labWords.suffix(2) == ["0", "2"] }
            }
        }
        let json = try h1.tulle("token list --output json")
        #expect(json.contains(known.id) && json.contains(#""state""#) && json.contains(#""uses""#), "\(json)")
        for place in [json, try h1.tulle("token list"), made.talk] { #expect(!place.contains(made.output.trimmed.suffix(20))) }

        #expect(try h3.tulleAttempt("token revoke \(known.id)").status == 0)
        try await eventually("it is gone everywhere") {
            for host in hosts where try await host.agent.tokens().contains(where: { $0.id == known.id }) { return false }
            return true
        }
        let again = try h1.tulleAttempt("token revoke \(known.id)")
        #expect(again.status == 1 && again.talk.contains("there is no such token") && again.talk.contains("tulle token list"), "\(again.talk)")
        let secret = try h1.tulleAttempt("token show")
        #expect(secret.status == 1 && secret.talk.contains("tulle token create"), "\(secret.talk)")
    }

    @Test("an impossible token is refused before anything is made", arguments: ["--ttl 0s", "--ttl x", "--ttl 366d", "--uses 0", "--uses -1", "--uses x"])
    func impossible(options: String) async throws {
        let before = try await h1.agent.tokens().count
        let result = try h1.tulleAttempt("token create \(options)")
        #expect(result.status == 64, "\(result.talk)")
        #expect(result.output.isEmpty && result.talk.contains(options.labWords[0]), "\(result.talk)")
        #expect(try await h1.agent.tokens().count == before)
    }

    // MARK: Who gets in

    @Test("a token of one node lets a host join through another, neither of which has the authority, as often as it says")
    func usedUp() async throws {
        let token = try make("--uses 1", on: h3)
        let agent = SecondAgent("next", on: h3, "--join 192.168.99.2 --token \(token)")
        try await agent.start()
        for host in hosts {
            try await eventually("\(host) knows it") { try await host.agent.nodes().contains { $0.name == "next" && $0.alive } }
        }
        #expect(try h3.tulle("status --run-dir /run/next").contains(LabStore.isEtcd ? LabStore.url : "192.168.99.1"), "it was told where the store is")
        for door in ["192.168.99.1", "192.168.99.2"] {
            let talk = try SecondAgent("late", on: h3, listen: "192.168.99.3:7951", "--join \(door) --token \(token)").refused()
            #expect(talk.contains("the token is used up") && talk.contains("tulle token create"), "\(talk)")
            #expect(!talk.contains(token))
        }
        // It is a node by now, and needs no token.
        try agent.stop()
        try await SecondAgent("next", on: h3).start()
        try await remove(agent)
    }

    @Test("an expired token is refused, and says so")
    func expired() async throws {
        let token = try make("--ttl 1s --uses 77", on: h2)
        try await eventually("its time is over") { try await h1.agent.tokens().contains { $0.uses == 77 && $0.state == "expired" } }
        let talk = try SecondAgent("late", on: h3, "--join 192.168.99.1 --token \(token)").refused()
        #expect(talk.contains("the token is expired") && talk.contains("tulle token create"), "\(talk)")
    }

    @Test("a revoked token is refused, on every node")
    func revoked() async throws {
        let token = try make("--uses 78", on: h1)
        let id = try await obtain("it is listed") { try await h2.agent.tokens().first { $0.uses == 78 }?.id }
        try h2.tulle("token revoke \(id)")
        for door in ["192.168.99.1", "192.168.99.3"] {
            let talk = try SecondAgent("late", on: h3, "--join \(door) --token \(token)").refused()
            #expect(talk.contains("the cluster does not know the token") && talk.contains("it was revoked"), "\(talk)")
        }
    }

    @Test("a mistyped token is refused before anything is asked", arguments: ["typo", "short"])
    func mistyped(how: String) async throws {
        let token = try make("--uses 1", on: h1)
        let end = token.last == "a" ? "b" : "a"
        // Nobody is at that address.
        let talk = try SecondAgent("late", on: h3, "--join 192.168.99.77 --token \(token.dropLast())\(how == "typo" ? end : "")").refused()
        #expect(talk.contains(how == "typo" ? "at least one character was mistyped" : "characters after tulle2-"), "\(talk)")
        #expect(talk.contains("copy the token again"), "\(talk)")
    }

    @Test("a taken node name is refused with what to do, and costs the token nothing")
    func takenName() async throws {
        let token = try make("--uses 1", on: h1)
        for door in ["192.168.99.1", "192.168.99.2"] {
            let talk = try SecondAgent("h2", on: h3, "--join \(door) --token \(token)").refused()
            #expect(talk.contains("the name h2 is taken by node") && talk.contains("--node-name") && talk.contains("tulle node remove h2"), "\(talk)")
        }
        let agent = SecondAgent("h2b", on: h3, "--join 192.168.99.1 --token \(token)")
        try await agent.start()
        try await eventually("it is known") { try await h1.agent.nodes().contains { $0.name == "h2b" && $0.alive } }
        try await remove(agent)
    }

    @Test("of five hosts at once exactly as many get in as the token is for")
    func atOnce() async throws {
        let token = try make("--uses 3", on: h2)
        var agents: [SecondAgent] = []
        for number in 1...5 {
            let door = hosts[number % 3].address
            let agent = SecondAgent("many\(number)", on: h3, listen: "192.168.99.3:796\(number)", "--join \(door) --token \(token)")
            try agent.spawn()
            agents.append(agent)
        }
        try await eventually("each is in or has ended", within: .seconds(20)) {
            try agents.allSatisfy { try h3.hasEnded($0.name) || h3.tulleAttempt("status --run-dir /run/\($0.name)").status == 0 }
        }
        let inside = agents.filter { !h3.hasEnded($0.name) }
        #expect(inside.count == 3)
        for agent in agents where h3.hasEnded(agent.name) { #expect(try h3.log(agent.name).contains("the token is used up")) }
        for agent in inside {
            try await eventually("\(agent.name) is known") { try await h1.agent.nodes().contains { $0.name == agent.name && $0.alive } }
        }
        for agent in inside { try await remove(agent) }
    }

    // MARK: Files and hosts that are missing

    @Test("while the authority's node is away nobody joins through another, which says so, and the token keeps its use")
    func authorityAway() async throws {
        let token = try make("--uses 1", on: h2)
        try h1.stopAgent()
        let agent = SecondAgent("patient", on: h3, "--join 192.168.99.2 --token \(token)")
        let talk = try agent.refused()
        #expect(talk.contains("the node with the cluster's authority does not answer") && talk.contains("192.168.99.1:7940"), "\(talk)")
        try h1.startAgent()
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
        try await agent.start()
        try await eventually("it is known") { try await h1.agent.nodes().contains { $0.name == "patient" && $0.alive } }
        try await remove(agent)
    }

    @Test("an authority whose key is lost is named, wherever a host tries to join")
    func authorityLost() async throws {
        let token = try make("--uses 1", on: h2)
        let file = "\(h1.directory)/lib/tulle/authority.pem"
        try h1.stopAgent()
        try lab.shell("mv \(file) \(file).away")
        try h1.startAgent()
        try await eventually("the cluster is whole", within: .seconds(20)) { try await lab.isWhole() }
        for door in ["192.168.99.1", "192.168.99.2"] {
            let talk = try SecondAgent("late", on: h3, "--join \(door) --token \(token)").refused()
            #expect(talk.contains("authority") && talk.contains("the host that made the cluster") || talk.contains("authority.pem"), "\(door): \(talk)")
        }
        try h1.stopAgent()
        try lab.shell("mv \(file).away \(file)")
        try h1.startAgent()
        try await eventually("the cluster is whole again", within: .seconds(20)) { try await lab.isWhole() }
    }

    @Test("a lost or damaged certificate is named, with what to do, and left as it is")
    func certificateLost() async throws {
        let token = try make("--uses 1", on: h1)
        let agent = SecondAgent("worn", on: h3, "--join 192.168.99.1 --token \(token)")
        try await agent.start()
        try await eventually("it is known") { try await h1.agent.nodes().contains { $0.name == "worn" && $0.alive } }
        try agent.stop()
        let file = agent.path("node.pem")
        try lab.shell("mv \(file) \(file).good")
        for damage in ["true", "head -c 300 \(file).good >\(file)", "head -c 900 /dev/urandom >\(file)", ": >\(file)"] {
            try lab.shell(damage)
            let talk = try agent.refused()
            #expect(talk.contains("/var/lib/worn/node.pem") && talk.contains("restore") && talk.contains("tulle reset"), "\(damage): \(talk)")
        }
        try lab.shell("mv \(file).good \(file)")
        try await agent.start()
        try await remove(agent)
    }

    // MARK: Strangers

    private func curl(_ line: String) throws -> String {
        let result = try lab.attempt(["exec", "net", "sh", "-c", "curl -sS -m 5 -w ' %{http_code}' \(line) 2>&1"])
        return result.output
    }

    @Test("a stranger is told nothing: by plain HTTP, by TLS without a certificate, with one of its own, or by an old TLS", arguments: [1, 2])
    func strangers(number: Int) throws {
        let place = "\(lab.host(number).address):7940"
        let list = #"-X POST -d '{"prefix":""}'"#
        let plain = try curl("\(list) http://\(place)/v1/store/list")
        #expect(plain.hasSuffix("000") || plain.hasSuffix("403"), "\(plain)")
        for path in ["store/list", "store/watch?wait=20", "certificate", "cluster/store"] {
            let answer = try curl("-k \(list) https://\(place)/v1/\(path)")
            #expect(answer.hasSuffix(" 403") && answer.contains("no certificate of the cluster's was shown"), "\(answer)")
            #expect(!answer.contains("entries"), "\(answer)")
        }
        #expect(try curl("-k https://\(place)/v1/cluster").hasSuffix(" 403"))
        #expect(try curl("-k \(list) https://\(place)/v1/join").contains("the request is not one to join"))
        // The certificate of another authority, for a node that exists.
        let file = "\(lab.directory)/stranger.pem"
        try lab.shell("""
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=h2 \
            -addext 'subjectAltName=URI:tulle://x/node/11111111-1111-4111-8111-111111111111' -keyout \(file).key -out \(file) 2>/dev/null
            cat \(file).key >>\(file)
            """)
        let forged = try curl("-k --cert \(file) \(list) https://\(place)/v1/store/list")
        #expect(forged.hasSuffix("000") && !forged.contains("entries"), "\(forged)")
        let old = try curl("-k --tls-max 1.2 \(list) https://\(place)/v1/store/list")
        #expect(old.hasSuffix("000"), "\(old)")
        // The same request of a node's is answered: it was right.
        let member = try curl("-k --cert \(h2.directory)/lib/tulle/node.pem \(list) https://\(place)/v1/store/list")
        #expect(number == 1 && !LabStore.isEtcd ? member.hasSuffix(" 200") && member.contains("entries") : member.hasSuffix(" 404"), "\(member.suffix(200))")
    }

    @Test("between agents there is TLS and nothing else on the wire")
    func wire() async throws {
        let file = "\(lab.directory)/wire.pcap"
        let capture = try lab.start(["exec", "net", "tcpdump", "-Z", "root", "-U", "-n", "-i", "any", "-s", "0", "-w", file, "tcp port 7940"])
        try capture.wait(for: "listening on", within: .seconds(5))
        let token = try make("--uses 1", on: h2)
        let agent = SecondAgent("wired", on: h3, "--join 192.168.99.2 --token \(token)")
        try await agent.start()
        try await eventually("it is known") { try await h1.agent.nodes().contains { $0.name == "wired" && $0.alive } }
        try h2.restartAgent()
        try await eventually("all is back", within: .seconds(20)) {
            let status = try await h2.agent.status()
            return status.store.reachable && status.lease.state == .held
        }
        try h3.createNetwork("wire", "--subnet 10.32.0.0/16")
        try await networkIsEverywhere("wire")
        try h3.docker("network rm wire")
        try await remove(agent)
        capture.signal(2)
        _ = try capture.finish(within: .seconds(10))
        let streams = try TCPStreams(file: file, port: 7940)
        // The joiner's to h2, h2's to h1 for it; both agents' requests and watches, where an agent has the store.
        #expect(streams.first.count >= (LabStore.isEtcd ? 2 : 4), "\(streams.first.count)")
        #expect(streams.first.allSatisfy { $0 == 0x16 }, "the first byte of each is a TLS handshake's: \(streams.first)")
        for word in ["entries", "prefix", "proof", "/v1/", "HTTP/1.1", token] { #expect(!streams.contain(word), "\(word)") }
    }
}
