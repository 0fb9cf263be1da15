package import HTTP
import TLS

/// How a member of etcd is reached: a client of its address, in the clear or over TLS. TLS comes in here and nowhere else.
package struct EtcdConnector: Sendable {
    package let connect: @Sendable (_ address: HTTPAddress, _ isSecure: Bool) throws -> HTTPClient

    package init(_ connect: @escaping @Sendable (_ address: HTTPAddress, _ isSecure: Bool) throws -> HTTPClient) {
        self.connect = connect
    }

    /// HTTP in the clear.
    package static let plain = EtcdConnector { address, isSecure in
        guard !isSecure else {
            throw StoreError(
                .unreachable, "connect to etcd at \(address)", cause: "etcds:// needs TLS, which this build does not have yet",
                remedy: "Use etcd:// on a network that you trust, or a version of tulle with TLS.")
        }
        return HTTPClient(address)
    }
}

extension TLSError {
    /// What helps where etcd's TLS and ours do not find together: its own `remedy` knows only of agents.
    var etcdRemedy: String {
        switch code {
        case .unknownAuthority, .badCertificate: "Give the authority of etcd's certificate with --store-ca, or correct etcd's address."
        case .expired, .notYetValid: "Renew etcd's certificate; if it is good, set this host's clock."
        case .wrongName: "Use an address that is in etcd's certificate (its subjectAltName), or put this one into it."
        case .noTLS: "If this etcd has no TLS, write its address with etcd:// in place of etcds://."
        case .refusedByPeer: "Give a certificate that etcd trusts, and that has not ended, with --store-cert and --store-key."
        case .protocolVersion: "Let etcd speak TLS 1.3: leave out its --tls-max-version, and use 3.4 or later."
        case .closed: "Check that this etcd serves with TLS: if not, write its address with etcd:// in place of etcds://; see also its log."
        default: "Check etcd's address, its log, and --store-ca, --store-cert and --store-key."
        }
    }
}
