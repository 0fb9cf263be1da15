/// Waiting for what a distributed system does in its own time: asked again and again, up to a deadline.

/// The first value that `body` returns, in at most `limit`. An error of `body` means "not yet"; the last one is told.
package func obtain<Value>(
    _ what: String, within limit: Duration = .seconds(5), _ body: () async throws -> Value?
) async throws -> Value {
    let deadline = ContinuousClock.now + limit
    var last = ""
    while true {
        do {
            if let value = try await body() { return value }
            last = ""
        } catch { last = ": \(error)" }
        guard ContinuousClock.now < deadline else { throw LabFailure("not within \(limit): \(what)\(last)") }
        try await Task.sleep(for: .milliseconds(20))
    }
}

/// Waits until `body` is true.
package func eventually(
    _ what: String, within limit: Duration = .seconds(5), _ body: () async throws -> Bool
) async throws {
    let _: Bool = try await obtain(what, within: limit) { try await body() ? true : nil }
}

/// True if `body` stays true for that long.
package func always(for limit: Duration, _ body: () async throws -> Bool) async throws -> Bool {
    let end = ContinuousClock.now + limit
    while ContinuousClock.now < end {
        guard try await body() else { return false }
        try await Task.sleep(for: .milliseconds(20))
    }
    return true
}
