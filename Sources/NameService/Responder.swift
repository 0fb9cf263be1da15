/// What becomes of one message from a container: an answer of ours, a question for Docker's resolver, or nothing.
///
/// A question has one question in it and asks (operation 0) for something of the Internet's class; what else is well formed goes to Docker as it is, and
/// what is not well formed, or is an answer, is dropped: nobody gets more bytes from us than he was entitled to ask for.
import DNS
import Fabric

package enum Response: Hashable, Sendable {
    case answer([UInt8])
    case forward
    case drop
}

package struct Responder: Sendable {
    /// Bytes of the largest UDP answer, whatever the asker takes: it never leaves the host's loopback, so nothing is fragmented.
    package static let largestDatagram = 4_096

    private let book: NameBook

    package init(_ book: NameBook) { self.book = book }

    /// - Parameters:
    ///   - sandbox: whose socket it came by: that, and nothing in the message, says who asks.
    ///   - rotation: any number, another each time.
    package func respond(to bytes: [UInt8], from sandbox: String, isStream: Bool, rotation: Int) -> Response {
        guard bytes.count >= 12, bytes[2] & 0x80 == 0 else { return .drop }
        // Other operations have records of other forms (RFC 2136 section 2.5).
        guard bytes[2] & 0x78 == 0 else { return .forward }
        guard let message = try? DNSMessage(parsing: bytes) else { return .drop }
        guard message.questions.count == 1, let question = message.questions.first else { return .forward }
        let options = message.options
        if let options, options.version > 0 { return .forward }
        guard let found = book.look({ $0.answer(question, asking: $0.networks(of: sandbox), rotation: rotation) }) else { return .forward }
        var answer = DNSMessage(answering: message)
        answer.isAuthoritative = true
        answer.offersRecursion = true
        answer.answers = found.answers
        answer.authorities = found.authorities
        answer.additionals = found.additionals
        if options != nil { answer.additionals.append(DNSOptions(size: UInt16(Self.largestDatagram)).record) }
        let room = min(max(options.map { Int($0.size) } ?? 0, DNSMessage.commonSize), Self.largestDatagram)
        return .answer(answer.printed(limit: isStream ? DNSMessage.largest : room))
    }

    /// "The server could not": what an asker is told when Docker's resolver is not there, so that it need not wait for nothing.
    package static func failure(of bytes: [UInt8]) -> [UInt8]? {
        guard let message = try? DNSMessage(parsing: bytes), !message.isResponse else { return nil }
        var answer = DNSMessage(answering: message)
        answer.code = .serverFailure
        answer.offersRecursion = true
        return answer.printed(limit: DNSMessage.commonSize)
    }
}
