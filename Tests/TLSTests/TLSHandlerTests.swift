import CCrypto
import NIOCore
import NIOEmbedded
@testable import TLS
import TestKit
import Testing

/// Two ends without a network between them, and every way to cut the bytes.
struct TLSHandlerTests {
    private func members(_ cluster: Cluster) throws -> Pair {
        try Pair(client: cluster.context(Cluster.two), server: cluster.context(Cluster.one))
    }

    @Test("two members know each other after the handshake, and bytes go both ways")
    func members() throws {
        let cluster = try Cluster()
        let own = try cluster.own(Cluster.two)
        let client = try TLSContext(own: own, trust: cluster.trust, now: { Cluster.now })
        let pair = try Pair(client: client, server: cluster.context(Cluster.one))
        pair.run()
        #expect(pair.server.recorder.peer == own.certificate.identity)
        #expect(pair.server.recorder.peer?.serial == own.certificate.serial)
        #expect(pair.server.recorder.peer?.fingerprint == own.certificate.fingerprint)
        #expect(pair.client.recorder.peer?.node == Cluster.one)
        let (asked, answered) = (pair.client.write(Array("ask".utf8)), pair.server.write(Array("answer".utf8)))
        pair.run()
        try asked.wait()
        try answered.wait()
        #expect(pair.server.recorder.bytes == Array("ask".utf8) && pair.client.recorder.bytes == Array("answer".utf8))
    }

