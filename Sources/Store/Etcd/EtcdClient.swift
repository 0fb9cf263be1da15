import HTTP
import Synchronization

/// Requests to an etcd cluster.
///
/// A call goes to the member that worked last, with the token if there is a user. A read that fails there goes to the next member, and
/// on, until the call's time is over. A write does that only if it is certain that nothing was done; otherwise its outcome is
/// unknown and the caller must read. Every answer carries the cluster's id: from another cluster than at first nothing is believed.
final class EtcdClient: Sendable {
    let location: EtcdLocation
    let patience: EtcdPatience
    private let connector: EtcdConnector
    private let members: Mutex<EtcdMembers>
    private let login = EtcdLogin()

    private static let learningPause = Duration.seconds(60)

    /// For tests: whom to ask for SRV records instead of the system's name servers.
    private let nameServers: [ServiceRecords.Server]?
    /// How often a domain is looked up again while no member answers.
    private static let lookupPause = Duration.seconds(5)

    init(
        _ location: EtcdLocation, _ connector: EtcdConnector, _ patience: EtcdPatience, nameServers: [ServiceRecords.Server]? = nil
    ) throws {
        self.location = location
        self.connector = connector
        self.patience = patience
        self.nameServers = nameServers
        var hosts: [HTTPAddress] = []
        if case .hosts(let named) = location.servers { hosts = named }
        members = Mutex(
            EtcdMembers(try hosts.map { try EtcdEndpoint($0, isSecure: location.isSecure, connector) }, now: .now))
    }

    var addresses: [HTTPAddress] { members.withLock { $0.addresses } }

    /// Closes every connection; calls under way fail.
    func disconnect() {
        for endpoint in members.withLock({ $0.endpoints }) { endpoint.client.disconnect() }
    }

    /// Asks what may be asked twice.
    func read(_ path: String, _ body: [UInt8], _ operation: String) async throws -> EtcdAnswer {
        try await trying(operation, isRepeatable: true) { endpoint, timeout in
            try await self.exchange(endpoint, path, body, operation, timeout, isRepeatable: true)
        }
    }

    /// Asks what must happen once at most.
    func write(_ path: String, _ body: [UInt8], _ operation: String) async throws -> EtcdAnswer {
        try await trying(operation, isRepeatable: false) { endpoint, timeout in
            if !endpoint.isVerified {
                // Another cluster's member would do it first and name its cluster afterwards.
                do {
                    let names = EtcdNames(prefix: self.location.prefix)
                    _ = try await self.revision(at: endpoint, names, operation, min(timeout, self.patience.attempt))
                } catch var attempt as Attempt {
                    attempt.isUntouched = true
                    throw attempt
                }
            }
            return try await self.exchange(endpoint, path, body, operation, timeout, isRepeatable: false)
        }
    }

    /// Has `body` try member after member, each with the time it may take.
    func trying<Value>(
        _ operation: String, isRepeatable: Bool, _ body: (EtcdEndpoint, Duration) async throws -> Value
    ) async throws -> Value {
        try await locate()
        let deadline = ContinuousClock.now + patience.call
        var tried: [HTTPAddress] = []
        var last: Attempt?
        while let (endpoint, pause) = members.withLock({ $0.next(after: tried, now: .now) }), .now + pause < deadline {
            if pause > .zero { try await Task.sleep(for: pause) }
            do {
                let left = deadline - .now
                let hasOthers = addresses.count > tried.count + 1
                let value = try await body(endpoint, isRepeatable && hasOthers ? min(patience.attempt, left) : left)
                members.withLock { $0.worked(endpoint.address) }
                learn(from: endpoint)
                return value
            } catch let attempt as Attempt {
                if attempt.isMembersFault { members.withLock { $0.failed(endpoint.address, now: .now) } }
                guard attempt.isMembersFault, isRepeatable || attempt.isUntouched else { throw attempt.error }
                tried.append(endpoint.address)
                last = attempt
            }
        }
        members.withLock { $0.isLost = true }
        throw last?.error
            ?? StoreError(.unreachable, operation, cause: "every member of etcd failed a moment ago", remedy: "Check etcd's members.")
    }

