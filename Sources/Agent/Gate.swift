import Synchronization

/// So many at a time.
final class Gate: Sendable {
    private let room: Mutex<Int>
    init(_ room: Int) { self.room = Mutex(room) }

    /// False where there is no room; else `leave` follows.
    func enter() -> Bool {
        room.withLock { room in
            guard room > 0 else { return false }
            room -= 1
            return true
        }
    }
    func leave() { room.withLock { $0 += 1 } }
}
