/// A host's kernel, which outlives agents, and the way of one agent's run to it: each step takes its time, some fail, and the agent may die between any two.
import Fabric
import TestKit

final class SimulatedKernel: @unchecked Sendable {
    private(set) var model = KernelModel()
    private var listeners: [(life: Life, continuation: AsyncStream<NamespaceID>.Continuation)] = []
    var random: SeededRandom
    /// Of a thousand steps so many are refused.
    var refusals = 0
    /// The agent dies after so many more steps.
    var stepsToLive: Int?

    init(seed: UInt64) { random = SeededRandom(seed: seed) }

    func state(_ namespace: NamespaceID) -> NamespaceState? { model.states[namespace] }

    /// The machine starts anew.
    func reset() { model = KernelModel() }

    /// Somebody else's hand.
    func tamper(_ namespace: NamespaceID, _ change: (inout NamespaceState) -> Void) {
        guard model.states[namespace] != nil else { return }
        model.tamper(namespace, change)
        tell(namespace)
    }
    func remove(_ namespace: NamespaceID) {
        model.drop(namespace)
        tell(namespace)
    }

    fileprivate func apply(_ step: Step, after failures: [StepFailure]) -> StepFailure? {
        let isRefused = refusals > 0 && Int.random(in: 0..<1_000, using: &random) < refusals
        return model.apply(step, after: failures) { _ in isRefused ? "cannot allocate memory" : nil }
    }
    fileprivate func tell(_ namespace: NamespaceID) {
        listeners.removeAll { $0.life.isOver }
        for (life, continuation) in listeners { _ = Executor.shared.within(life) { continuation.yield(namespace) } }
    }
    fileprivate func listen(_ life: Life, _ continuation: AsyncStream<NamespaceID>.Continuation) { listeners.append((life, continuation)) }
}

struct KernelLink: DataPlane {
    let kernel: SimulatedKernel
    let life: Life

    func namespaces() async -> Set<NamespaceID> { kernel.model.namespaces }
    func observe(_ namespace: NamespaceID, fresh: Bool) async -> NamespaceState? {
        if Int.random(in: 0..<4, using: &kernel.random) == 0 { try? await Task.sleep(for: .seconds(0.0001...0.002, &kernel.random)) }
        return kernel.state(namespace)
    }
    func changes() async -> AsyncStream<NamespaceID> {
        let (stream, continuation) = AsyncStream.makeStream(of: NamespaceID.self)
        kernel.listen(life, continuation)
        return stream
    }
    func counters(_ namespace: NamespaceID) async -> [String: UInt64] { [:] }

    func apply(_ steps: [Step]) async -> [StepFailure] {
        var failures: [StepFailure] = []
        var touched: Set<NamespaceID> = []
        for step in steps {
            if let left = kernel.stepsToLive {
                kernel.stepsToLive = left > 0 ? left - 1 : nil
                if left == 0 { Executor.shared.end(life) }
            }
            if life.isOver { return failures }
            if let failure = kernel.apply(step, after: failures) { failures.append(failure) } else { touched.insert(step.namespace) }
            if Int.random(in: 0..<8, using: &kernel.random) == 0 { try? await Task.sleep(for: .seconds(0.0001...0.003, &kernel.random)) }
        }
        // The kernel tells about one's own changes too.
        for namespace in touched.sorted() { kernel.tell(namespace) }
        return failures
    }
}
