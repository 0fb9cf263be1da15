/// The local API's client: one method a route. A call sends one request, waits at most `timeout` for the whole answer, and turns
/// whatever went wrong into a `LocalError` that tells an absent agent from a forbidden one and from one that refuses.
import HTTP

package struct LocalClient: Sendable {
    private let client: HTTPClient
    private let socket: String
    private let timeout: Duration

    /// - Parameter socket: the path of the agent's unix socket.
    package init(socket: String, timeout: Duration = .seconds(10)) {
        var limits = HTTPClient.Limits()
        limits.bodyBytes = 128 << 20
        client = HTTPClient(.unix(path: socket), limits: limits)
        self.socket = socket
        self.timeout = timeout
    }

    package func status() async throws(LocalError) -> StatusReport { try await get(.status) }
    package func networks() async throws(LocalError) -> [NetworkReport] { try await get(.networks) }
    package func endpoints() async throws(LocalError) -> [EndpointReport] { try await get(.endpoints) }
    package func nodes() async throws(LocalError) -> [NodeReport] { try await get(.nodes) }
    package func names() async throws(LocalError) -> [NameReport] { try await get(.names) }
    package func ask(_ question: NameQuestion) async throws(LocalError) -> NameAnswerReport { try await get(.namesAsk, question) }
    package func plan() async throws(LocalError) -> [PlanReport] { try await get(.plan) }
    package func expose(_ request: ExposureRequest) async throws(LocalError) -> EndpointReport { try await get(.expose, request, limit: Self.patience) }
    package func hide(_ network: String) async throws(LocalError) -> EndpointReport { try await get(.hide, NameRequest(name: network), limit: Self.patience) }
    package func token() async throws(LocalError) -> TokenReport { try await get(.token) }
    package func createToken(_ request: TokenRequest) async throws(LocalError) -> NewTokenReport { try await get(.tokenCreate, request) }
    package func tokens() async throws(LocalError) -> [JoinTokenReport] { try await get(.tokens) }
    package func revokeToken(_ id: String) async throws(LocalError) -> [JoinTokenReport] { try await get(.tokenRevoke, NameRequest(name: id)) }
    /// - Parameter node: its name or id.
    package func removeNode(_ node: String) async throws(LocalError) -> NodeReport { try await get(.nodeRemove, NameRequest(name: node)) }
    package func acceptStore() async throws(LocalError) -> StoreMoveReport { try await get(.storeAccept, limit: Self.patience) }
    package func takeAuthority() async throws(LocalError) -> AuthorityReport { try await get(.authorityTake, limit: Self.patience) }
    package func promoteStore() async throws(LocalError) -> StoreMoveReport { try await get(.storePromote, limit: Self.patience) }
    package func migrateStore(to url: String) async throws(LocalError) -> StoreMoveReport { try await get(.storeMigrate, NameRequest(name: url), limit: Self.patience) }
    package func exportStore() async throws(LocalError) -> StoreBackup { try await get(.storeExport) }
    package func importStore(_ backup: StoreBackup) async throws(LocalError) -> StoreMoveReport { try await get(.storeImport, backup, limit: Self.patience) }
    /// For what waits for other hosts.
    private static let patience = Duration.seconds(120)

    /// Prometheus text.
    package func metrics() async throws(LocalError) -> String {
        String(decoding: try await answer(.metrics).body, as: UTF8.self)
    }

    private func get<Report: Decodable>(
        _ route: LocalRoute, _ request: some Encodable = Nothing(), limit: Duration? = nil
    ) async throws(LocalError) -> Report {
        let text: [UInt8]
        do { text = request is Nothing ? [] : try LocalJSON.encode(request) } catch {
            throw LocalError(.badAnswer, operation(route), cause: "the request cannot be written: \(error)")
        }
        let body = try await answer(route, text, limit: limit).body
        do {
            return try LocalJSON.decode(Report.self, from: body)
        } catch {
            throw badAnswer(route, "the answer at \(socket) is not understood (\(error))")
        }
    }

    private struct Nothing: Encodable {}

    private func answer(_ route: LocalRoute, _ body: [UInt8] = [], limit: Duration? = nil) async throws(LocalError) -> HTTPResponse {
        let response: HTTPResponse
        do {
            response = try await client.send(HTTPRequest(route.method, route.path, body: body), timeout: limit ?? timeout)
        } catch let error as HTTPError {
            throw failure(route, error)
        } catch {
            throw LocalError(.unreachable, operation(route), cause: "the agent does not answer at \(socket): \(error)")
        }
        guard (200..<300).contains(response.status) else { throw refusal(route, response) }
        return response
    }

    private func failure(_ route: LocalRoute, _ error: HTTPError) -> LocalError {
        switch error.code {
        case .permissionDenied:
            return LocalError(
                .permission, operation(route), cause: "no permission for the agent's socket \(socket)",
                remedy: "use sudo, or join the socket's group")
        case .timedOut:
            return LocalError(
                .silent, operation(route), cause: "the agent at \(socket) does not answer: \(error.cause)",
                remedy: "see 'journalctl -u tulle'; 'systemctl restart tulle' harms no traffic")
        case .malformed, .tooLarge:
            return badAnswer(route, "what answers at \(socket) is not understood: \(error.cause)")
        case .badAddress:
            return LocalError(
                .unreachable, operation(route), cause: "the agent cannot be at \(socket): \(error.cause)",
                remedy: "give the socket's path with --socket")
        default:
            return LocalError(
                .unreachable, operation(route), cause: "the agent does not answer at \(socket): \(error.cause)",
                remedy: "start it with: systemctl start tulle")
        }
    }

    private func refusal(_ route: LocalRoute, _ response: HTTPResponse) -> LocalError {
        if let report = try? LocalJSON.decode(ErrorReport.self, from: response.body) {
            return LocalError(response.status == 403 ? .permission : .refused, operation(route), cause: report.error)
        }
        return badAnswer(route, "the agent at \(socket) answered \(operation(route)) with status \(response.status)")
    }

    private func badAnswer(_ route: LocalRoute, _ cause: String) -> LocalError {
        LocalError(
            .badAnswer, operation(route), cause: cause,
            remedy: "compare the versions: this program is \(tulleVersion), the agent's is in `systemctl status tulle`")
    }

    private func operation(_ route: LocalRoute) -> String { "\(route.method) \(route.path)" }
}
