import HTTP
import Synchronization

/// One member of etcd, by one of its addresses.
final class EtcdEndpoint: Sendable {
    let address: HTTPAddress
    let client: HTTPClient
    private let open: @Sendable () throws -> HTTPClient
    /// Since its last failure it answered, as a member of our cluster.
    private let verified = Atomic<Bool>(false)

    init(_ address: HTTPAddress, isSecure: Bool, _ connector: EtcdConnector) throws {
        self.address = address
        open = { try connector.connect(address, isSecure) }
        client = try open()
    }

    var isVerified: Bool {
        get { verified.load(ordering: .relaxed) }
        set { verified.store(newValue, ordering: .relaxed) }
    }

    /// A client of its own, for a stream that may have to be cut off.
    func separateClient() throws -> HTTPClient { try open() }
}

/// The members known and which of them to ask: the one that worked last, and after a failure the next. One that failed is left
/// alone for a while, from 0.1 s up to 2 s.
struct EtcdMembers {
    private struct Known {
        var endpoint: EtcdEndpoint
        var isConfigured: Bool
        var failures = 0
        var notBefore: ContinuousClock.Instant
    }

    private var known: [Known] = []
    private var current = 0
    /// The id of the etcd cluster that answered first.
    var cluster: UInt64?
    /// No member did what was asked lately.
    var isLost = false
    /// When a domain may be looked up again.
    var lookup: ContinuousClock.Instant
    /// When the list of members is to be asked for.
    var learning: ContinuousClock.Instant

    private static let shortestPause = Duration.milliseconds(100)
    private static let longestPause = Duration.seconds(2)
    /// Learnt members beyond this are not kept; etcd advises seven at most.
    private static let most = 32

    init(_ endpoints: [EtcdEndpoint], now: ContinuousClock.Instant) {
        known = endpoints.map { Known(endpoint: $0, isConfigured: true, notBefore: now) }
        learning = now
        lookup = now
    }

    var addresses: [HTTPAddress] { known.map(\.endpoint.address) }
    var endpoints: [EtcdEndpoint] { known.map(\.endpoint) }

    /// Whom to ask next, and how long to wait before; nil when all were tried.
    func next(after tried: [HTTPAddress], now: ContinuousClock.Instant) -> (endpoint: EtcdEndpoint, pause: Duration)? {
        var best: Known?
        for offset in known.indices {
            let candidate = known[(current + offset) % known.count]
            guard !tried.contains(candidate.endpoint.address) else { continue }
            if candidate.notBefore <= now { return (candidate.endpoint, .zero) }
            if best.map({ candidate.notBefore < $0.notBefore }) ?? true { best = candidate }
        }
        return best.map { ($0.endpoint, $0.notBefore - now) }
    }

    mutating func worked(_ address: HTTPAddress) {
        guard let index = index(address) else { return }
        known[index].failures = 0
        isLost = false
        current = index
    }

    mutating func failed(_ address: HTTPAddress, now: ContinuousClock.Instant) {
        known.first { $0.endpoint.address == address }?.endpoint.isVerified = false
        // Many calls that fail together are one failure.
        guard let index = index(address), known[index].notBefore <= now else { return }
        let pause = Self.shortestPause * (1 << min(known[index].failures, 10))
        known[index].notBefore = now + min(pause, Self.longestPause)
        known[index].failures += 1
        if index == current { current = (current + 1) % known.count }
    }

    /// Takes over what a domain's records name now; what the cluster named stays.
    mutating func configure(_ endpoints: [EtcdEndpoint], now: ContinuousClock.Instant) {
        known.removeAll(where: \.isConfigured)
        known.insert(contentsOf: endpoints.map { Known(endpoint: $0, isConfigured: true, notBefore: now) }, at: 0)
        current = 0
    }

    /// Takes over the members that the cluster names, beside those of the configuration.
    mutating func learn(_ addresses: [HTTPAddress], now: ContinuousClock.Instant, _ make: (HTTPAddress) throws -> EtcdEndpoint) {
        guard known.indices.contains(current) else { return }
        let present = known[current].endpoint.address
        known.removeAll { !$0.isConfigured && !addresses.contains($0.endpoint.address) && $0.endpoint.address != present }
        for address in addresses where index(address) == nil && known.count < Self.most {
            guard let endpoint = try? make(address) else { continue }
            known.append(Known(endpoint: endpoint, isConfigured: false, notBefore: now))
        }
        current = index(present) ?? 0
    }

    private func index(_ address: HTTPAddress) -> Int? { known.firstIndex { $0.endpoint.address == address } }

    /// The address in a member's client URL, nil for one that is no use here: of another scheme, or another host's loopback.
    static func address(inURL url: String, isSecure: Bool, isLoopbackUseful: Bool) -> HTTPAddress? {
        let scheme = isSecure ? "https://" : "http://"
        guard url.hasPrefix(scheme) else { return nil }
        let rest = url.dropFirst(scheme.count)
        guard let address = EtcdLocation.address(rest.prefix { $0 != "/" }), case .tcp(let host, _) = address else { return nil }
        if ["0.0.0.0", "::"].contains(host) || (isLoopback(address) && !isLoopbackUseful) { return nil }
        return address
    }

    static func isLoopback(_ address: HTTPAddress) -> Bool {
        guard case .tcp(let host, _) = address else { return true }
        return host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }
}
