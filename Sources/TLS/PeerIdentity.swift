/// Who is at the other end, as the cluster's authority has signed it.
///
///     tulle://CLUSTER/node/UUID          in a node's certificate, as the one URI among its alternative names
///     tulle://CLUSTER/authority          in the authority's
package struct PeerIdentity: Sendable, Hashable, CustomStringConvertible {
    package let cluster: String
    /// The node's UUID, in lower case.
    package let node: String
    /// SHA-256 of its public key.
    package let fingerprint: [UInt8]
    /// Of its certificate; lower-case hexadecimal digits.
    package let serial: String
    /// When its certificate ends; seconds since 1970.
    package let expires: Int64

    package var description: String { "node \(node) of \(cluster)" }

    /// Nil if the certificate has not exactly one name of a node.
    init?(_ certificate: Certificate) {
        let names = certificate.uris.filter { $0.hasPrefix(NodeName.scheme) }
        guard names.count == 1, let name = NodeName(uri: names[0]) else { return nil }
        cluster = name.cluster
        node = name.node
        fingerprint = certificate.fingerprint
        serial = certificate.serial
        expires = certificate.notAfter
    }
}

/// The name of a node within a certificate.
struct NodeName: Equatable {
    static let scheme = "tulle://"
    let cluster: String
    let node: String

    /// - Throws: `badName` when a part cannot be in the URI.
    init(cluster: String, node: String) throws(TLSError) {
        guard NodeName.isCluster(cluster) else { throw NodeName.badCluster(cluster) }
        guard NodeName.isUUID(node) else {
            throw TLSError(.badName, "name a node", cause: "\"\(node.prefix(60))\" is no UUID")
        }
        self.cluster = cluster
        self.node = node.lowercased()
    }

    init?(uri: String) {
        guard uri.hasPrefix(NodeName.scheme) else { return nil }
        let parts = uri.dropFirst(NodeName.scheme.count).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[1] == "node", NodeName.isCluster(parts[0]), NodeName.isUUID(parts[2]) else { return nil }
        cluster = String(parts[0])
        node = parts[2].lowercased()
    }

    var uri: String { "\(NodeName.scheme)\(cluster)/node/\(node)" }

    static func authorityURI(cluster: String) -> String { "\(scheme)\(cluster)/authority" }

    /// The cluster of an authority's certificate.
    static func cluster(ofAuthority certificate: Certificate) -> String? {
        for uri in certificate.uris where uri.hasPrefix(scheme) && uri.hasSuffix("/authority") {
            let name = uri.dropFirst(scheme.count).dropLast("/authority".count)
            if isCluster(name) { return String(name) }
        }
        return nil
    }

    static func badCluster(_ name: String) -> TLSError {
        TLSError(.badName, "name a cluster", cause: "\"\(name.prefix(60))\" is not 1 to 50 letters, digits, '-', '_' or '.'")
    }

    /// 1 to 50 letters, digits, '-', '_' and '.'.
    static func isCluster(_ text: some StringProtocol) -> Bool {
        (1...50).contains(text.utf8.count) && text.utf8.allSatisfy { isAlphanumeric($0) || "-_.".utf8.contains($0) }
    }

    /// 8-4-4-4-12 hexadecimal digits (RFC 9562 section 4).
    static func isUUID(_ text: some StringProtocol) -> Bool {
        let groups = text.split(separator: "-", omittingEmptySubsequences: false)
        return groups.map(\.utf8.count) == [8, 4, 4, 4, 12] && groups.allSatisfy { $0.allSatisfy { $0.isASCII && $0.isHexDigit } }
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): return true
        default: return false
        }
    }
}
