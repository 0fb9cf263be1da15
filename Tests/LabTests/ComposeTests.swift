import LocalAPI
import TestKit
import Testing

/// One file on every host, and `docker-compose up` on each: whose is the network then?
@Suite("Docker Compose on every host", .serialized, .needsLab, .needsCompose, .lab("compose"))
struct ComposeTests {
    init() async throws { try await lab.clear() }

    static let subnet = "subnet: 10.32.0.0/16"
    static let fixed = Project.tulle(config: [subnet])
    static let automatic = Project.tulle()
    /// Compose compares a network that it finds with its file, so each option must come through as it is. (Its second version drops
    /// the address driver's options without a word, and with them any `tulle.network`.)
    static let projects = [
        Project.tulle(
            ["internal: true", "driver_opts: {tulle.mtu: \"1400\", com.example.unknown: x}", "labels: {shop: \"yes\"}"],
            config: [subnet + ", ip_range: 10.32.4.0/22, gateway: 10.32.0.254, aux_addresses: {router: 10.32.4.1}"],
            options: "tulle.block-size: \"28\""),
        Project.tulle(
            ["enable_ipv6: true", "driver_opts: {com.docker.network.driver.mtu: \"1400\"}"],
            config: [subnet, "subnet: \"fd00:32::/64\""]),
        automatic,
    ]

    /// One in the cluster, one on each engine, and all talk.
    private func expectOneNetwork(_ project: Project, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        try await eventually("all see one network") {
            for host in hosts {
                let reports = try await host.agent.networks()
                guard reports.map(\.name) == [project.networkName], reports.map(\.state) == [.active],
                    try host.engineNetworks() == [project.networkName]
                else { return false }
            }
            return true
        }
        let all = project.webs()
        let addresses = try all.map { try $0.address(on: project.networkName) }
        #expect(Set(addresses).count == hosts.count, sourceLocation: sourceLocation)
        #expect(try unreachablePairs(all, addresses: addresses) == [], sourceLocation: sourceLocation)
        for host in hosts { #expect(try await host.agent.status().problems == [], sourceLocation: sourceLocation) }
    }

    private func expectNothingLeft() async throws {
        try await eventually("nothing is left") {
            for host in hosts {
                guard try host.docker("ps -aq").isEmpty, try host.engineNetworks().isEmpty, try host.sh("ip netns").isEmpty,
                    try await host.agent.networks().isEmpty, try await host.agent.endpoints().isEmpty
                else { return false }
            }
            return true
        }
        #expect(try await always(for: .seconds(1)) { try hosts.allSatisfy { try $0.engineNetworks().isEmpty } })
    }

    @Test("up on one host after the other is one network, and up again changes nothing", arguments: projects)
    func inTurn(project: Project) async throws {
        for host in hosts { try project.run("up -d", on: host) }
        try await expectOneNetwork(project)
        #expect(try h1.tulle("networks").lines.count == 2, "a heading and a network")
        let before = try project.webs().map { try $0.pid() }
        try project.runAtOnce("up -d")
        #expect(try project.webs().map { try $0.pid() } == before)
    }

    @Test("up on all hosts at once is one network, after a second try where that says why, and so is down", arguments: [fixed, automatic], 1...2)
    func atOnce(project: Project, round: Int) async throws {
        // An engine that hears of the network between Compose's look and its creation has it already. Without a subnet each host
        // chooses one: those that come second get the first one's network in the place of theirs, under the hands of Compose.
        let excuses = project.network == Self.fixed.network
            ? ["already exists"] : ["already exists", "created on two hosts at once", "\(project.networkName) not found", "is ambiguous"]
        for (host, result) in zip(hosts, try project.attemptAtOnce("up -d")) where result.status != 0 {
            let text = result.output + result.talk
            #expect(excuses.contains { text.contains($0) }, "\(host): \(text)")
            try await eventually("it is up on \(host)", within: .seconds(20)) { try project.attempt("up -d", on: host).status == 0 }
        }
        try await expectOneNetwork(project)
        try project.runAtOnce("down")
        try await expectNothingLeft()
    }

    @Test("down on one host gives it the network again within 5 s and disturbs no other; up works there again; down on all leaves nothing")
    func downOnOne() async throws {
        let project = Self.fixed
        for host in hosts { try project.run("up -d", on: host) }
        try await expectOneNetwork(project)
        let pings = try Pinger(from: project.web(on: h2), to: project.web(on: h3).address(on: project.networkName))
        try project.run("down", on: h1)
        try await networkIsEverywhere(project.networkName, on: [h1], within: .seconds(5))
        try await eventually("h1's container is known to be gone") { try await h2.network(project.networkName)?.endpointsTotal == 2 }
        try project.run("up -d", on: h1)
        try pings.expectNoLoss()
        try await expectOneNetwork(project)
        for host in hosts { try project.run("down", on: host) }
        try await expectNothingLeft()
    }

    @Test("two projects are two networks, and nothing goes across")
    func twoProjects() async throws {
        let red = Project.tulle(name: "red", config: [Self.subnet])
        let blue = Project.tulle(name: "blue")
        for host in hosts {
            try red.run("up -d", on: host)
            try blue.run("up -d", on: host)
        }
        try await eventually("all see two networks") {
            for host in hosts {
                let reports = try await host.agent.networks()
                guard Set(reports.map(\.name)) == [red.networkName, blue.networkName], reports.allSatisfy({ $0.state == .active })
                else { return false }
            }
            return true
        }
        let reds = try red.webs().map { try $0.address(on: red.networkName) }
        let blues = try blue.webs().map { try $0.address(on: blue.networkName) }
        #expect(try unreachablePairs(red.webs(), addresses: reds) == [])
        #expect(try unreachablePairs(blue.webs(), addresses: blues) == [])
        #expect(try unreachablePairs(red.webs(), addresses: blues).count == 9)
        #expect(try unreachablePairs(blue.webs(), addresses: reds).count == 9)
        // The end of one is not the other's.
        try red.runAtOnce("down")
        try await eventually("red is gone") { try await h1.agent.networks().map(\.name) == [blue.networkName] }
        try await expectOneNetwork(blue)
    }

    @Test("a second project with the first one's subnet is refused, with the reason")
    func sameSubnet() async throws {
        try Self.fixed.run("up -d", on: h1)
        try await networkIsEverywhere(Self.fixed.networkName)
        let other = Project.tulle(name: "other", config: [Self.subnet])
        for host in [h1, h2] {
            let result = try other.attempt("up -d", on: host)
            #expect(result.status != 0)
            let text = result.output + result.talk
            #expect(text.contains(Self.fixed.networkName) && text.contains("tulle.network=KEY"), "\(text)")
        }
        #expect(try await h2.agent.networks().map(\.name) == [Self.fixed.networkName])
    }

    @Test("a project that names another's network as external uses it, and leaves it there")
    func external() async throws {
        try Self.fixed.run("up -d", on: h1)
        try await networkIsEverywhere(Self.fixed.networkName)
        let guest = Project(name: "guest", network: ["external: true", "name: \(Self.fixed.networkName)"])
        try guest.run("up -d", on: h2)
        try await guest.web(on: h2).mustReach(Self.fixed.web(on: h1).address(on: Self.fixed.networkName))
        try guest.run("down", on: h2)
        #expect(try h2.engineNetworks() == [Self.fixed.networkName])
        #expect(try await h2.network(Self.fixed.networkName)?.state == .active)
    }
}
