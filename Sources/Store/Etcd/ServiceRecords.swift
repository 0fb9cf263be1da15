import DNS
import Glibc

/// Where a service of a domain is: a DNS question for SRV records (RFC 2782) over UDP to the servers of /etc/resolv.conf, as libc has no
/// function for it, and over TCP where the answer is too long for UDP. Server after server is asked, each with 1 s for its answer, twice all together.
enum ServiceRecords {
    struct Server: Sendable, Hashable {
        /// A numeric address.
        var address: String
        var port: UInt16 = 53
    }

    struct Target: Sendable, Hashable {
        var priority: UInt16
        var weight: UInt16
        var port: UInt16
        var host: String
    }

    /// The targets of a service, those to be asked first in front.
    static func find(_ name: String, servers: [Server]? = nil) async throws -> [Target] {
        let operation = "look up the SRV records of \(name)"
        let servers = servers ?? configured()
        var last = "there is no name server in /etc/resolv.conf"
        for _ in 0..<2 {
            for server in servers {
                let id = UInt16.random(in: .min ... .max)
                guard let question = question(name, id: id) else {
                    throw StoreError(.invalid, operation, cause: "this is no domain name", remedy: "Correct the domain in etcd's address.")
                }
                do {
                    var answer = try await ask(server, question)
                    if isTruncated(answer) { answer = try await askWhole(server, question) }
                    return try parse(answer, id: id)
                } catch let refusal as Refusal {
                    last = "\(server.address): \(refusal.text)"
                    guard !refusal.isFinal else { break }
                }
            }
        }
        throw StoreError(
            .unreachable, operation, cause: last, remedy: "Check the domain in etcd's address and the name servers in /etc/resolv.conf.")
    }

    struct Refusal: Error {
        var text: String
        /// All servers would say the same.
        var isFinal = false
    }

    /// The lines `nameserver ADDRESS` (resolv.conf(5)).
    private static func configured() -> [Server] {
        guard let file = fopen("/etc/resolv.conf", "re") else { return [] }
        defer { fclose(file) }
        var text = [UInt8](repeating: 0, count: 64 << 10)
        let count = fread(&text, 1, text.count, file)
        return servers(in: String(decoding: text[..<count], as: UTF8.self))
    }

    static func servers(in text: String) -> [Server] {
        let servers = text.split(whereSeparator: \.isNewline).compactMap { line -> Server? in
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard words.count >= 2, words[0] == "nameserver" else { return nil }
            return Server(address: String(words[1]))
        }
        return Array(servers.prefix(3))
    }

    // MARK: The message

    /// nil for what is no domain name.
    static func question(_ name: String, id: UInt16) -> [UInt8]? {
        guard name.utf8.allSatisfy({ (0x21...0x7E).contains($0) }), let name = DNSName(name), name != .root else { return nil }
        var message = DNSMessage(id: id)
        message.wantsRecursion = true
        message.questions = [DNSQuestion(name, .srv)]
        return message.printed()
    }

    static func parse(_ bytes: [UInt8], id: UInt16) throws(Refusal) -> [Target] {
        guard let message = try? DNSMessage(parsing: bytes, isWhole: false), message.id == id, message.isResponse else {
            throw Refusal(text: "its answer is malformed")
        }
        switch message.code {
        case .noError: break
        case .noSuchName: throw Refusal(text: "the name does not exist", isFinal: true)
        case let code: throw Refusal(text: "it answers with error \(code.number)")
        }
        // Others, such as an alias, may stand before.
        let targets = message.answers.compactMap { record -> Target? in
            guard record.kind == DNSRecord.internet, case .service(let priority, let weight, let port, let target) = record.data, target != .root
            else { return nil }
            return Target(priority: priority, weight: weight, port: port, host: target.description)
        }
        guard !targets.isEmpty else { throw Refusal(text: "the name has no SRV records", isFinal: true) }
        return targets.sorted { ($0.priority, $1.weight) < ($1.priority, $0.weight) }
    }

    /// The flag TC (RFC 1035 section 4.1.1): records are missing, and the last one may be cut.
    static func isTruncated(_ message: [UInt8]) -> Bool { message.count > 2 && message[2] & 0x02 != 0 }

    // MARK: One exchange

    /// A connected socket, on which the kernel drops what comes from others; over TCP the connection may still be under way.
    private static func open(_ server: Server, _ kind: __socket_type) throws -> Int32 {
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        hints.ai_socktype = Int32(kind.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(server.address, String(server.port), &hints, &found) == 0, let info = found else {
            throw Refusal(text: "this is no numeric address")
        }
        defer { freeaddrinfo(found) }
        let descriptor = socket(info.pointee.ai_family, Int32(kind.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw Refusal(text: String(cString: strerror(errno))) }
        guard connect(descriptor, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0 || errno == EINPROGRESS else {
            defer { close(descriptor) }
            throw Refusal(text: String(cString: strerror(errno)))
        }
        return descriptor
    }

    /// Over TCP, where each message has its length before it (RFC 1035 section 4.2.2).
    private static func askWhole(_ server: Server, _ question: [UInt8]) async throws -> [UInt8] {
        let descriptor = try open(server, SOCK_STREAM)
        defer { close(descriptor) }
        var unsent = [UInt8(question.count >> 8), UInt8(question.count & 0xFF)] + question
        var answer: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 4096)
        let deadline = ContinuousClock.now + .seconds(1)
        while ContinuousClock.now < deadline {
            let count = unsent.isEmpty
                ? recv(descriptor, &piece, piece.count, 0) : send(descriptor, unsent, unsent.count, Int32(MSG_NOSIGNAL))
            if count < 0 {
                guard [EAGAIN, EINTR, ENOTCONN].contains(errno) else { throw Refusal(text: "over TCP: \(String(cString: strerror(errno)))") }
                try await Task.sleep(for: .milliseconds(10))
            } else if !unsent.isEmpty {
                unsent.removeFirst(count)
            } else {
                guard count > 0 else { throw Refusal(text: "it ends the connection before its answer is whole") }
                answer += piece[..<count]
                guard answer.count >= 2 else { continue }
                let length = Int(answer[0]) << 8 | Int(answer[1])
                if answer.count >= 2 + length { return Array(answer[2..<2 + length]) }
            }
        }
        throw Refusal(text: "its answer is too long for UDP, and over TCP it does not answer within 1 s")
    }

    private static func ask(_ server: Server, _ question: [UInt8]) async throws -> [UInt8] {
        let descriptor = try open(server, SOCK_DGRAM)
        defer { close(descriptor) }
        guard send(descriptor, question, question.count, Int32(MSG_NOSIGNAL)) == question.count
        else { throw Refusal(text: String(cString: strerror(errno))) }
        let deadline = ContinuousClock.now + .seconds(1)
        var answer = [UInt8](repeating: 0, count: 4096)
        while ContinuousClock.now < deadline {
            let count = recv(descriptor, &answer, answer.count, 0)
            if count > 1, answer[0] == question[0], answer[1] == question[1] { return Array(answer[..<count]) }
            // Looked for now and then: this happens once at the start, and blocks no thread.
            if count < 0, errno != EAGAIN, errno != EINTR { throw Refusal(text: String(cString: strerror(errno))) }
            if count < 0 { try await Task.sleep(for: .milliseconds(10)) }
        }
        throw Refusal(text: "it does not answer within 1 s")
    }
}
