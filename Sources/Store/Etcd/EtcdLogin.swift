/// The token that etcd gave for user and password. However many calls find it stale, one asks for another.
actor EtcdLogin {
    /// nil inside: etcd wants none.
    private var known: String??
    private var running: Task<String?, any Error>?

    /// - Parameter stale: the token that was refused, so that a newer one that another call got is used.
    func token(insteadOf stale: String??, _ authenticate: @escaping @Sendable () async throws -> String?) async throws -> String? {
        if let known, stale == nil || stale != .some(known) { return known }
        if let running { return try await running.value }
        let task = Task { try await authenticate() }
        running = task
        defer { running = nil }
        let token = try await task.value
        known = .some(token)
        return token
    }
}
