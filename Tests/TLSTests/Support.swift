import Glibc
import NIOCore
import NIOEmbedded
import TLS
import TestKit
import Testing

/// A cluster with its authority, at a time of the test's own.
struct Cluster {
    static let now: Int64 = 1_800_000_000
    static let day: Int64 = 86_400
    static let one = "11111111-1111-4111-8111-111111111111"
    static let two = "22222222-2222-4222-8222-222222222222"

    let authority: CertificateAuthority

    init(_ name: String = "alpha") throws {
        authority = try CertificateAuthority.make(cluster: name, now: Cluster.now)
    }

    func own(_ node: String, lifetime: Int64 = 90 * day, now: Int64 = now, chain: Bool = false) throws -> TLSContext.Own {
        let key = try PrivateKey.generate()
        let certificate = try authority.issue(for: try key.publicKey(), node: node, name: "host", lifetime: lifetime, now: now)
        return TLSContext.Own(certificate: certificate, key: key, chain: chain ? [authority.certificate] : [])
    }

    var trust: TLSContext.Trust { .cluster(authority.cluster, authorities: [authority.certificate]) }

    func context(
        _ node: String?, trust: TLSContext.Trust? = nil, clients: TLSContext.ClientCertificate = .required, now: Int64 = now,
        refusal: @escaping @Sendable (PeerIdentity?) -> String? = { _ in nil }
    ) throws -> TLSContext {
        try TLSContext(
            own: try node.map { try own($0, chain: true) }, trust: trust ?? self.trust, clientCertificate: clients, now: { now }, refusal: refusal)
    }
}

/// What comes out of one end.
final class Recorder: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    var bytes: [UInt8] = []
    var largest = 0
    var errors: [TLSError] = []
    var events: [TLSEvent] = []
    var isInputClosed = false
    var isInactive = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data)
        largest = max(largest, buffer.readableBytes)
        bytes.append(contentsOf: buffer.readableBytesView)
    }
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? TLSError { errors.append(error) } else { Issue.record("\(error)") }
    }
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? TLSEvent { events.append(event) }
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { isInputClosed = true }
    }
    func channelInactive(context: ChannelHandlerContext) { isInactive = true }

    var isSecured: Bool { events.contains { if case .secured = $0 { true } else { false } } }
    var peer: PeerIdentity? {
        for case .secured(let peer) in events { return peer }
        return nil
    }
}

/// Half of a transport that can end by itself: EmbeddedChannel knows no halves.
private final class Halves: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        if mode == .output { promise?.succeed() } else { context.close(mode: mode, promise: promise) }
    }
}

/// One end of a connection without a network.
final class End {
    let channel = EmbeddedChannel()
    let recorder = Recorder()

    init(_ context: TLSContext, _ role: TLSRole, limits: TLSHandler.Limits = TLSHandler.Limits(), alsoPlain: Bool = false) throws {
        let handler = TLSHandler(TLSContextSlot(context), role: role, limits: limits, alsoPlain: alsoPlain)
        try channel.pipeline.syncOperations.addHandlers([Halves(), handler, recorder])
        channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
    }

    deinit { _ = try? channel.finish(acceptAlreadyClosed: true) }

    /// What it has sent and nobody took yet.
    func takeSent() -> [UInt8] {
        var sent: [UInt8] = []
        while let buffer = try? channel.readOutbound(as: ByteBuffer.self) { sent += buffer.readableBytesView }
        return sent
    }

    func receive(_ bytes: some Sequence<UInt8>) { _ = try? channel.writeInbound(ByteBuffer(bytes: bytes)) }

    func write(_ bytes: [UInt8]) -> EventLoopFuture<Void> {
        let promise = channel.eventLoop.makePromise(of: Void.self)
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: promise)
        return promise.futureResult
    }

    /// The transport ends, without a word of TLS.
    func transportEnds() {
        (try? channel.pipeline.syncOperations.context(handlerType: TLSHandler.self))?.close(promise: nil)
        channel.embeddedEventLoop.run()
    }

    var error: TLSError? { recorder.errors.first }
}

/// Two ends and what is between them.
struct Pair {
    let client: End
    let server: End

    init(client: TLSContext, server: TLSContext, name: String = "127.0.0.1", limits: TLSHandler.Limits = TLSHandler.Limits()) throws {
        self.server = try End(server, .server, limits: limits)
        self.client = try End(client, .client(server: name), limits: limits)
    }

    /// Carries bytes until nobody sends any; in random pieces, if there is a generator; changed by `damage`.
    func run(_ random: inout SeededRandom, pieces: Int = 1 << 20, damage: (inout [UInt8]) -> Void = { _ in }) {
        for _ in 0..<10_000 {
            var isQuiet = true
            for (from, to) in [(client, server), (server, client)] {
                var bytes = from.takeSent()
                if bytes.isEmpty { continue }
                isQuiet = false
                damage(&bytes)
                var rest = bytes[...]
                while !rest.isEmpty {
                    let piece = rest.prefix(Int.random(in: 1...pieces, using: &random))
                    to.receive(piece)
                    rest = rest.dropFirst(piece.count)
                }
            }
            if isQuiet { return }
        }
        Issue.record("the two ends never stop sending")
    }

    func run() {
        var random = SeededRandom(seed: 1)
        run(&random)
    }
}

/// The `openssl` program, as a judge that is not ours.
enum Judge {
    static func run(_ arguments: [String], input: String = "") throws -> (status: Int32, output: String) {
        let process = try LabProcess(["openssl"] + arguments, input: Array(input.utf8))
        let result = try process.finish(within: .seconds(20))
        return (result.status, result.output + result.talk)
    }
}

/// Files of one test, removed with the object.
final class ScratchFiles {
    let path: String
    private var names: [String] = []

    init() {
        path = "/tmp/tulle-tls-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        mkdir(path, 0o700)
    }

    func write(_ name: String, _ text: String) -> String {
        let descriptor = open("\(path)/\(name)", O_CREAT | O_WRONLY | O_TRUNC, 0o600)
        _ = Glibc.write(descriptor, Array(text.utf8), text.utf8.count)
        close(descriptor)
        names.append(name)
        return "\(path)/\(name)"
    }

    deinit {
        for name in names { unlink("\(path)/\(name)") }
        rmdir(path)
    }
}

/// The memory of this process that is in RAM, in bytes.
func residentBytes() -> Int {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 200)
    guard fgets(&line, 200, file) != nil else { return 0 }
    let fields = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self).split(separator: " ")
    return (fields.count > 1 ? Int(fields[1]) ?? 0 : 0) * 4096
}
