import Addressing
import Agent
import Fabric
import Glibc
import Synchronization
import TestKit
import Testing

@Suite("Join") struct JoinTests {
    private final class Gate: Sendable {
        private let state = Mutex((isOpen: false, isReached: false))
        var isReached: Bool { state.withLock { $0.isReached } }
        func open() { state.withLock { $0.isOpen = true } }
        func pass() {
            state.withLock { $0.isReached = true }
            // Ten seconds at most: a test that failed meanwhile never opens it.
            for _ in 0..<10_000 where !state.withLock({ $0.isOpen }) { usleep(1000) }
        }
    }

    @Test("a sandbox that Docker mounts before Join is no reason to make the link inside: Docker looks for it on the host")
    func mountedEarly() async throws {
        let (cluster, nodes) = try await TestCluster.of(1)
        let node = nodes[0]
        let docker = try await node.createNetwork("shop", subnet: "10.32.0.0/16")
        let pool = try #require(await node.controller.local.engineNetworks[docker]?.pools.first)
        // The loop is held at the first container's link.
        let gate = Gate()
        await node.kernel.setFault { step in
            if case .createLink(_, let name, _) = step, name.hasPrefix("ep") { gate.pass() }
            return nil
        }
        for name in ["first", "second"] {
            let address = try await node.controller.requestAddress(pool, nil)
            _ = try await node.controller.createEndpoint(
                EndpointRequest(dockerID: docker, id: EndpointID(name), addresses: [address.description], mac: ""))
            try await eventually { gate.isReached }
        }
        let join = Task { try await node.controller.join(EndpointID("second"), sandbox: "/sandbox/second", publishes: false) }
        try await eventually { await node.controller.local.endpoints[EndpointID("second")]?.sandbox != nil }
        await node.controller.sweepGarbage { _ in true }
        gate.open()
        let link = try await join.value.innerLink
        let places = await node.kernel.history.compactMap { step -> VethPeer.Place? in
            guard case .createLink(_, _, let made) = step, made.peer?.name == link else { return nil }
            return made.peer?.place
        }
        #expect(places == [.namespace(.host)])
        // Answered, and so seen.
        await node.controller.sweepGarbage { _ in true }
        #expect(await node.controller.local.endpoints[EndpointID("second")]?.wasSeen == true)
        await cluster.end()
    }
}
