/// The one thread on which a simulated cluster runs, and its clock.
///
/// Swift's runtime hands every job here (CSimulation). A job that is ready joins `ready`, one that sleeps joins the heap of times. The loop takes
/// of those that are ready the one that the seed's generator chooses; when none is left the clock moves on to the next time. Nothing else moves it, so a
/// minute of a quiet cluster costs nothing, and the same seed runs the same jobs in the same order.
///
/// Each job belongs to a `Life`: one run of one node's agent, or the world outside the nodes. It inherits that of the job that made it ready;
/// where a call crosses from a node to the world or back, `within` says so. A life that is over runs no more, whatever it was doing; one that is
/// paused finds its jobs waiting.
import CSimulation
import TestKit

/// One run of an agent, from its start to its end. The world's own never ends.
final class Life: @unchecked Sendable {
    enum State { case running, paused, over }
    let name: String
    let number: UInt64
    fileprivate(set) var state = State.running
    fileprivate var parked: [Executor.Item] = []
    /// What others wait for of it: told when it is over.
    private var mourners: [UInt64: () -> Void] = [:]
    private var lastMourner: UInt64 = 0
    /// Jobs and sleeps that wait.
    fileprivate(set) var pending = 0

    fileprivate init(_ name: String, _ number: UInt64) { (self.name, self.number) = (name, number) }

    var isOver: Bool { state == .over }

    func onEnd(_ body: @escaping () -> Void) -> UInt64 {
        lastMourner += 1
        mourners[lastMourner] = body
        return lastMourner
    }
    func forget(_ mourner: UInt64) { mourners[mourner] = nil }
    fileprivate func takeMourners() -> [() -> Void] {
        defer { mourners = [:] }
        return mourners.sorted { $0.key < $1.key }.map(\.value)
    }
}

final class Executor: @unchecked Sendable {
    fileprivate enum Work {
        case job(UnsafeMutableRawPointer)
        case action(() -> Void)
    }
    fileprivate final class Item {
        let work: Work
        let life: Life
        init(work: Work, life: Life) { (self.work, self.life) = (work, life) }
    }
    private struct Timer {
        var due: UInt64
        var number: UInt64
        var item: Item
        func precedes(_ other: Timer) -> Bool { (due, number) < (other.due, other.number) }
    }

    /// There is one, because the runtime's hooks know no other way to it.
    nonisolated(unsafe) private(set) static var shared = Executor(seed: 0)

    let world = Life("world", 0)
    /// Nanoseconds since the beginning; read by the C library's clock.
    private let clock = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    private var ready: [Item] = []
    private var timers: [Timer] = []
    private var current: Life
    private var random: SeededRandom
    private var lastNumber: UInt64 = 0
    private var lastLife: UInt64 = 0
    /// Jobs that ran.
    private(set) var steps: UInt64 = 0
    /// Of everything that ran: two runs of a seed agree in it, or are not the same.
    private(set) var hash: UInt64 = 0xcbf2_9ce4_8422_2325

    private init(seed: UInt64) {
        random = SeededRandom(seed: seed)
        current = world
        // Not at zero: CLOCK_BOOTTIME of a machine that runs.
        clock.pointee = 1_000_000_000_000
    }

    static func takeOver(seed: UInt64) -> Executor {
        shared = Executor(seed: seed)
        RuntimeSeam.open()
        simulation_take_over({ job, due in
            if let job { Executor.shared.enqueue(job, due: due) }
        }, shared.clock)
        return shared
    }

    /// Nanoseconds.
    var now: UInt64 { clock.pointee }
    var seconds: Double { Double(clock.pointee) / 1e9 }

    func note(_ value: UInt64) { hash = (hash ^ value) &* 0x100_0000_01b3 }

    // MARK: Lives

    func beginLife(_ name: String) -> Life {
        lastLife += 1
        return Life(name, lastLife)
    }
    func pause(_ life: Life) { if life.state == .running { life.state = .paused } }
    func resume(_ life: Life) {
        guard life.state == .paused else { return }
        life.state = .running
        for item in life.parked { add(item, due: now) }
        life.parked = []
    }
    /// The process dies between two instructions: what is not on its disk is lost.
    func end(_ life: Life) {
        guard !life.isOver else { return }
        life.state = .over
        life.parked = []
        within(world) { for mourner in life.takeMourners() { mourner() } }
    }

    /// What the body makes ready belongs to that life.
    func within<Result>(_ life: Life, _ body: () throws -> Result) rethrows -> Result {
        let before = current
        current = life
        defer { current = before }
        return try body()
    }

    // MARK: Work

    /// Later, on behalf of a life.
    func after(_ delay: Duration, _ life: Life? = nil, _ body: @escaping () -> Void) {
        add(Item(work: .action(body), life: life ?? world), due: now + delay.nanoseconds)
    }

    /// A job of the runtime's, ready at once or then.
    func enqueue(_ job: UnsafeMutableRawPointer, due: UInt64 = 0) { add(Item(work: .job(job), life: current), due: due) }

    private func add(_ item: Item, due: UInt64) {
        item.life.pending += 1
        guard due > now else { return ready.append(item) }
        lastNumber += 1
        timers.append(Timer(due: due, number: lastNumber, item: item))
        var child = timers.count - 1
        while child > 0, timers[child].precedes(timers[(child - 1) / 2]) {
            timers.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private func nextTimer() -> Timer? {
        guard let first = timers.first else { return nil }
        let last = timers.removeLast()
        guard !timers.isEmpty else { return first }
        timers[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < timers.count && timers[child].precedes(timers[least]) { least = child }
            if least == parent { return first }
            timers.swapAt(parent, least)
            parent = least
        }
    }

    /// Until the condition holds, nothing is left to do, or the limit of steps is reached.
    /// - Returns: whether the condition holds.
    func run(limit: UInt64, until isOver: () -> Bool) -> Bool {
        while !isOver() {
            if ready.isEmpty {
                guard steps < limit, let timer = nextTimer() else { return false }
                clock.pointee = max(now, timer.due)
                ready.append(timer.item)
                while let next = timers.first, next.due <= now, let timer = nextTimer() { ready.append(timer.item) }
            }
            let choice = ready.count == 1 ? 0 : Int(random.next() % UInt64(ready.count))
            ready.swapAt(choice, ready.count - 1)
            execute(ready.removeLast())
        }
        return true
    }

    private func execute(_ item: Item) {
        item.life.pending -= 1
        switch item.life.state {
        case .over: return
        case .paused:
            item.life.pending += 1
            return item.life.parked.append(item)
        case .running: break
        }
        steps += 1
        note(now)
        note(item.life.number)
        current = item.life
        switch item.work {
        case .job(let job): simulation_run(job)
        case .action(let body): body()
        }
        current = world
    }
}

extension Duration {
    var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        return UInt64(max(0, seconds)) * 1_000_000_000 + UInt64(max(0, attoseconds) / 1_000_000_000)
    }
    static func seconds(_ range: ClosedRange<Double>, _ random: inout SeededRandom) -> Duration {
        .microseconds(Int64(Double.random(in: range, using: &random) * 1e6))
    }
}
