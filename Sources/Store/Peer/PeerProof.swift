import HTTP
import TLS

/// How a request between agents proves that its sender knows the cluster's token, and its answer the same.
///
/// A request carries `Tulle-Proof: 1 SESSION COUNTER CODE`: 16 random bytes chosen by the client, a number that grows with
/// each request of the session, and HMAC-SHA-256 keyed with the token's secret over
///
///     "tulle request 1" · the server's challenge · session · counter · method · path · query · SHA-256 of the body
///
/// where each part is preceded by its length in 4 bytes, so that no two requests give the same bytes. The answer carries
/// `Tulle-Proof: 1 CODE` over
///
///     "tulle answer 1" · the request's code · status · SHA-256 of the body
///
/// Header fields are not covered: nothing between agents may depend on them. No clocks are involved. There is no secrecy.
struct PeerProof: Sendable {
    static let field = "Tulle-Proof"
    /// 64 hexadecimal digits, random at each start of the server; comes with status 401.
    static let challengeField = "Tulle-Challenge"
    private static let version = "1"

    var session: [UInt8]
    var counter: UInt64
    var code: [UInt8]

    /// Proves a request to a server with that challenge.
    init(
        _ request: HTTPRequest, token: ClusterToken, challenge: [UInt8], session: [UInt8], counter: UInt64
    ) throws(StoreError) {
        self.session = session
        self.counter = counter
        var text = Canonical("tulle request \(Self.version)")
        text.append(challenge)
        text.append(session)
        text.append(counter)
        text.append(request.method)
        text.append(request.path)
        text.append(UInt64(request.query.count))
        for (name, value) in request.query.sorted(by: { $0.key < $1.key }) {
            text.append(name)
            text.append(value)
        }
        text.append(Digest.sha256(request.body))
        code = try Cryptography.hmac(key: token.secret, text.bytes)
    }

    /// What a request's field claims; nil if it is not well-formed.
    init?(parsing field: String) {
        let parts = field.split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 4, parts[0] == Self.version,
            let session = bytes(hexadecimal: parts[1]), session.count == 16, let counter = UInt64(parts[2]),
            let code = bytes(hexadecimal: parts[3]), code.count == 32
        else { return nil }
        self.session = session
        self.counter = counter
        self.code = code
    }

    var text: String { "\(Self.version) \(Digest.hexadecimal(session)) \(counter) \(Digest.hexadecimal(code))" }

    /// The field of the answer to this request.
    func answer(_ response: HTTPResponse, token: ClusterToken) throws(StoreError) -> String {
        var text = Canonical("tulle answer \(Self.version)")
        text.append(code)
        text.append(UInt64(response.status))
        text.append(Digest.sha256(response.body))
        return "\(Self.version) \(Digest.hexadecimal(try Cryptography.hmac(key: token.secret, text.bytes)))"
    }

    /// Whether an answer is the one that somebody with the token gave to this request.
    func isProved(_ response: HTTPResponse, token: ClusterToken) throws(StoreError) -> Bool {
        guard let field = response.fields[Self.field] else { return false }
        return Cryptography.areEqual(Array(field.utf8), Array(try answer(response, token: token).utf8))
    }
}

/// Parts that are kept apart by their lengths.
private struct Canonical {
    private(set) var bytes: [UInt8] = []

    init(_ label: String) { append(label) }

    mutating func append(_ part: [UInt8]) {
        appendBigEndian(UInt32(truncatingIfNeeded: part.count))
        bytes += part
    }
    mutating func append(_ part: String) { append(Array(part.utf8)) }
    mutating func append(_ part: UInt64) {
        appendBigEndian(UInt32(8))
        appendBigEndian(part)
    }

    private mutating func appendBigEndian(_ number: some FixedWidthInteger) {
        withUnsafeBytes(of: number.bigEndian) { bytes += $0 }
    }
}
