/// Which of a session's counters were seen: all below the window count as seen, those within it are remembered one by
/// one, because requests sent in parallel arrive in any order (as in RFC 6479).
struct ReplayWindow: Sendable {
    /// How far a counter may be behind the highest.
    static let width: UInt64 = 1024
    /// One word more than the width needs, since the window begins and ends within words.
    private static let words: UInt64 = width / 64 + 1

    private var highest: UInt64 = 0
    private var seen = [UInt64](repeating: 0, count: Int(words))

    /// True exactly once for each counter from 1 on that is not too old.
    mutating func accept(_ counter: UInt64) -> Bool {
        guard counter > 0 else { return false }
        if counter > highest {
            let entered = min(counter / 64 - highest / 64, Self.words)
            for step in 0..<entered { seen[Int((counter / 64 - step) % Self.words)] = 0 }
            highest = counter
        } else if highest - counter >= Self.width {
            return false
        }
        let word = Int(counter / 64 % Self.words)
        let bit = 1 << (counter % 64) as UInt64
        if seen[word] & bit != 0 { return false }
        seen[word] |= bit
        return true
    }
}
