@testable import Agent
import Fabric
import TLS
import Testing

/// Which authorities are believed when the record changes.
@Suite("whose certificates are believed")
struct BeliefTests {
    private let cluster = "0c9d2c52-4d4c-4a6e-8f0f-1a2b3c4d5e6f"
    private let now = wallSeconds()

    private func node(_ number: Int) -> NodeID { NodeID(random: UInt128(number) << 64 | 5) }
    private func authority(_ cluster: String? = nil) throws -> CertificateAuthority {
        try CertificateAuthority.make(cluster: cluster ?? self.cluster, now: Int64(now))
    }
    /// A node's certificate by that authority.
    private func credentials(_ number: Int, by authority: CertificateAuthority) throws -> Credentials {
        let key = try PrivateKey.generate()
        let certificate = try authority.issue(for: key.publicKey(), node: node(number).description, name: "h\(number)", lifetime: 3600, now: Int64(now))
        return Credentials(key: key, certificate: certificate, authorities: [authority.certificate])
    }
    private func object(
        _ authority: CertificateAuthority, at number: Int, by voucher: Credentials? = nil, retired: Int? = nil
    ) throws -> AuthorityObject {
        var object = AuthorityObject(
            fingerprint: authority.certificate.fingerprintText, certificate: try authority.certificate.pem(), node: node(number), created: now)
        object.voucher = try voucher.map { try Belief.voucher(for: authority, by: $0) }
        object.retired = retired
        return object
    }
    private func believed(_ known: [CertificateAuthority], _ record: [AuthorityObject], removed: Set<Int> = [], later: Int = 0) -> Set<String> {
        let belief = Belief(
            cluster: cluster, record: Dictionary(record.map { ($0.fingerprint, $0) }) { $1 }, removed: Set(removed.map(node)), now: now + later)
        return Set(belief.extend(known.map(\.certificate)).map(\.fingerprintText))
    }
    private func names(_ authorities: CertificateAuthority...) -> Set<String> { Set(authorities.map(\.certificate.fingerprintText)) }

    @Test("one that a node took over is believed, and one that a node of that one took over after it; whatever the order in the record")
    func chain() throws {
        let (first, second, third) = (try authority(), try authority(), try authority())
        let record = [
            try object(first, at: 1, retired: now),
            try object(second, at: 2, by: credentials(2, by: first), retired: now),
            try object(third, at: 3, by: credentials(3, by: second)),
        ]
        #expect(believed([first], record) == names(first, second, third))
        #expect(believed([third], record) == names(third), "who joined late has the others told by the node that it joined")
    }

    @Test("what any member may write into the record makes none believed")
    func forged() throws {
        let (first, rogue) = (try authority(), try authority())
        let genuine = try object(first, at: 1)
        let member = try credentials(2, by: first)
        let stranger = try credentials(2, by: authority())
        var other = try object(rogue, at: 3, by: member)
        #expect(believed([first], [genuine, other]) == names(first), "in another node's name")
        other = try object(rogue, at: 2)
        #expect(believed([first], [genuine, other]) == names(first), "without a voucher")
        other = try object(rogue, at: 2, by: stranger)
        #expect(believed([first], [genuine, other]) == names(first), "by a certificate of nobody's")
        other = try object(authority(), at: 2, by: member)
        other.certificate = try rogue.certificate.pem()
        #expect(believed([first], [genuine, other]) == names(first), "with another one's voucher")
        other.fingerprint = rogue.certificate.fingerprintText
        #expect(believed([first], [genuine, other]) == names(first))
        let foreign = try authority("11111111-4d4c-4a6e-8f0f-1a2b3c4d5e6f")
        #expect(believed([first], [genuine, try object(foreign, at: 2, by: member)]) == names(first), "of another cluster")
        other = try object(rogue, at: 2, by: member)
        other.voucher?.signature = "zz"
        #expect(believed([first], [genuine, other]) == names(first))
        other.voucher?.signature = String(repeating: "00", count: 70)
        #expect(believed([first], [genuine, other]) == names(first))
        // The same, done rightly.
        #expect(believed([first], [genuine, try object(rogue, at: 2, by: member)]) == names(first, rogue))
    }

    @Test("with its removal a node's authority is over; one that has signed, when all had the time for another certificate")
    func removal() throws {
        let (first, second) = (try authority(), try authority())
        let voucher = try credentials(2, by: first)
        #expect(believed([first, second], [try object(first, at: 1), try object(second, at: 2, by: voucher)], removed: [2]) == names(first))
        // The first host was lost and removed; this node has a certificate of the second by now.
        let record = [try object(first, at: 1, retired: now), try object(second, at: 2, by: voucher)]
        #expect(believed([second, first], record, removed: [1], later: Belief.end - 10) == names(first, second))
        #expect(believed([second, first], record, removed: [1], later: Belief.end + 10) == names(second))
        #expect(believed([second, first], [try object(second, at: 2, by: voucher)]) == names(second), "it was forgotten")
        // Its own issuer a node believes always: without it, it would be nobody's.
        #expect(believed([first], record, removed: [1], later: Belief.end + 10).isSuperset(of: names(first)))
    }

    @Test("an empty record changes nothing")
    func empty() throws {
        let (first, second) = (try authority(), try authority())
        #expect(believed([first, second], []) == names(first, second))
    }
}
