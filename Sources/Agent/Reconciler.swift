/// The one loop of a node that changes the kernel (docs/DESIGN.md section 4).
///
/// Everything only marks a namespace dirty. The loop takes what is dirty, asks for the desired state, reads the observed
/// one, plans, applies, and looks again until nothing is left to do. A request of the engine marks, then waits for the
/// pass that began after its mark. A step that failed leaves its namespace dirty and is tried again with back-off.
package import Addressing
package import Fabric
package import Logging

/// Says what should be. Asked at the beginning of each pass.
package protocol DesiredSource: Sendable {
    /// nil inside: the namespace should not exist.
    /// Throws where it cannot be known: then nothing is touched.
    func desired(_ namespace: NamespaceID) async throws -> NamespaceState?
    /// All that should exist.
    func namespaces() async -> Set<NamespaceID>
    /// To which multicast groups containers there listen; told after each pass.
    func heard(_ namespace: NamespaceID, listened: Set<IPAddress>) async
}

extension DesiredSource {
    package func heard(_ namespace: NamespaceID, listened: Set<IPAddress>) async {}
}

package actor Reconciler {
    /// Why a namespace is looked at.
    package enum Reason: Sendable {
        /// What is desired has changed: differences are work, not drift.
        case intent
        /// The kernel reported a change, or it is time for a sweep.
        case kernel
    }

    private let plane: any DataPlane
    private let log: Logger
    private let onDrift: @Sendable (Step) -> Void
    private let onFailure: @Sendable (NamespaceID, [StepFailure]) -> Void
    private var source: (any DesiredSource)?

    private var dirty: [NamespaceID: Reason] = [:]
    /// The hash of what each pass last found desired: a kernel's mark may be served after the desired state has changed and
    /// before the mark that says so, and then the differences are work.
    private var wanted: [NamespaceID: Int] = [:]
    /// Counts marks; a pass covers all marks up to the number it began with.
    private var marks: UInt64 = 0
    private var waiters: [(id: NamespaceID, after: UInt64, continuation: CheckedContinuation<[StepFailure], Never>)] = []
    private var sleeper: CheckedContinuation<Void, Never>?
    private var failures: [NamespaceID: (count: Int, last: [StepFailure])] = [:]
    private var retrying: Set<NamespaceID> = []
    private var isStopped = false
    private var isSweepWanted = false

    package init(
        _ plane: any DataPlane, log: Logger, onDrift: @escaping @Sendable (Step) -> Void,
        onFailure: @escaping @Sendable (NamespaceID, [StepFailure]) -> Void
    ) {
        self.plane = plane
        self.log = log
        self.onDrift = onDrift
        self.onFailure = onFailure
    }

    // MARK: Asking

    package func mark(_ namespace: NamespaceID, _ reason: Reason = .intent) {
        // What fails makes changes too, and these must not call it again at once: the kernel's word waits for the retry.
        if reason == .kernel, failures[namespace] != nil { return }
        put(namespace, reason)
    }

    private func put(_ namespace: NamespaceID, _ reason: Reason) {
        marks += 1
        if dirty[namespace] == nil || reason == .intent { dirty[namespace] = reason }
        wake()
    }

    /// A namespace whose pin somebody took away: the next look puts it back, and no step says so.
    package func pinIsGone(_ namespace: NamespaceID) {
        guard failures[namespace] == nil else { return }
        onDrift(.createNamespace(namespace))
        put(namespace, .kernel)
    }

    /// Marks all that should exist and all that does.
    package func markAll(_ reason: Reason = .intent) async {
        var all = await source?.namespaces() ?? []
        if let present = try? await plane.namespaces() { all.formUnion(present) }
        for namespace in all.union([.host]) { mark(namespace, reason) }
    }

    /// Marks everything, to be read afresh from the kernel.
    package func sweep() async {
        isSweepWanted = true
        await markAll(.kernel)
    }

    /// Marks and waits for a whole pass over that namespace; returns what failed in it.
    package func settle(_ namespace: NamespaceID) async -> [StepFailure] {
        if isStopped { return [] }
        mark(namespace)
        let after = marks
        return await withCheckedContinuation { waiters.append((namespace, after, $0)) }
    }

    package var problems: [NamespaceID: [StepFailure]] { failures.mapValues(\.last) }

    /// What a pass would do now.
    package func preview() async throws -> [(NamespaceID, [Step])] {
        var all = await source?.namespaces() ?? []
        if let present = try? await plane.namespaces() { all.formUnion(present) }
        var plans: [(NamespaceID, [Step])] = []
        for namespace in all.union([.host]).sorted() {
            let desired: NamespaceState?
            // Of one that is not known nothing would be changed; `problems` has it.
            do { desired = try await source?.desired(namespace) } catch { continue }
            let steps = Planner.plan(namespace, desired: desired, observed: try await plane.observe(namespace, fresh: true))
            if !steps.isEmpty { plans.append((namespace, steps)) }
        }
        return plans
    }

    // MARK: The loop

    /// Runs until `stop`.
    package func run(_ source: any DesiredSource) async {
        self.source = source
        while !isStopped {
            guard !dirty.isEmpty else {
                await withCheckedContinuation { sleeper = $0 }
                continue
            }
            let work = dirty
            let upTo = marks
            let fresh = isSweepWanted
            dirty = [:]
            isSweepWanted = false
            // Networks before the host: they make both ends of their egress pairs.
            let order = work.keys.sorted { ($0 == .host ? 1 : 0, $0) < ($1 == .host ? 1 : 0, $1) }
            var done: [NamespaceID: [StepFailure]] = [:]
            for namespace in order {
                done[namespace] = await pass(namespace, reason: work[namespace] ?? .kernel, fresh: fresh)
                release(namespace, upTo: upTo, failures: done[namespace] ?? [])
            }
        }
        for waiter in waiters { waiter.continuation.resume(returning: []) }
        waiters = []
        // The source knows us as well.
        self.source = nil
    }

    package func stop() {
        isStopped = true
        wake()
    }

    private func pass(_ namespace: NamespaceID, reason: Reason, fresh: Bool) async -> [StepFailure] {
        var failed: [StepFailure] = []
        let desired: NamespaceState?
        do { desired = try await source?.desired(namespace) } catch {
            let unknown = StepFailure(step: .createNamespace(namespace), reason: "\(error)", isUnknown: true)
            note(namespace, [unknown], reason)
            return [unknown]
        }
        var reason = reason
        let hash = desired?.hashValue
        if wanted[namespace] != hash { reason = .intent }
        wanted[namespace] = hash
        do {
            // A second and third look find what the kernel dropped on the way; more would be a fight with somebody.
            for round in 0..<4 {
                let observed = try await plane.observe(namespace, fresh: fresh && round == 0)
                let steps = Planner.plan(namespace, desired: desired, observed: observed)
                if namespace != .host { await source?.heard(namespace, listened: observed?.listened ?? []) }
                if steps.isEmpty { break }
                log.trace("applying", metadata: ["namespace": "\(namespace)", "steps": "\(steps.count)"])
                failed = await plane.apply(steps)
                if reason == .kernel, round == 0 {
                    let undone = Set(failed.map(\.step))
                    for step in steps where !undone.contains(step) { onDrift(step) }
                }
                if !failed.isEmpty { break }
            }
        } catch {
            failed = [StepFailure(step: .createNamespace(namespace), reason: "\(error)")]
        }
        note(namespace, failed, reason)
        return failed
    }

    private func note(_ namespace: NamespaceID, _ failed: [StepFailure], _ reason: Reason) {
        guard !failed.isEmpty else {
            failures[namespace] = nil
            return
        }
        let count = (failures[namespace]?.count ?? 0) + 1
        failures[namespace] = (count, failed)
        onFailure(namespace, failed)
        // One retry at a time; 0.1 s, 0.2 s … 5 s.
        guard retrying.insert(namespace).inserted else { return }
        let delay = min(5_000, 100 << min(count - 1, 6))
        Task {
            try? await Task.sleep(for: .milliseconds(delay))
            retrying.remove(namespace)
            put(namespace, reason)
        }
    }

    private func release(_ namespace: NamespaceID, upTo: UInt64, failures: [StepFailure]) {
        let ready = waiters.filter { $0.id == namespace && $0.after <= upTo }
        waiters.removeAll { $0.id == namespace && $0.after <= upTo }
        for waiter in ready { waiter.continuation.resume(returning: failures) }
    }

    private func wake() {
        sleeper?.resume()
        sleeper = nil
    }
}
