import Addressing
import Agent
import Fabric
import Logging
import Synchronization
import TestKit
import Testing

@Suite("the reconcile loop") struct ReconcilerTests {
    /// Desires what it is told; says nothing to the loop by itself.
    private final class Wish: DesiredSource {
        private let state = Mutex(NamespaceState())
        func change(_ change: (inout NamespaceState) -> Void) { state.withLock { change(&$0) } }
        func desired(_ namespace: NamespaceID) -> NamespaceState? { state.withLock { $0 } }
        func namespaces() -> Set<NamespaceID> { [.host] }
    }
    private final class Drifts: Sendable {
        private let steps = Mutex<[Step]>([])
        func note(_ step: Step) { steps.withLock { $0.append(step) } }
        var all: [Step] { steps.withLock { $0 } }
    }

    @Test("what is desired anew is no drift, even if the kernel speaks first; what somebody changes is")
    func drift() async throws {
        let (kernel, wish, drifts) = (ModelKernel(), Wish(), Drifts())
        let reconciler = Reconciler(
            kernel, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, onDrift: { drifts.note($0) }, onFailure: { _, _ in })
        let loop = Task { await reconciler.run(wish) }
        #expect(await reconciler.settle(.host).isEmpty)

        // The view has changed; before its mark comes, a notification of the kernel does.
        let sysctl = "net/ipv4/ip_forward"
        wish.change { $0.sysctls[sysctl] = "1" }
        await reconciler.mark(.host, .kernel)
        try await eventually { await kernel.states[.host]?.sysctls[sysctl] == "1" }
        #expect(await reconciler.settle(.host).isEmpty)
        #expect(drifts.all == [])

        await kernel.tamper(.host) { $0.sysctls[sysctl] = "0" }
        await reconciler.mark(.host, .kernel)
        try await eventually { await kernel.states[.host]?.sysctls[sysctl] == "1" }
        try await eventually { drifts.all == [.setSysctl(.host, path: sysctl, value: "1")] }

        await reconciler.stop()
        await loop.value
    }
}