    /// Why one member did not do what was asked.
    struct Attempt: Error {
        var error: StoreError
        /// Another member may do better.
        var isMembersFault: Bool
        /// Nothing was done.
        var isUntouched: Bool

        init(_ error: StoreError, isMembersFault: Bool = false, isUntouched: Bool = false) {
            self.error = error
            self.isMembersFault = isMembersFault
            self.isUntouched = isUntouched
        }

        init(_ failure: EtcdFailure, _ operation: String, user: String?) {
            self.init(
                failure.error(operation, user: user), isMembersFault: failure.isMembersFault,
                isUntouched: failure.isRefusedUntouched)
        }

        init(_ error: HTTPError, _ operation: String) {
            let code: StoreError.Code =
                switch error.code {
                case .timedOut: .timedOut
                case .malformed, .tooLarge: .badAnswer
                case .badRequest: .invalid
                default: .unreachable
                }
            self.init(
                StoreError(
                    code, operation, cause: "\(error.operation): \(error.cause)",
                    remedy: error.tls?.etcdRemedy
                        ?? (code == .badAnswer
                            ? "Check that the address is a client address of etcd 3.4 or later; with TLS it begins with etcds://."
                            : "Check that etcd runs there, its address (etcds:// if it serves with TLS), and that no firewall drops its port.")),
                isMembersFault: code != .invalid, isUntouched: !error.isSent)
        }
    }

    // MARK: One exchange

    /// - Throws: `Attempt`, or `CancellationError`.
    func exchange(
        _ endpoint: EtcdEndpoint, _ path: String, _ body: [UInt8], _ operation: String, _ timeout: Duration, isRepeatable: Bool
    ) async throws -> EtcdAnswer {
        try await authorized(endpoint, operation, timeout) { token in
            try await self.send(endpoint, path, body, operation, timeout, token: token, isRepeatable: isRepeatable)
        }
    }

    /// Runs `body` with a token, and once more with a new one if it is refused.
    func authorized<Value>(
        _ endpoint: EtcdEndpoint, _ operation: String, _ timeout: Duration, _ body: (String?) async throws -> Value
    ) async throws -> Value {
        let token = try await token(at: endpoint, insteadOf: nil, timeout)
        do {
            do {
                return try await body(token)
            } catch let failure as EtcdFailure
                where location.user != nil && (failure.isStaleToken || (token == nil && failure.message.contains("user name is empty")))
            {
                return try await body(try await self.token(at: endpoint, insteadOf: .some(token), timeout))
            }
        } catch let failure as EtcdFailure {
            throw Attempt(failure, operation, user: location.user)
        }
    }

    private func send(
        _ endpoint: EtcdEndpoint, _ path: String, _ body: [UInt8], _ operation: String, _ timeout: Duration, token: String?,
        isRepeatable: Bool
    ) async throws -> EtcdAnswer {
        let request = HTTPRequest("POST", path, fields: EtcdRequest.fields(token: token), body: body)
        let response: HTTPResponse
        do {
            response = try await endpoint.client.send(request, timeout: timeout, isRepeatable: isRepeatable)
        } catch let error as HTTPError {
            throw Attempt(error, operation)
        }
        guard response.status == 200 else { throw EtcdFailure(status: response.status, body: response.body) }
        do {
            let answer = try EtcdAnswer(response.body)
            if let failure = answer.failure { throw failure }
            try check(answer.header, endpoint, operation)
            return answer
        } catch let error as EtcdJSON.Malformed {
            throw badAnswer(endpoint, path, operation, error)
        }
    }

    func badAnswer(_ endpoint: EtcdEndpoint, _ path: String, _ operation: String, _ error: EtcdJSON.Malformed) -> Attempt {
        Attempt(
            StoreError(
                .badAnswer, operation, cause: "the answer to \(path) at \(endpoint.address) is not understood: \(error.what)",
                remedy: "Check that the address is a client address of etcd 3.4 or later."))
    }

