package import HTTP
import Synchronization
import TLS

/// Requests to one other agent, authenticated both ways: over TLS where this node has a certificate and the other speaks TLS, else with the secret
/// that agents of version 0.1 share.
package struct PeerClient: Sendable {
    /// What is kept between requests.
    private final class Link: Sendable {
        struct State {
            var secure: (client: HTTPClient, expected: String?, context: TLSContext)?
            var plain: (client: HTTPClient, signer: PeerSigner, token: ClusterToken)?
            /// The other side spoke no TLS a moment ago.
            var plainUntil: ContinuousClock.Instant?
        }
        let state = Mutex(State())
    }

    package let address: HTTPAddress
    private let keys: PeerKeys
    /// Which node must answer, a UUID; asked at each request. nil: any of the cluster.
    private let expected: @Sendable () -> String?
    private let link = Link()

    package init(_ address: HTTPAddress, keys: PeerKeys, expecting: @escaping @Sendable () -> String? = { nil }) {
        self.address = address
        self.keys = keys
        expected = expecting
    }

    package init(_ address: HTTPAddress, token: ClusterToken) { self.init(address, keys: PeerKeys(token: token)) }

    /// As `HTTPClient.disconnect`.
    package func disconnect() {
        link.state.withLock { state in
            state.secure?.client.disconnect()
            state.plain?.client.disconnect()
        }
    }

    /// The authentic answer, whatever its status.
    ///
    /// - Parameters:
    ///   - timeout: for each of the exchanges: one over TLS, two or at most three of a first request with the secret.
    ///   - isRepeatable: whether it does no harm if the other side does it twice.
    /// - Throws: `StoreError`, or `CancellationError`.
    package func send(_ request: HTTPRequest, timeout: Duration, isRepeatable: Bool = true) async throws -> HTTPResponse {
        do {
            let token = keys.token
            if let client = try secure(isOnly: token == nil) {
                do {
                    return try await client.send(request, timeout: timeout, isRepeatable: isRepeatable)
                } catch let error as HTTPError where error.tls?.code == .noTLS && token != nil {
                    // Of version 0.1 still. It may be upgraded at any time.
                    link.state.withLock { $0.plainUntil = .now + .seconds(30) }
                }
            }
            guard let token else {
                throw StoreError(.notAuthentic, "\(request.method) \(request.path)", cause: "this node has no certificate")
            }
            let (client, signer) = plain(token)
            return try await signer.send(request) { try await client.send($0, timeout: timeout, isRepeatable: isRepeatable) }
        } catch let error as HTTPError {
            throw StoreError(error)
        } catch let error as TLSError {
            throw StoreError(.notAuthentic, "\(request.method) \(request.path) at \(address)", cause: error.cause, remedy: error.remedy)
        } catch var error as StoreError {
            error.operation += " at \(address)"
            throw error
        }
    }

    private func secure(isOnly: Bool) throws -> HTTPClient? {
        let expected = expected()
        guard let slot = try keys.slot(expecting: expected) else { return nil }
        return link.state.withLock { state in
            if !isOnly, let until = state.plainUntil, until > .now { return nil }
            // Connections that began with a certificate before this one would be refused when that ends; calls under way end on them.
            let context = slot.current
            if let secure = state.secure, secure.expected == expected, secure.context === context { return secure.client }
            let client = HTTPClient(address, tls: slot)
            state.secure = (client, expected, context)
            return client
        }
    }

    private func plain(_ token: ClusterToken) -> (HTTPClient, PeerSigner) {
        link.state.withLock { state in
            if let plain = state.plain, plain.token == token { return (plain.client, plain.signer) }
            let new = (client: HTTPClient(address), signer: PeerSigner(token: token), token: token)
            state.plain = new
            return (new.client, new.signer)
        }
    }
}

extension StoreError {
    fileprivate init(_ error: HTTPError) {
        // An alert comes from who has proved to be of the cluster (and the expected node, where one is).
        if let tls = error.tls, tls.code == .refusedByPeer, tls.cause.contains("it was removed from the cluster") {
            self.init(.removed, error.operation, cause: "this node was removed from the cluster")
            return
        }
        let code: Code =
            switch error.code {
            case .timedOut: .timedOut
            case .malformed, .tooLarge: .badAnswer
            case .badRequest: .invalid
            case .notSecure: .notAuthentic
            default: .unreachable
            }
        self.init(code, error.operation, cause: error.cause, remedy: error.tls.map { $0.remedy.prefix(1).uppercased() + $0.remedy.dropFirst() + "." })
    }
}
