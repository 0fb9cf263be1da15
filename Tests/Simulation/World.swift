/// Everything of one seed: the hosts, the network between them, the store, who checks, and what was seen.
import Agent
import Fabric
import Store
import TestKit

/// What the seed's number decides before anything happens.
struct Plan: Sendable {
    var hosts: Int
    /// Seconds of the right to allocate.
    var lease: Int
    /// Seconds of trouble, and the mean pause between two things that happen.
    var length: Double
    var pause: Double
    /// Prefix length of the networks' subnets, and how many networks there are.
    var subnetLength: Int
    var names: Int
    /// Which faults happen, so that some seeds are of one kind.
    var faults: Set<Fault>
    /// The containers and networks go at the end, and nothing of them may be left.
    var isCleared: Bool

    init(seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0x5eed)
        let isLarge = Int.random(in: 0..<250, using: &random) == 0
        hosts = isLarge ? Int.random(in: 100...300, using: &random) : (0..<3).map { _ in Int.random(in: 3...12, using: &random) }.min() ?? 3
        lease = [20, 40, 120, 600].randomElement(using: &random) ?? 40
        length = isLarge ? 20 : Double((0..<2).map { _ in Int.random(in: 8...70, using: &random) }.min() ?? 8)
        pause = isLarge ? 0.2 : [0.1, 0.3, 1].randomElement(using: &random) ?? 0.3
        subnetLength = isLarge ? 20 : [24, 26, 27, 28, 28].randomElement(using: &random) ?? 26
        names = Int.random(in: 1...3, using: &random)
        faults = []
        for fault in Fault.allCases where Int.random(in: 0..<10, using: &random) < 4 { faults.insert(fault) }
        if faults.contains(.store) { faults.remove(.foreignStore) }
        isCleared = !isLarge && Int.random(in: 0..<3, using: &random) == 0
    }
}

enum Fault: String, CaseIterable, Sendable {
    case split, oneWay, late, pause, crash, writeCrash, stepCrash, reboot, clock, kernel, refusal, removal, store, foreignStore, burst
}

final class World: @unchecked Sendable {
    let plan: Plan
    let network: Network
    let center: Center
    private(set) var hosts: [Host] = []
    private(set) lazy var checker = Checker(self)
    let isVerbose: Bool
    /// Nodes that were removed from the cluster.
    private(set) var removed: Set<NodeID> = []
    private(set) var failures: [String] = []
    private var random: SeededRandom
    private var storeWork: Task<Void, Never>?
    /// The store's contents while nobody serves it.
    private var kept: JournalContents?
    /// The right store's while another one is in its place.
    private var right: JournalContents?
    private var isReplaced = false
    private let begin = Executor.shared.seconds

    init(seed: UInt64, isVerbose: Bool) {
        plan = Plan(seed: seed)
        self.isVerbose = isVerbose
        random = SeededRandom(seed: seed ^ 0x770_41d)
        network = Network(seed: random.next())
        let digits = String(seed, radix: 16)
        center = Center(StoreIdentity(cluster: "00000000-0000-4000-8000-" + String(repeating: "0", count: max(0, 12 - digits.count)) + digits, epoch: 1))
        hosts = (0..<plan.hosts).map { Host($0, self) }
    }

    func next() -> UInt64 { random.next() }
    func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }
    func seconds(_ range: ClosedRange<Double>) -> Duration { .seconds(range, &random) }
    func number(_ range: Range<Int>) -> Int { Int.random(in: range, using: &random) }
    func pick<Element>(_ all: [Element]) -> Element? { all.randomElement(using: &random) }

    // MARK: The store's host

    /// The store goes and comes with the agent of host 0.
    func serveStore(for life: Life) {
        onStore { [self] in
            guard let contents = kept else { return }
            kept = nil
            await center.start(contents)
        }
        _ = life.onEnd { [self] in
            center.refuse()
            onStore { [self] in if kept == nil { kept = await center.stop() } }
        }
    }

    /// Another store in the place of this one for a while, under the agents' hands; then this one again.
    func serve(_ other: JournalContents, for pause: Duration) async {
        guard !isReplaced else { return }
        isReplaced = true
        onStore { [self] in
            guard kept == nil else { return }
            right = await center.stop()
            await center.start(other)
        }
        try? await Task.sleep(for: pause)
        trace("the right store is served again")
        onStore { [self] in
            isReplaced = false
            guard let contents = right else { return }
            right = nil
            if kept != nil { return kept = contents }
            _ = await center.stop()
            await center.start(contents)
        }
    }

    /// One after the other.
    private func onStore(_ body: @escaping @Sendable () async -> Void) {
        let before = storeWork
        storeWork = Task(priority: .medium) {
            await before?.value
            await body()
        }
    }

    func noteRemoval(_ id: NodeID) {
        guard removed.insert(id).inserted else { return }
        trace("\(hosts.first { $0.id == id }?.name ?? "a node") is removed from the cluster")
    }

    // MARK: What was seen

    func trace(_ text: String) {
        for byte in text.utf8 { Executor.shared.note(UInt64(byte)) }
        if isVerbose { print(text) }
    }
    func print(_ text: String) {
        let time = Int((Executor.shared.seconds - begin) * 1e6)
        Swift.print("\(time / 1_000_000).\(String(1_000_000 + time % 1_000_000).dropFirst()) \(text)")
    }
    func fail(_ guarantee: String, _ text: String) {
        trace("FAILED \(guarantee): \(text)")
        if failures.count < 20 { failures.append("\(guarantee): \(text)") }
    }
}
