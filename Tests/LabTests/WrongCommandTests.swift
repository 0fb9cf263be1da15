import LocalAPI
import TestKit
import Testing

/// What a user sees who types something wrong: the cause and what to type instead, and nothing is left of the try.
@Suite("wrong commands", .serialized, .needsLab, .lab("wrong", prepare: prepare))
struct WrongCommandTests {
    /// What is typed on h1, and what the answer names: cause first, then remedy. Where Docker itself refuses, it never asks the driver, and the words are its own.
    struct Command: Sendable, CustomTestStringConvertible {
        let typed: String
        let answer: [String]
        init(_ typed: String, _ answer: String...) { (self.typed, self.answer) = (typed, answer) }
        var testDescription: String { "docker \(typed)" }
    }
    private static func create(_ options: String, _ answer: [String]) -> Command {
        Command(typed: "network create -d tulle --ipam-driver tulle \(options) wrong", answer: answer)
    }
    private static func run(_ options: String, _ answer: [String]) -> Command {
        Command(typed: "run -d --name wrong \(options) lab sleep 60", answer: answer)
    }

    static let networks: [Command] = [
        Command("network create -d tulle wrong", "hand out the same addresses twice", "add '--ipam-driver tulle'"),
        Command("network create -d tulle --subnet 10.50.0.0/16 wrong", "hand out the same addresses twice", "add '--ipam-driver tulle'"),
        Command("network create -d tulle --ipam-driver tulle shop", "already exists"),
        create("--subnet 10.50.0.0/33", ["invalid"]),
        create("--subnet 10.32.128.0/17", ["overlaps 10.32.0.0/16 of network shop", "choose another"]),
        create("--subnet 10.0.0.0/8", ["overlaps", "choose another"]),
        create("--subnet 192.168.99.128/25", ["has a route to 192.168.99.0/24, which overlaps it", "choose another subnet"]),
        create("--subnet 10.50.0.0/31", ["room for a gateway and nothing else", "at least /30"]),
        create("--subnet 224.5.0.0/16", ["it is reserved", "10.32.0.0/16"]),
        create("--subnet 127.5.0.0/16", ["it is reserved", "10.32.0.0/16"]),
        create("--subnet 169.254.0.0/16", ["it is reserved", "10.32.0.0/16"]),
        create("--subnet 240.0.0.0/16", ["it is reserved", "10.32.0.0/16"]),
        create("--ipv6 --subnet fe80::/64", ["it is reserved", "fd00:32::/64"]),
        create("--subnet 10.50.0.0/24 --gateway 10.50.0.255", ["no host's address within 10.50.0.0/24", "--gateway"]),
        create("--subnet 10.50.0.0/24 --gateway 10.51.0.1", ["gateway"]),
        create("--subnet 10.50.0.0/24 --ip-range 10.51.0.0/25", ["range"]),
        create("--subnet 10.50.0.0/24 --gateway 10.50.0.1 --aux-address printer=10.50.0.1", ["it is the gateway", "--aux-address"]),
        create("--opt tulle.mtu=many", ["the MTU 'many' is not a number from", "correct it"]),
        create("--opt tulle.mtu=90000", ["the MTU '90000' is not a number from", "to 9000"]),
        create("--opt tulle.colour=blue", ["the option 'tulle.colour' does not exist", "use one of", "tulle.mtu"]),
        create("--ipam-opt tulle.colour=blue", ["the address option 'tulle.colour' does not exist", "tulle.block-size"]),
        create("--ipam-opt tulle.block-size=many", ["tulle.block-size=many is no prefix length", "such as 26"]),
        create("--subnet 10.50.0.0/16 --ipam-opt tulle.block-size=8", ["blocks of /8 do not fit in 10.50.0.0/16", "from 16 to 32"]),
        create("--opt tulle.mode=bridged", ["tulle.mode=bridged", "routed"]),
        create("--opt tulle.backend=gre", ["tulle.backend=gre", "vxlan"]),
        create("--subnet 10.50.0.0/16 --opt tulle.network=a --ipam-opt tulle.network=b", ["no address pool", "--ipam-opt tulle.network=a"]),
        create("--subnet 10.50.0.0/16 --ipam-opt tulle.network=a", ["no address pool", "give the same --opt"]),
    ]

