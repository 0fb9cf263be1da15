import HTTP

/// The calls of Docker's Engine API that an agent needs, on the engine's unix socket.
///
/// Paths carry no API version: the engine then speaks the newest it knows, and everything here takes what it needs from
/// an answer and ignores the rest. The fields used are the same from API 1.41 (Docker 20.10) to 1.51 (Docker 28). A call never
/// waits without limit; one that makes or removes a network gets longer, since the engine calls drivers meanwhile.
///
/// While a plugin call is being answered nothing here may be called: the engine holds locks until it has the answer.
package struct EngineClient: Sendable {
    private static let timeout: Duration = .seconds(15)
    private static let driverTimeout: Duration = .seconds(90)
    /// Labels and environment may be long.
    private static let textLimit = 4 << 20

    private let http: HTTPClient
    private let socket: String

    /// - Parameter socket: the path, usually "/var/run/docker.sock".
    package init(socket: String) {
        self.socket = socket
        http = HTTPClient(.unix(path: socket))
    }

    package func version() async throws -> EngineVersion {
        let operation = "ask Docker's version"
        return try EngineVersion(read(await call(HTTPRequest("GET", "/version"), operation), operation))
    }

    /// All networks, or those of one driver; without their endpoints.
    package func networks(driver: String? = nil) async throws -> [EngineNetwork] {
        let operation = "list Docker's networks"
        let query = driver.map { ["filters": EngineClient.filter(["driver": [$0]])] } ?? [:]
        return try await list(HTTPRequest("GET", "/networks", query: query), operation) { fields throws(DockerError) in
            try EngineNetwork(fields)
        }
    }

    /// - Parameter id: or a name, if it is unique.
    package func network(_ id: String) async throws -> EngineNetwork {
        let operation = "inspect Docker's network \(id)"
        return try EngineNetwork(read(await call(HTTPRequest("GET", "/networks/\(id)"), operation), operation))
    }

    /// What one container is called and publishes. The engine answers when it has started the container, if it is about to.
    package func container(_ id: String) async throws -> EngineContainer {
        let operation = "inspect Docker's container \(id.prefix(12))"
        return try EngineContainer(read(await call(HTTPRequest("GET", "/containers/\(id)/json"), operation), operation))
    }

    /// Makes a network and gives its id. The engine's check of the name is not atomic: two calls at once may both succeed.
    package func createNetwork(_ spec: EngineNetworkSpec) async throws -> String {
        let operation = "create Docker's network \(spec.name)"
        let request = HTTPRequest(
            "POST", "/networks/create", fields: ["Content-Type": "application/json"], body: spec.json.serialized())
        return try read(await call(request, operation, timeout: EngineClient.driverTimeout), operation).requiredText("Id")
    }

    package func removeNetwork(_ id: String) async throws {
        let request = HTTPRequest("DELETE", "/networks/\(id)")
        _ = try await call(request, "remove Docker's network \(id)", timeout: EngineClient.driverTimeout)
    }

    /// What happens to networks and containers, until the engine stops or the consumer does.
    ///
    /// - Parameter since: an event's time; the engine first sends again what it remembers (256 events) from then on. A few
    ///   events may come twice.
    package func events(since: Int64? = nil) async throws -> AsyncThrowingStream<EngineEvent, any Error> {
        let operation = "follow Docker's events"
        var query = ["filters": EngineClient.filter(["type": ["network", "container"]])]
        if let since, since >= 0 {
            let fraction = String(since % 1_000_000_000)
            query["since"] = "\(since / 1_000_000_000)." + String(repeating: "0", count: 9 - fraction.count) + fraction
        }
        let lines: AsyncThrowingStream<[UInt8], any Error>
        do {
            lines = try await http.lines(HTTPRequest("GET", "/events", query: query), timeout: EngineClient.timeout)
        } catch let error as HTTPError {
            if let response = error.response { throw EngineClient.refusal(response, operation) }
            throw DockerError(error, socket: socket, operation)
        }
        let socket = self.socket
        return AsyncThrowingStream {
            do {
                // Each call takes one line: all iterators of a stream share its position.
                for try await line in lines where !line.isEmpty {
                    return try EngineEvent(EngineClient.reader(EngineClient.parse(line, operation), operation))
                }
                return nil
            } catch let error as HTTPError {
                throw DockerError(error, socket: socket, operation)
            }
        }
    }

    // MARK: One call

    private func call(
        _ request: HTTPRequest, _ operation: String, timeout: Duration = EngineClient.timeout
    ) async throws -> HTTPResponse {
        let response: HTTPResponse
        do {
            response = try await http.send(request, timeout: timeout)
        } catch let error as HTTPError {
            throw DockerError(error, socket: socket, operation)
        }
        guard (200...299).contains(response.status) else { throw EngineClient.refusal(response, operation) }
        return response
    }

    private func list<Element>(
        _ request: HTTPRequest, _ operation: String, _ element: (FieldReader) throws(DockerError) -> Element
    ) async throws -> [Element] {
        let value = try EngineClient.parse(await call(request, operation).body, operation)
        let list = JSONValue.object(["List": value])
        var elements: [Element] = []
        for fields in try EngineClient.reader(list, operation).readers("List") { elements.append(try element(fields)) }
        return elements
    }

    private func read(_ response: HTTPResponse, _ operation: String) throws(DockerError) -> FieldReader {
        try EngineClient.reader(EngineClient.parse(response.body, operation), operation)
    }

    private static func parse(_ body: [UInt8], _ operation: String) throws(DockerError) -> JSONValue {
        do throws(JSONError) {
            return try JSONValue(parsing: body)
        } catch {
            throw DockerError(.unreadable, operation, cause: "the answer is not JSON (\(error))")
        }
    }

    private static func reader(_ value: JSONValue, _ operation: String) throws(DockerError) -> FieldReader {
        try FieldReader(value, code: .unreadable, operation: operation, textLimit: textLimit)
    }

    /// The engine's error: `{"message": text}`.
    private static func refusal(_ response: HTTPResponse, _ operation: String) -> DockerError {
        let code: DockerError.Code
        switch response.status {
        case 404: code = .notFound
        case 403, 409: code = .conflict
        default: code = .engine
        }
        let message = try? reader(parse(response.body, operation), operation).optionalText("message")
        let text = message ?? String(decoding: response.body.prefix(500), as: UTF8.self)
        return DockerError(code, operation, cause: "Docker answered \(response.status): \(text)", status: response.status)
    }

    private static func filter(_ filters: [String: [String]]) -> String {
        let value = JSONValue.object(filters.mapValues { .list($0.map { .text($0) }) })
        return String(decoding: value.serialized(), as: UTF8.self)
    }
}

package struct EngineVersion: Equatable, Sendable {
    /// "28.5.2".
    package var version: String
    /// "1.51".
    package var api: String
    package var minimumAPI: String

    package init(version: String, api: String, minimumAPI: String) {
        self.version = version
        self.api = api
        self.minimumAPI = minimumAPI
    }
}

extension EngineVersion {
    init(_ fields: FieldReader) throws(DockerError) {
        version = try fields.requiredText("Version")
        api = try fields.text("ApiVersion")
        minimumAPI = try fields.text("MinAPIVersion")
    }
}