    /// Holds an answer to the cluster that answered first.
    func check(_ header: EtcdHeader, _ endpoint: EtcdEndpoint, _ operation: String) throws {
        guard header.cluster != 0 else { return }
        let expected = members.withLock { members in
            if members.cluster == nil { members.cluster = header.cluster }
            return members.cluster
        }
        guard expected != header.cluster else {
            endpoint.isVerified = true
            return
        }
        let text = { (id: UInt64?) in String(id ?? 0, radix: 16) }
        members.withLock { $0.failed(endpoint.address, now: .now) }
        throw Attempt(
            StoreError(
                .foreign, operation,
                cause: "\(endpoint.address) is a member of etcd cluster \(text(header.cluster)), before it was \(text(expected))",
                remedy: "Correct the addresses of etcd. If etcd was rebuilt from a backup on purpose, start the agent again."))
    }

    private func token(at endpoint: EtcdEndpoint, insteadOf stale: String??, _ timeout: Duration) async throws -> String? {
        guard let user = location.user else { return nil }
        let operation = "authenticate user '\(user)' at etcd"
        let body = EtcdRequest.object { object in
            object.add("name", text: user)
            object.add("password", text: location.password ?? "")
        }.finished
        return try await login.token(insteadOf: stale) {
            do {
                let path = EtcdRequest.Path.authenticate
                return try await self.send(endpoint, path, body, operation, timeout, token: nil, isRepeatable: true).token
            } catch let failure as EtcdFailure {
                if failure.message.contains("authentication is not enabled") { return nil }
                var attempt = Attempt(failure, operation, user: user)
                attempt.isUntouched = true
                throw attempt
            } catch var attempt as Attempt {
                // Only the token was asked for.
                attempt.isUntouched = true
                throw attempt
            }
        }
    }

    // MARK: Members

    /// Finds the members of a domain: at first, and again while none answers.
    private func locate() async throws {
        guard case .domain(let domain) = location.servers else { return }
        let (isDue, isEmpty) = members.withLock { members in
            let isDue = members.addresses.isEmpty || (members.isLost && members.lookup <= .now)
            if isDue { members.lookup = .now + Self.lookupPause }
            return (isDue, members.addresses.isEmpty)
        }
        guard isDue else { return }
        do {
            let service = location.isSecure ? "_etcd-client-ssl._tcp." : "_etcd-client._tcp."
            let targets = try await ServiceRecords.find(service + domain, servers: nameServers)
            let addresses = targets.map { HTTPAddress.tcp(host: $0.host, port: Int($0.port)) }
            let endpoints = try addresses.map { try EtcdEndpoint($0, isSecure: location.isSecure, connector) }
            members.withLock { $0.configure(endpoints, now: .now) }
        } catch where !isEmpty {
            // Those that were known are tried once more.
        }
    }

    /// Now and then, beside the call that worked: where the other members are.
    private func learn(from endpoint: EtcdEndpoint) {
        let isDue = members.withLock { members in
            guard members.learning <= .now else { return false }
            members.learning = .now + Self.learningPause
            return true
        }
        guard isDue else { return }
        Task { [weak self] in
            guard let self else { return }
            let answer = try? await self.exchange(
                endpoint, EtcdRequest.Path.members, Array("{}".utf8), "list etcd's members", self.patience.attempt, isRepeatable: true)
            guard let answer else { return }
            let isLocal = EtcdMembers.isLoopback(endpoint.address)
            let addresses = answer.members.filter { !$0.isLearner }.flatMap(\.clientURLs).compactMap {
                EtcdMembers.address(inURL: $0, isSecure: self.location.isSecure, isLoopbackUseful: isLocal)
            }
            self.members.withLock { members in
                members.learn(addresses, now: .now) {
                    try EtcdEndpoint($0, isSecure: self.location.isSecure, self.connector)
                }
            }
        }
    }
}

/// How long to wait for etcd.
package struct EtcdPatience: Sendable {
    /// For a call, all members that are tried together.
    package var call: Duration = .seconds(6)
    /// For one member to answer what may be asked of another.
    package var attempt: Duration = .seconds(2)
    /// How long a watch may be silent until its member is asked whether it lives.
    package var silence: Duration = .seconds(5)

    package init() {}
}
