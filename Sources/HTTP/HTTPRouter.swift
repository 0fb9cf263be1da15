/// Picks the handler of a request by method and path. A path is exact, or ends in one parameter: `/networks/{id}`
/// matches `/networks/shop`, and the handler is given `shop`. An exact path goes before a parameter.
package struct HTTPRouter: Sendable {
    package typealias ParameterHandler = @Sendable (HTTPRequest, _ parameter: String) async -> HTTPResponse

    private var exact: [String: [String: ParameterHandler]] = [:]
    private var below: [String: [String: ParameterHandler]] = [:]

    package init() {}

    package mutating func on(_ method: String, _ path: String, _ handler: @escaping HTTPHandler) {
        exact[path, default: [:]][method] = { request, _ in await handler(request) }
    }

    /// - Parameter path: must end in a segment in braces, such as `/{id}`.
    package mutating func on(_ method: String, _ path: String, _ handler: @escaping ParameterHandler) {
        precondition(path.hasSuffix("}"), "the last segment of \(path) must be a parameter")
        let (prefix, _) = HTTPRouter.split(path)
        below[prefix, default: [:]][method] = handler
    }

    /// 404 for an unknown path, 405 with `Allow` for an unknown method. HEAD is answered as GET; the server leaves out the body.
    package func answer(_ request: HTTPRequest) async -> HTTPResponse {
        let (prefix, last) = HTTPRouter.split(request.path)
        guard let methods = exact[request.path] ?? (last.isEmpty ? nil : below[prefix]) else {
            return .text("no such path: \(request.path)\n", status: 404)
        }
        guard let handler = methods[request.method] ?? (request.method == "HEAD" ? methods["GET"] : nil) else {
            var response = HTTPResponse.text("\(request.method) is not possible for \(request.path)\n", status: 405)
            response.fields["Allow"] = methods.keys.sorted().joined(separator: ", ")
            return response
        }
        return await handler(request, last)
    }

    /// The path up to and with its last slash, and what follows.
    private static func split(_ path: String) -> (prefix: String, last: String) {
        guard let slash = path.lastIndex(of: "/") else { return ("", path) }
        return (String(path[...slash]), String(path[path.index(after: slash)...]))
    }
}
