/// Something that goes wrong, and is mended again. `docs/faults.md` has a line for each, under the same name.
///
/// One goes like this (`FaultRun`): packets flow, `inject`, people go on working (`Churn`) for `lasts`, `meanwhile`, `heal`; then within `within` all is as the checker
/// wants it, and of the flows that `cuts` does not name not one packet was lost.
import Synchronization
import TestKit
import Testing

/// What a fault takes hold of: two at once share none.
enum Part: Hashable, Sendable { case host(Int), store, network }

struct Fault: Sendable, CustomTestStringConvertible {
    /// Lower-case words and dashes; FAULT= of `make faults`.
    let name: String
    var stores: Set<StoreKind> = [.embedded, .etcd]
    let parts: Set<Part>
    /// Where a container may fail to start or to go meanwhile.
    var refuses: Set<Int> = []
    /// Where nobody works meanwhile.
    var bars: Set<Int> = []
    /// Whether containers on these two hosts may not reach each other.
    var cuts: @Sendable (Int, Int) -> Bool = { _, _ in false }
    var lasts = Duration.seconds(4)
    /// The published time: from the end of the fault until all is well, and all that was begun during it done or refused.
    var within = Duration.seconds(10)
    /// Part of `make test`: a kind that no other suite has.
    var isShort = false
    var inject: @Sendable (FaultScene) async throws -> Void
    /// What must be so before it is mended; not asked when another fault has hold of something too.
    var meanwhile: @Sendable (FaultScene) async throws -> Void = { _ in }
    var heal: @Sendable (FaultScene) async throws -> Void

    var testDescription: String { name }

    static let all = agents + underlay + clocks + nodes + embeddedStores + promotions + etcds
}

/// What a fault may lay its hands on, beside the hosts.
struct FaultScene: Sendable {
    let kind: StoreKind
    let truth: TruthStore
    let mending = Mending()
    var checker: Checker { Checker(truth: truth) }

    init(_ kind: StoreKind) {
        self.kind = kind
        truth = TruthStore(kind: kind)
    }
}

/// When the fault ended: what follows it in `heal` is waiting.
final class Mending: Sendable {
    private let moment = Mutex<ContinuousClock.Instant?>(nil)
    func mark() { moment.withLock { $0 = .now } }
    var isMarked: Bool { moment.withLock { $0 != nil } }
    var last: ContinuousClock.Instant { moment.withLock { $0 } ?? .now }
}

/// One or two faults at once, and the seed of what people do meanwhile.
struct FaultCase: Sendable, CustomTestStringConvertible {
    let faults: [Fault]
    let kind: StoreKind
    let seed: UInt64

    var name: String { faults.map(\.name).joined(separator: "+") }
    var testDescription: String { "\(name), STORE=\(kind) SEED=\(seed)" }

    /// For `make test`.
    static func short(_ kind: StoreKind) -> [FaultCase] {
        let faults = Fault.all.filter { $0.isShort && $0.stores.contains(kind) && (kind == .embedded || $0.stores == [.etcd]) }
        return faults.map { FaultCase(faults: [$0], kind: kind, seed: FaultSettings.seed) }
    }

    /// For `make faults`: all in random order, several rounds; after each round as many random pairs as a third of them.
    static func long(_ kind: StoreKind) -> [FaultCase] {
        let settings = FaultSettings.self
        guard settings.isLong, settings.store == nil || settings.store == kind else { return [] }
        let possible = Fault.all.filter { $0.stores.contains(kind) }
        if let names = settings.faults {
            let chosen = names.compactMap { name in possible.first { $0.name == name } }
            guard chosen.count == names.count else { return [] }
            return (0..<settings.rounds).map { FaultCase(faults: chosen, kind: kind, seed: settings.seed &+ UInt64($0)) }
        }
        var random = SeededRandom(seed: settings.seed)
        var cases: [FaultCase] = []
        for _ in 0..<settings.rounds {
            cases += possible.shuffled(using: &random).map { FaultCase(faults: [$0], kind: kind, seed: random.next() >> 32) }
            for _ in 0..<possible.count / 3 {
                let first = possible.randomElement(using: &random)
                let second = possible.filter { $0.parts.isDisjoint(with: first?.parts ?? []) }.randomElement(using: &random)
                let seed = random.next() >> 32
                if let first, let second { cases.append(FaultCase(faults: [first, second], kind: kind, seed: seed)) }
            }
        }
        return cases
    }
}
