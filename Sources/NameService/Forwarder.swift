/// A container's questions that are on their way to Docker's resolver: pure bookkeeping, time is given.
///
/// Each gets a number of ours as its id, so that two askers with the same id are told apart; an answer counts if its id is one that waits and its question is
/// that one's. What has no answer after 5 s is forgotten (the asker asks again by itself), and of too many the oldest is.
package struct Forwarder: Sendable {
    /// Where an answer goes.
    package struct Asker: Hashable, Sendable {
        package var address: UInt32
        package var port: UInt16
        package init(address: UInt32, port: UInt16) {
            self.address = address
            self.port = port
        }
    }
    struct Waiting: Sendable {
        var asker: Asker
        /// As it came.
        var message: [UInt8]
        var since: ContinuousClock.Instant
        var isRepeated = false
    }

    package static let limit = Duration.seconds(5)
    package static let most = 512

    private var waiting: [UInt16: Waiting] = [:]
    /// Their ids, the oldest first; also of some that are answered.
    private var order: [UInt16] = []

    package init() {}
    package var count: Int { waiting.count }

    /// - Parameter seed: a random number, from which the id is made.
    /// - Returns: what to send.
    package mutating func take(_ message: [UInt8], from asker: Asker, at now: ContinuousClock.Instant, seed: UInt16) -> [UInt8]? {
        guard message.count >= 12 else { return nil }
        expire(at: now)
        while waiting.count >= Self.most, !order.isEmpty { waiting[order.removeFirst()] = nil }
        // The first may wait for long, and those behind it be answered.
        if order.count >= 2 * Self.most { order.removeAll { waiting[$0] == nil } }
        var id = seed
        while waiting[id] != nil { id &+= 1 }
        waiting[id] = Waiting(asker: asker, message: message, since: now)
        order.append(id)
        return Self.numbered(message, id)
    }

    /// - Returns: the answer with the asker's own id, and the asker; nil for what nobody waits for.
    package mutating func answered(_ bytes: [UInt8]) -> (bytes: [UInt8], asker: Asker)? {
        guard bytes.count >= 12, bytes[2] & 0x80 != 0 else { return nil }
        let id = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
        guard let asked = waiting[id], Self.answers(bytes, asked.message) else { return nil }
        waiting[id] = nil
        return (Self.numbered(bytes, UInt16(asked.message[0]) << 8 | UInt16(asked.message[1])), asked.asker)
    }

    /// Docker's resolver refused the socket: what waits is asked once more by another one, and what was asked twice is given up.
    package mutating func refused() -> (again: [[UInt8]], failed: [(message: [UInt8], asker: Asker)]) {
        var again: [[UInt8]] = []
        var failed: [(message: [UInt8], asker: Asker)] = []
        for (id, asked) in waiting {
            if asked.isRepeated {
                failed.append((asked.message, asked.asker))
                waiting[id] = nil
            } else {
                waiting[id]?.isRepeated = true
                again.append(Self.numbered(asked.message, id))
            }
        }
        return (again, failed)
    }

    package mutating func expire(at now: ContinuousClock.Instant) {
        while let first = order.first {
            if let asked = waiting[first], now - asked.since < Self.limit { return }
            waiting[first] = nil
            order.removeFirst()
        }
    }

    /// The same question, or none, as a server sends it that could not read it.
    private static func answers(_ answer: [UInt8], _ question: [UInt8]) -> Bool {
        if answer[4] == 0, answer[5] == 0 { return answer[3] & 0xf != 0 }
        guard answer[4] == question[4], answer[5] == question[5], let end = questionEnd(question), answer.count >= end else { return false }
        return answer[12..<end] == question[12..<end]
    }

    /// Of the first question: its name stands in full, for nothing is before it that a pointer could lead to.
    private static func questionEnd(_ message: [UInt8]) -> Int? {
        var position = 12
        while position < message.count, message[position] != 0 {
            guard message[position] < 64 else { return nil }
            position += Int(message[position]) + 1
        }
        return position + 5 <= message.count ? position + 5 : nil
    }

    private static func numbered(_ message: [UInt8], _ id: UInt16) -> [UInt8] {
        [UInt8(id >> 8), UInt8(id & 0xff)] + message.dropFirst(2)
    }
}