    @Test("bytes cut at any place make the same conversation", arguments: 1...60)
    func fragments(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let pair = try members(try Cluster())
        let pieces = [1, 2, 7, 100, 5000, 100_000][seed % 6]
        pair.run(&random, pieces: pieces)
        #expect(pair.client.recorder.isSecured && pair.server.recorder.isSecured)
        let count = [2000, 4000, 8000, 60_000, 300_000, 300_000][seed % 6]
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 / 3) }
        var sent: [EventLoopFuture<Void>] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let piece = rest.prefix(Int.random(in: 0...count / 4, using: &random))
            sent += [pair.client.write(Array(piece)), pair.server.write(Array(piece))]
            rest = rest.dropFirst(piece.count)
        }
        pair.run(&random, pieces: pieces)
        for future in sent { try future.wait() }
        #expect(pair.server.recorder.bytes == bytes && pair.client.recorder.bytes == bytes)
        #expect(pair.server.recorder.largest <= 80 << 10)
        #expect(pair.server.recorder.errors.isEmpty && pair.client.recorder.errors.isEmpty)
    }

    @Test("flipped bits end in an error on one side at least, and never in wrong bytes", arguments: 1...300)
    func damage(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let pair = try members(Self.shared.cluster)
        let message = (0..<2000).map { UInt8(truncatingIfNeeded: $0) }
        var isDamaged = false
        var countdown = Int.random(in: 0..<9000, using: &random)
        let flip = { (bytes: inout [UInt8]) in
            if !isDamaged, countdown < bytes.count {
                bytes[countdown] ^= 1 << UInt8.random(in: 0..<8)
                isDamaged = true
            }
            countdown -= bytes.count
        }
        pair.run(&random, pieces: 3000, damage: flip)
        _ = pair.client.write(message)
        _ = pair.server.write(message)
        pair.run(&random, pieces: 3000, damage: flip)
        pair.client.transportEnds()
        pair.server.transportEnds()
        // The first bytes of a record's head say a version that must be ignored (RFC 8446 section 5.1); a length may leave the other side waiting.
        let received = [pair.client.recorder, pair.server.recorder]
        for end in received { #expect(message.starts(with: end.bytes)) }
        if received.contains(where: { $0.bytes != message }) { #expect(received.contains { !$0.errors.isEmpty }) }
    }

    @Test("random bytes, and random bytes that begin like TLS, end in an error", arguments: 1...50)
    func noise(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let server = try End(Self.shared.cluster.context(Cluster.one), .server)
        let client = try End(Self.shared.cluster.context(Cluster.two), .client(server: "h"))
        let starts: [[UInt8]] = [[], [22, 3, 1], [22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3], [22, 3, 3, 64, 0], [21, 3, 3, 0, 2]]
        for end in [server, client] {
            var bytes = starts[seed % starts.count]
            bytes += (0..<Int.random(in: 20_000...40_000, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            while !bytes.isEmpty {
                let count = min(bytes.count, Int.random(in: 1...1000, using: &random))
                end.receive(bytes.prefix(count))
                bytes.removeFirst(count)
            }
            #expect(end.recorder.errors.count == 1)
            #expect(end.recorder.bytes.isEmpty && !end.recorder.isSecured)
        }
    }

    @Test("the end of one direction is said in TLS, and the other goes on")
    func halfClosed() throws {
        let pair = try members(try Cluster())
        pair.run()
        let asked = pair.client.write(Array("all I have".utf8))
        pair.client.channel.close(mode: .output, promise: nil)
        pair.run()
        try asked.wait()
        #expect(pair.server.recorder.isInputClosed && pair.server.recorder.bytes == Array("all I have".utf8))
        #expect(throws: (any Error).self) { try pair.client.write([1]).wait() }
        try? pair.server.write(Array("answer".utf8)).wait()
        pair.run()
        #expect(pair.client.recorder.bytes == Array("answer".utf8))
        pair.server.channel.close(promise: nil)
        pair.run()
        #expect(pair.client.recorder.isInactive && pair.client.recorder.errors.isEmpty && pair.server.recorder.errors.isEmpty)
    }

    @Test("an end of the transport without TLS's end is an error; after it, none")
    func truncated() throws {
        for saysEnd in [true, false] {
            let pair = try members(try Cluster())
            pair.run()
            _ = pair.server.write(Array("half of it".utf8))
            if saysEnd { pair.server.channel.close(promise: nil) }
            pair.run()
            #expect(pair.client.recorder.bytes == Array("half of it".utf8))
            if !saysEnd { pair.client.transportEnds() }
            #expect(pair.client.recorder.errors.map(\.code) == (saysEnd ? [] : [.truncated]))
            #expect(pair.client.recorder.isInactive)
        }
    }

    @Test("writes wait for the handshake, but not without bound")
    func earlyWrites() throws {
        let cluster = try Cluster()
        var limits = TLSHandler.Limits()
        limits.earlyBytes = 1000
        let pair = try Pair(client: cluster.context(Cluster.two), server: cluster.context(Cluster.one), limits: limits)
        let early = pair.client.write(Array(repeating: 1, count: 1000))
        let tooMuch = pair.client.write([2])
        let error = #expect(throws: TLSError.self) { try tooMuch.wait() }
        #expect(error?.code == .tooEarly)
        pair.run()
        try early.wait()
        #expect(pair.server.recorder.bytes == Array(repeating: 1, count: 1000))
    }

    @Test("what is written and never sent is told to who waits for it")
    func lostWrites() throws {
        let pair = try members(try Cluster())
        let lost = pair.client.write([1])
        pair.client.transportEnds()
        let error = #expect(throws: TLSError.self) { try lost.wait() }
        #expect(error?.code == .closed)
    }

    @Test("a client without TLS is let through where that is allowed")
    func alsoPlain() throws {
        let cluster = try Cluster()
        let server = try End(cluster.context(Cluster.one), .server, alsoPlain: true)
        server.receive(Array("GET / HTTP/1.1\r\n".utf8))
        server.receive(Array("\r\n".utf8))
        #expect(server.recorder.events == [.plain] && server.recorder.bytes == Array("GET / HTTP/1.1\r\n\r\n".utf8))
        try server.write(Array("HTTP/1.1 200 OK".utf8)).wait()
        #expect(server.takeSent() == Array("HTTP/1.1 200 OK".utf8))
        server.channel.embeddedEventLoop.advanceTime(by: .seconds(60))
        #expect(server.recorder.errors.isEmpty && server.channel.isActive)
    }

    @Test("large answers are not turned into records before the channel takes them")
    func backPressure() throws {
        let pair = try members(try Cluster())
        pair.run()
        pair.server.channel.isWritable = false
        let sent = pair.server.write(Array(repeating: 7, count: 1 << 20))
        pair.server.channel.embeddedEventLoop.run()
        #expect(pair.server.takeSent().isEmpty)
        pair.server.channel.isWritable = true
        pair.server.channel.pipeline.fireChannelWritabilityChanged()
        pair.run()
        try sent.wait()
        #expect(pair.client.recorder.bytes.count == 1 << 20)
    }

    @Test("a peer that changes its keys again and again is ended; one that does it now and then is not", arguments: [true, false])
    func keyUpdates(isFlood: Bool) throws {
        let cluster = try Cluster()
        let pair = try members(cluster)
        pair.run()
        try #require(pair.server.recorder.isSecured)
        let session = try #require(try pair.client.channel.pipeline.syncOperations.handler(type: TLSHandler.self).session)
        for _ in 0..<(isFlood ? 100 : 30) {
            // The server is to answer each with a new key of its own.
            SSL_key_update(session.ssl, SSL_KEY_UPDATE_REQUESTED)
            _ = pair.client.write([1])
            pair.run()
        }
        if isFlood {
            #expect(pair.server.error?.code == .protocolViolation && pair.server.error?.cause.contains("its keys") == true)
            #expect(pair.server.recorder.bytes.count < 40)
        } else {
            #expect(pair.server.recorder.errors.isEmpty && pair.server.recorder.bytes.count == 30)
        }
    }

    /// Making an authority for each of hundreds of cases would be most of the time.
    private struct Shared { let cluster: Cluster }
    private static let shared = Shared(cluster: makeCluster())
}

private func makeCluster() -> Cluster {
    do { return try Cluster() } catch { fatalError("\(error)") }
}
