import HTTP

extension DockerError {
    /// A failure to talk with the engine at all.
    init(_ error: HTTPError, socket: String, _ operation: String) {
        let code: Code
        switch error.code {
        case .noSuchSocket, .badAddress: code = .socketMissing
        case .refused: code = .notRunning
        case .permissionDenied: code = .permissionDenied
        case .timedOut: code = .timedOut
        case .closed: code = .closed
        default: code = .unreadable
        }
        self.init(code, operation, cause: "\(socket): \(error.cause)")
    }
}
