/// A message of the domain name system (RFC 1035 section 4), as a value: bytes in, bytes out. Sockets and what is answered are others' business.
///
/// A question of a container goes through it like this: `DNSMessage(parsing:)` reads the header's six numbers and then, as often as these say,
/// questions and records (DNSReader); whoever answers makes a message with `isResponse`, and `printed(limit:)` writes it, each name
/// that stood before as a pointer to there, and leaves out what the asker cannot take (DNSWriter).
///
///     0                16               32
///     +----------------+----------------+
///     |       id       |QR|opcode|AA|TC|RD|RA|Z(3)|rcode(4)|
///     +----------------+----------------+
///     |   questions    |    answers     |   counts
///     +----------------+----------------+
///     |  authorities   |  additionals   |
///     +----------------+----------------+
///     | questions, then records … |
package struct DNSMessage: Hashable, Sendable {
    /// RFC 1035 section 4.1.1.
    package struct Code: Hashable, Sendable {
        package var number: UInt8
        /// Of the 16 that fit the header.
        package init(_ number: UInt8) { self.number = number & 0xf }
        package static let noError = Code(0)
        package static let serverFailure = Code(2)
        package static let noSuchName = Code(3)
    }

    package var id: UInt16
    package var isResponse: Bool
    /// 0 is a question.
    package var operation: UInt8
    package var isAuthoritative = false
    /// Records are missing that were too long for the way.
    package var isTruncated = false
    package var wantsRecursion = false
    package var offersRecursion = false
    /// The three bits between: zero, authentic data, checking disabled (RFC 4035 section 3.1.6).
    package var spare: UInt8 = 0
    package var code: Code
    package var questions: [DNSQuestion] = []
    package var answers: [DNSRecord] = []
    package var authorities: [DNSRecord] = []
    package var additionals: [DNSRecord] = []

    package init(id: UInt16, isResponse: Bool = false, operation: UInt8 = 0, code: Code = .noError) {
        self.id = id
        self.isResponse = isResponse
        self.operation = operation & 0xf
        self.code = code
    }

    /// The answer to a question, with nothing in it yet.
    package init(answering question: DNSMessage) {
        self.init(id: question.id, isResponse: true, operation: question.operation)
        wantsRecursion = question.wantsRecursion
        questions = question.questions
    }

    package static let headerSize = 12
    /// Bytes of a UDP message that everybody takes (RFC 1035 section 2.3.4), and of one over TCP.
    package static let commonSize = 512
    package static let largest = 65_535

    /// What the sender can do; nil when it does not say.
    package var options: DNSOptions? { additionals.lazy.compactMap(DNSOptions.init).first }
}

/// Why bytes are no message.
package struct DNSError: Error, Hashable, CustomStringConvertible {
    package enum Code: Hashable, Sendable {
        /// It ends within something.
        case short
        /// A name does not end, leads forward, or is longer than names are.
        case name
        /// A record's data is not what its type has.
        case data
    }
    package var code: Code
    /// The byte at which it was noticed.
    package var position: Int
    package var description: String { "no DNS message: \(code) at byte \(position)" }
}

extension DNSMessage {
    /// What follows the last record is passed over.
    ///
    /// - Parameter isWhole: false: what follows the answers may be anything; it is taken as far as it can be read.
    package init(parsing bytes: [UInt8], isWhole: Bool = true) throws(DNSError) {
        var reader = DNSReader(bytes)
        self.init(id: try reader.number16())
        let flags = try reader.number16()
        isResponse = flags & 0x8000 != 0
        operation = UInt8(flags >> 11 & 0xf)
        isAuthoritative = flags & 0x0400 != 0
        isTruncated = flags & 0x0200 != 0
        wantsRecursion = flags & 0x0100 != 0
        offersRecursion = flags & 0x0080 != 0
        spare = UInt8(flags >> 4 & 7)
        code = Code(UInt8(flags & 0xf))
        var counts: [Int] = []
        for _ in 0..<4 { counts.append(Int(try reader.number16())) }
        for _ in 0..<counts[0] { questions.append(try DNSQuestion(&reader)) }
        for _ in 0..<counts[1] { answers.append(try DNSRecord(&reader)) }
        do throws(DNSError) {
            for _ in 0..<counts[2] { authorities.append(try DNSRecord(&reader)) }
            for _ in 0..<counts[3] { additionals.append(try DNSRecord(&reader)) }
        } catch {
            if isWhole { throw error }
        }
    }

    /// At most `limit` bytes, or as many as header, questions and OPT take. Answers and authorities that do not fit are left out and the message says so
    /// (TC); additional records are left out silently (RFC 2181 section 9).
    package func printed(limit: Int = DNSMessage.largest) -> [UInt8] {
        var writer = DNSWriter()
        let option = additionals.first { $0.type == .opt }
        let room = max(limit - (option == nil ? 0 : DNSWriter.size(ofOptions: option)), 0)
        writer.append(id)
        // The flags and the counts are known at the end.
        for _ in 0..<5 { writer.append(UInt16(0)) }
        for question in questions { question.write(to: &writer) }
        let answered = writer.append(answers, room: room)
        let authorized = answered == answers.count ? writer.append(authorities, room: room) : 0
        let isCut = answered < answers.count || authorized < authorities.count
        let others = additionals.filter { $0.type != .opt }
        var added = isCut ? 0 : writer.append(others, room: room)
        if let option {
            option.write(to: &writer)
            added += 1
        }
        var flags = UInt16(operation & 0xf) << 11 | UInt16(spare & 7) << 4 | UInt16(code.number)
        if isResponse { flags |= 0x8000 }
        if isAuthoritative { flags |= 0x0400 }
        if isTruncated || isCut { flags |= 0x0200 }
        if wantsRecursion { flags |= 0x0100 }
        if offersRecursion { flags |= 0x0080 }
        writer.set(flags, at: 2)
        for (index, count) in [questions.count, answered, authorized, added].enumerated() {
            writer.set(UInt16(truncatingIfNeeded: count), at: 4 + index * 2)
        }
        return writer.bytes
    }
}
