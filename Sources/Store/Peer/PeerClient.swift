package import HTTP

/// Requests to one other agent, authenticated both ways.
package struct PeerClient: Sendable {
    private let client: HTTPClient
    private let signer: PeerSigner

    package init(_ address: HTTPAddress, token: ClusterToken) {
        client = HTTPClient(address)
        signer = PeerSigner(token: token)
    }

    package var address: HTTPAddress { client.address }

    /// As `HTTPClient.disconnect`.
    package func disconnect() { client.disconnect() }

    /// The authentic answer, whatever its status.
    ///
    /// - Parameter timeout: for each of the two, at most three, exchanges that a first request takes.
    /// - Throws: `StoreError`, or `CancellationError`.
    package func send(_ request: HTTPRequest, timeout: Duration) async throws -> HTTPResponse {
        do {
            return try await signer.send(request) { try await client.send($0, timeout: timeout) }
        } catch let error as HTTPError {
            throw StoreError(error)
        } catch var error as StoreError {
            error.operation += " at \(client.address)"
            throw error
        }
    }
}

extension StoreError {
    fileprivate init(_ error: HTTPError) {
        let code: Code =
            switch error.code {
            case .timedOut: .timedOut
            case .malformed, .tooLarge: .badAnswer
            case .badRequest: .invalid
            default: .unreachable
            }
        self.init(code, error.operation, cause: error.cause)
    }
}
