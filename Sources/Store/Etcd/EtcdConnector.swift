package import HTTP

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
