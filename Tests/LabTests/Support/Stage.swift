/// The containers that a suite's tests share, where making them for each would only cost time.
import TestKit
import Testing

enum Stage {
    static let network = "shop"
    /// What a container needs to have its own hands on its network.
    static let privileged = "--cap-add NET_ADMIN"

    @Sendable static func prepare(_ lab: Lab) async throws {
        let hosts = lab.hosts(LabTrait.hostCount)
        try hosts[0].createNetwork(network, "--ipv6 --subnet 10.32.0.0/16 --subnet fd00:32::/64")
        _ = try await runEverywhere("web", on: network, privileged, hosts: hosts)
        try hosts[0].runContainer("beside", on: network, privileged)
    }

    static var web1: Container { Container(host: h1, name: "web1") }
    static var web2: Container { Container(host: h2, name: "web2") }
    static var web3: Container { Container(host: h3, name: "web3") }
    /// On web1's host.
    static var beside: Container { Container(host: h1, name: "beside") }
    static var all: [Container] { [web1, beside, web2, web3] }
}
