/// Which authorities a node believes: those that it believes already, and those that a node took over and vouches for with a certificate of one that is believed. The
/// record alone makes none believed: any member can write it, and with an authority of its own a member would be let in again
/// after its removal. So what a removed node vouched for, or had, is believed no more; if it has signed until a short time ago,
/// after the time in which all nodes get certificates of the next one.
import Fabric
import TLS

struct Belief: Sendable {
    /// Seconds after which nodes get certificates of the new authority, although theirs have not ended: those that are away are to hear of it first.
    static let renewal = 3600
    /// Seconds after which what a removed node signed is refused.
    static let end = 2 * renewal

    let cluster: String
    /// By fingerprint.
    let record: [String: AuthorityObject]
    let removed: Set<NodeID>
    /// Seconds since 1970.
    let now: Int

    /// What is signed for an authority.
    static func text(cluster: String, fingerprint: String) -> String { "tulle authority 1 \(cluster) \(fingerprint)" }

    static func voucher(for authority: CertificateAuthority, by credentials: Credentials) throws -> AuthorityVoucher {
        let text = text(cluster: authority.cluster, fingerprint: authority.certificate.fingerprintText)
        return AuthorityVoucher(
            certificate: try credentials.certificate.pem(), signature: Digest.hexadecimal(try credentials.key.signature(of: text)))
    }

    /// The authorities to believe from now on, the first as it was.
    ///
    /// - Parameter known: those believed so far; the first is the own certificate's.
    func extend(_ known: [Certificate]) -> [Certificate] {
        guard let own = known.first, !record.isEmpty else { return known }
        var believed = known.filter { $0.publicKey == own.publicKey || !isOver($0) }
        // One may vouch by a certificate of another that is new here too.
        var rest = record.values.sorted { ($0.created, $0.fingerprint) < ($1.created, $1.fingerprint) }
        while let next = rest.firstIndex(where: { isVouched($0, believed) }) {
            let object = rest.remove(at: next)
            guard let certificate = try? Certificate(pem: object.certificate), !believed.contains(where: { $0.publicKey == certificate.publicKey })
            else { continue }
            believed.append(certificate)
        }
        return believed
    }

    /// Believed no more: out of the record, or its node is.
    private func isOver(_ certificate: Certificate) -> Bool {
        guard let object = record[certificate.fingerprintText] else { return true }
        guard removed.contains(object.node) else { return false }
        guard let retired = object.retired, retired <= now else { return true }
        return retired + Self.end < now
    }

    private func isVouched(_ object: AuthorityObject, _ believed: [Certificate]) -> Bool {
        guard let voucher = object.voucher, !removed.contains(object.node), let certificate = try? Certificate(pem: object.certificate),
            CertificateAuthority.isAuthority(certificate, of: cluster), certificate.fingerprintText == object.fingerprint,
            let witness = try? Certificate(pem: voucher.certificate), witness.identity?.node == object.node.description,
            witness.identity?.cluster == cluster, believed.contains(where: { witness.isIssued(by: $0) }),
            let signature = Digest.bytes(hexadecimal: voucher.signature)
        else { return false }
        return witness.publicKey.verifies(signature, of: Self.text(cluster: cluster, fingerprint: object.fingerprint))
    }
}

extension Controller {
    func belief() -> Belief {
        Belief(cluster: expectedCluster, record: view.authorities, removed: Set(view.removed.keys), now: wallSeconds())
    }

    /// Its successor signs, and has for long enough that all know it.
    func isSuperseded(_ fingerprint: String) -> Bool {
        guard let retired = view.authorities[fingerprint]?.retired, view.authority != nil else { return false }
        return retired + Belief.renewal < wallSeconds()
    }
}
