import Addressing
import LocalAPI
import TestKit
import Testing

/// Who gets which address.
@Suite("addresses of containers", .serialized, .needsLab, .lab("addr"))
struct AddressTests {
    init() async throws { try await lab.clear() }

    private func blockOwners() async throws -> [String: Int] {
        try await h1.agent.nodes().reduce(into: [:]) { $0[$1.name] = $1.blocks }
    }

    /// `docker run`s at once; each container, or what Docker said.
    private func runAtOnce(
        _ lines: [(host: LabHost, name: String)], on network: String
    ) throws -> [(container: Container, refusal: String?)] {
        let running = try lines.map { host, name in
            (Container(host: host, name: name), try lab.start(
                "docker \(host) run -d --name \(name) --network \(network) lab sleep 3600".labWords))
        }
        return try running.map { container, process in
            let result = try process.finish(within: .seconds(120))
            return (container, result.status == 0 ? nil : result.talk)
        }
    }

    @Test("a fixed address is given wherever its block is: here, free, or another node's; and reached from all hosts")
    func fixed() async throws {
        try h1.createNetwork("shop", "--subnet 10.32.0.0/16")
        let all = try await runEverywhere("c", on: "shop")
        func neighbor(_ container: Container, _ distance: UInt128) throws -> String {
            try #require(IPAddress(container.address(on: "shop"))?.advanced(by: distance)).description
        }
        let blocks = try await blockOwners()
        // 7 further on in the same block of 64, of which each has used the first.
        let wanted = try [neighbor(all[0], 7), "10.32.254.77", neighbor(all[1], 7)]
        for (address, place) in zip(wanted, ["own", "free", "others"]) {
            let container = try h1.runContainer("fixed-\(place)", on: "shop", "--ip \(address)")
            #expect(try container.address(on: "shop") == address)
            for other in all {
                try await other.mustReach(address)
                try await container.mustReach(other.address(on: "shop"))
            }
        }
        #expect(try await blockOwners() == blocks, "no block was taken for one address")
        // Each is in use now, for every host.
        for address in wanted {
            for host in hosts {
                let answer = try host.dockerRefuses("run -d --name second --network shop --ip \(address) lab sleep 60")
                #expect(answer.contains("has it") || answer.contains("has \(address)"), "\(answer)")
                #expect(answer.contains("choose another address"), "\(answer)")
                try host.docker("rm -f second")
            }
        }
        // Given back, they can be had elsewhere. (A lent one first goes home, which takes a minute.)
        for name in ["own", "free"] { try h1.docker("rm -f fixed-\(name)") }
        for address in wanted.prefix(2) {
            let container = try await obtain("h3 gets \(address)") { () -> Container? in
                _ = try? h3.docker("rm -f moved")
                return try h3.runContainer("moved", on: "shop", "--ip \(address)")
            }
            for other in all { try await other.mustReach(address) }
            try container.remove()
        }
    }

    @Test("a fixed address that nobody may have is refused", arguments: [
        ("10.32.0.1", "gateway"), ("10.32.0.9", "auxiliary"), ("10.32.0.0", "first or last"), ("10.32.255.255", "first or last"),
        ("10.99.0.1", ""),
    ])
    func reserved(address: String, why: String) async throws {
        try h1.createNetwork("shop", "--subnet 10.32.0.0/16 --aux-address router=10.32.0.9")
        try await networkIsEverywhere("shop")
        let answer = try h2.dockerRefuses("run -d --name never --network shop --ip \(address) lab sleep 60")
        #expect(answer.contains(why), "\(answer)")
    }

