/// The embedded store is lost with its host, and another node takes it over (`tulle store promote`); then the former host comes back, follows, and takes it again,
/// when the other one is lost.
import LocalAPI
import TestKit
import Testing

extension Fault {
    static let promotions = [promoted]

    private static let promoted = Fault(
        name: "store-promoted", stores: [.embedded], parts: [.host(1), .host(2), .store], refuses: [1, 2, 3], lasts: .seconds(4), within: .seconds(60),
        isShort: true,
        inject: { _ in
            try h1.stopAgent("KILL")
            try h2.tulle("store promote")
            try await Promotion.expectFollowed(by: [h2, h3], to: h2)
        },
        meanwhile: { _ in
            // The record can be written again.
            try h3.createNetwork("after", "--subnet 10.97.0.0/24")
            try await networkIsEverywhere("after", on: [h2, h3], within: .seconds(5))
            try h2.docker("network rm after")
        },
        heal: { scene in
            try await h1.startTestAgent()
            try await Promotion.expectFollowed(by: hosts, to: h2)
            try await eventually("the cluster is whole", within: .seconds(30)) { try await lab.isWhole() }
            try h2.stopAgent("KILL")
            try h1.tulle("store promote")
            try await Promotion.expectFollowed(by: [h1, h3], to: h1)
            try await h2.startTestAgent()
            scene.mending.mark()
            try await Promotion.expectFollowed(by: hosts, to: h1)
        })
}

private enum Promotion {
    static func expectFollowed(by hosts: [LabHost], to server: LabHost) async throws {
        for host in hosts {
            try await eventually("the store of \(host) is \(server)'s", within: .seconds(40)) {
                let store = try await host.agent.status().store
                let place = host.number == server.number ? "this node" : "\(server.address):7940"
                return store.reachable && store.address == place
            }
        }
    }
}