    static let containers: [Command] = [
        run("--network nowhere", ["nowhere not found"]),
        run("--network shop --ip 10.99.0.5", ["10.99.0.5"]),
        run("--network shop --ip 10.32.0.50", ["10.32.0.50", "db has it", "choose another address"]),
        run("--network shop --ip 10.32.0.60", ["10.32.0.60", "a container on node h2 has it", "choose another address"]),
        run("--network shop --ip 10.32.0.1", ["10.32.0.1", "its gateway", "choose another address of 10.32.0.0/16"]),
        run("--network shop --ip 10.32.0.0", ["10.32.0.0", "first or last address", "choose another address of 10.32.0.0/16"]),
        run("--network shop --ip 10.32.255.255", ["10.32.255.255", "first or last address", "choose another address"]),
        run("--network shop --ip 10.32.0.9", ["10.32.0.9", "auxiliary address", "choose another address"]),
        run("--network shop --mac-address 01:00:5e:00:00:01", ["01:00:5e:00:00:01", "no unicast MAC address", "--mac-address"]),
        run("--network shop --mac-address 02:42", ["02:42"]),
        run("--network full", ["no address is left in 10.33.0.0/30", "remove containers that are not needed, or create a network with a larger --subnet"]),
        run("--network shop -p 8090:80", ["8090", "allocated"]),
        Command("network connect --ip 10.32.0.60 shop only", "10.32.0.60", "a container on node h2 has it", "choose another address"),
        Command("network connect shop db", "already exists in network shop"),
        Command("network rm shop", "has active endpoints"),
    ]

    @Test("a network that cannot be is refused with cause and remedy", arguments: networks)
    func network(command: Command) throws { try expectRefusal(command) }

    @Test("a container that cannot be is refused with cause and remedy", arguments: containers)
    func container(command: Command) throws { try expectRefusal(command) }

    private func expectRefusal(_ command: Command) throws {
        // Docker leaves a container that it could not start; the next one is not to find it.
        defer { for leftover in ["rm -f wrong", "network rm wrong"] { _ = try? lab.attempt(["docker", "h1"] + leftover.labWords) } }
        let answer = try h1.dockerRefuses(command.typed)
        for part in command.answer { #expect(answer.contains(part), "\(answer)") }
    }

    @Test("nothing is left of what was refused: the networks and endpoints are those of before, on every host, and addresses are free")
    func nothingLeft() async throws {
        for host in hosts {
            try await eventually("\(host) has these networks") { try host.engineNetworks().sorted() == ["full", "shop"] }
            #expect(try await host.agent.networks().compactMap(\.name).sorted() == ["full", "shop"])
            #expect(try await host.agent.status().problems == [])
        }
        #expect(try await h1.agent.endpoints().compactMap(\.container).sorted() == ["db", "only", "other", "taker"])
        let again = try h1.runContainer("again", on: "shop", "--ip 10.32.0.51")
        #expect(try again.address(on: "shop") == "10.32.0.51")
        try again.remove()
    }

    @Test("a host whose agent does not run says in 'docker run' which driver is missing; when it is back the same command does it")
    func noAgent() async throws {
        try h3.stop("agent", "TERM")
        let answer = try h3.dockerRefuses("run -d --name wrong --network shop lab sleep 60")
        #expect(answer.contains("tulle"), "\(answer)")
        try? h3.docker("rm -f wrong")
        try h3.startAgent()
        let container = try h3.runContainer("right", on: "shop")
        try await container.mustReach("10.32.0.50")
        try container.remove()
    }
}

extension WrongCommandTests.Command {
    fileprivate init(typed: String, answer: [String]) { (self.typed, self.answer) = (typed, answer) }
}

/// A network with containers on two hosts, and one that is full.
@Sendable private func prepare(_ lab: Lab) async throws {
    let hosts = lab.hosts(LabTrait.hostCount)
    try hosts[0].createNetwork("shop", "--subnet 10.32.0.0/16 --aux-address printer=10.32.0.9")
    try hosts[0].createNetwork("full", "--subnet 10.33.0.0/30")
    for name in ["shop", "full"] { try await networkIsEverywhere(name, on: hosts) }
    try hosts[0].runContainer("db", on: "shop", "--ip 10.32.0.50")
    try hosts[1].runContainer("other", on: "shop", "--ip 10.32.0.60")
    try hosts[0].runContainer("only", on: "full")
    try hosts[0].runContainer("taker", on: "shop", "-p 8090:80")
}