    @Test("of a /28 shared by three hosts every address is used, none twice, the reserved ones never; then it is full and says so")
    func small() async throws {
        try h1.createNetwork("small", "--subnet 10.32.0.0/28 --aux-address router=10.32.0.9")
        try await networkIsEverywhere("small")
        // 16 less network, broadcast, gateway and the auxiliary one.
        let results = try runAtOnce((0..<12).map { (lab.host($0 % 3 + 1), "c\($0)") }, on: "small")
        #expect(results.compactMap(\.refusal) == [])
        let addresses = try results.map { try $0.container.address(on: "small") }
        #expect(Set(addresses) == Set([2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14].map { "10.32.0.\($0)" }))
        for host in hosts {
            let answer = try host.dockerRefuses("run -d --name more --network small lab sleep 60")
            #expect(answer.contains("no address is left"), "\(answer)")
            #expect(answer.contains("larger --subnet"), "\(answer)")
            try host.docker("rm -f more")
        }
        #expect(try unreachablePairs(Array(results.prefix(3).map(\.container)), addresses: addresses) == [])
        // One is given back on h2: any host may have it.
        try results[1].container.remove()
        let next = try await obtain("h3 gets the freed one") { () -> Container? in
            _ = try? h3.docker("rm -f next")
            return try h3.runContainer("next", on: "small")
        }
        #expect(try next.address(on: "small") == addresses[1])
        try await results[0].container.mustReach(addresses[1])
    }

    @Test("a full /29 refuses, on whatever host")
    func tiny() async throws {
        try h1.createNetwork("tiny", "--subnet 10.32.0.0/29")
        try await networkIsEverywhere("tiny")
        let results = try runAtOnce((0..<6).map { (lab.host($0 % 3 + 1), "c\($0)") }, on: "tiny")
        let refusals = results.compactMap(\.refusal)
        #expect(refusals.count == 1)
        #expect(refusals.allSatisfy { $0.contains("no address is left in 10.32.0.0/29") }, "\(refusals)")
        let addresses = try results.filter { $0.refusal == nil }.map { try $0.container.address(on: "tiny") }
        #expect(Set(addresses) == Set((2...6).map { "10.32.0.\($0)" }))
    }

    @Test("thirty containers started at once on three hosts all get different addresses, of the range that was given")
    func parallel() async throws {
        let reserved = "--gateway 10.32.7.1 --aux-address a=10.32.7.2 --aux-address b=10.32.7.3"
        try h1.createNetwork("range", "--subnet 10.32.0.0/16 --ip-range 10.32.7.0/24 \(reserved)")
        try await networkIsEverywhere("range")
        let results = try runAtOnce((0..<30).map { (lab.host($0 % 3 + 1), "c\($0)") }, on: "range")
        #expect(results.compactMap(\.refusal) == [])
        let addresses = try results.map { try $0.container.address(on: "range") }
        #expect(Set(addresses).count == 30)
        #expect(addresses.allSatisfy { $0.hasPrefix("10.32.7.") })
        #expect(Set(addresses).isDisjoint(with: ["10.32.7.1", "10.32.7.2", "10.32.7.3"]))
        #expect(try unreachablePairs([results[0].container, results[1].container, results[2].container], addresses: addresses) == [])
        let macs = try results.prefix(6).map { try $0.container.mac(on: "range") }
        #expect(Set(macs).count == 6)
    }

    @Test("the size of a network's blocks can be set")
    func blockSize() async throws {
        try h1.createNetwork("blocks", "--subnet 10.32.0.0/16 --ipam-opt tulle.block-size=30")
        try await networkIsEverywhere("blocks")
        for index in 0..<5 { try h2.runContainer("c\(index)", on: "blocks") }
        let subnet = try #require(try await h2.network("blocks")?.subnets.first)
        #expect(subnet.blockLength == 30)
        #expect(subnet.blocksOwned == 2)
    }

    @Test("an address that was given back is given again only after all others of the block")
    func reuse() async throws {
        try h1.createNetwork("shop", "--subnet 10.32.0.0/16")
        let first = try h1.runContainer("c0", on: "shop")
        let address = try first.address(on: "shop")
        try first.remove()
        for index in 1..<4 {
            let next = try h1.runContainer("c\(index)", on: "shop")
            #expect(try next.address(on: "shop") != address)
            try next.remove()
        }
    }
}
