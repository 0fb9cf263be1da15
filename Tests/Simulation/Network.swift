/// The network between the nodes and the host that serves the store: it delays, loses, holds back until a partition is over, and splits one way
/// or both ways. What arrives late arrives, even if nobody waits for it any more.
import TestKit

final class Network: @unchecked Sendable {
    /// Hosts whose messages do not get out, or to which none comes in.
    private(set) var mute: Set<Int> = []
    private(set) var deaf: Set<Int> = []
    /// Messages that the senders' hosts repeat until they get through.
    private var held: [(from: Int, to: Int, deliver: () -> Void)] = []
    private var random: SeededRandom
    /// Of a thousand messages so many are much too late.
    var lateness = 0

    init(seed: UInt64) { random = SeededRandom(seed: seed) }

    func split(_ host: Int, out: Bool, in inward: Bool) {
        if out { mute.insert(host) }
        if inward { deaf.insert(host) }
    }
    func heal(_ host: Int) {
        (mute, deaf) = (mute.subtracting([host]), deaf.subtracting([host]))
        let ready = held.filter { isOpen($0.from, $0.to) }
        held.removeAll { isOpen($0.from, $0.to) }
        for message in ready { Executor.shared.after(.seconds(0.001...1.5, &random), nil, message.deliver) }
    }
    func healAll() { for host in mute.union(deaf).sorted() { heal(host) } }

    func isOpen(_ from: Int, _ to: Int) -> Bool { from == to || (!mute.contains(from) && !deaf.contains(to)) }

    func send(from: Int, to: Int, _ deliver: @escaping () -> Void) {
        guard isOpen(from, to) else {
            if Int.random(in: 0..<10, using: &random) < 3, held.count < 1_000 { held.append((from, to, deliver)) }
            return
        }
        let delay: Duration
        switch Int.random(in: 0..<1_000, using: &random) {
        case ..<lateness: delay = .seconds(3...15, &random)
        case ..<(lateness + 50): delay = .seconds(0.01...0.3, &random)
        default: delay = from == to ? .seconds(0.00002...0.0002, &random) : .seconds(0.0002...0.002, &random)
        }
        // A message that is under way when the line breaks is lost.
        Executor.shared.after(delay) { [self] in if isOpen(from, to) { deliver() } }
    }
}
