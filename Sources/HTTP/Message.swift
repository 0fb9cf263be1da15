package import TLS

/// What an HTTP exchange is made of, as values. Both ends speak HTTP/1.1 with whole bodies; only the client can
/// also read a body piece by piece (`HTTPClient.lines`).

/// Where a server listens or a client connects.
package enum HTTPAddress: Hashable, Sendable, CustomStringConvertible {
    /// A unix socket; at most 107 bytes of path (`man 7 unix`).
    case unix(path: String)
    /// A numeric IPv4 or IPv6 address, or a name, without brackets.
    case tcp(host: String, port: Int)

    package var description: String {
        switch self {
        case .unix(let path): return "unix:\(path)"
        case .tcp(let host, let port): return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }
}

/// Header fields in the order sent. Names compare without case (RFC 9110 section 5.1).
package struct HTTPFields: Sendable, Equatable, ExpressibleByDictionaryLiteral {
    package private(set) var all: [(name: String, value: String)] = []

    package init() {}
    package init(dictionaryLiteral elements: (String, String)...) {
        for (name, value) in elements { all.append((name, value)) }
    }

    /// The first field of that name; setting replaces all of that name.
    package subscript(name: String) -> String? {
        get { all.first { $0.name.lowercased() == name.lowercased() }?.value }
        set {
            all.removeAll { $0.name.lowercased() == name.lowercased() }
            if let newValue { all.append((name, newValue)) }
        }
    }

    package mutating func append(_ name: String, _ value: String) { all.append((name, value)) }

    package static func == (left: HTTPFields, right: HTTPFields) -> Bool {
        left.all.elementsEqual(right.all) { $0.name == $1.name && $0.value == $1.value }
    }
}

package struct HTTPRequest: Sendable, Equatable {
    package var method: String
    /// The path without the query, percent-decoded where it was encoded.
    package var path: String
    /// The query's values by name; the last of a repeated name counts.
    package var query: [String: String]
    package var fields: HTTPFields
    package var body: [UInt8]
    /// Only at a server: the request came through TLS.
    package var isSecure = false
    /// Only at a server: the node that the cluster's authority has certified the client to be; nil without TLS or without such a certificate.
    package var peer: PeerIdentity?

    package init(
        _ method: String, _ path: String, query: [String: String] = [:], fields: HTTPFields = [:], body: [UInt8] = []
    ) {
        self.method = method
        self.path = path
        self.query = query
        self.fields = fields
        self.body = body
    }
}

package struct HTTPResponse: Sendable, Equatable {
    package var status: Int
    package var fields: HTTPFields
    package var body: [UInt8]
    /// The request proved by itself (a signature) who sent it: its connection no longer counts among the strangers of `HTTPLimits`.
    package var provesClient = false

    package init(status: Int, fields: HTTPFields = [:], body: [UInt8] = []) {
        self.status = status
        self.fields = fields
        self.body = body
    }

    /// A JSON body with its content type.
    package static func json(_ body: [UInt8], status: Int = 200) -> HTTPResponse {
        HTTPResponse(status: status, fields: ["Content-Type": "application/json"], body: body)
    }
    package static func text(_ text: String, status: Int = 200) -> HTTPResponse {
        HTTPResponse(status: status, fields: ["Content-Type": "text/plain; charset=utf-8"], body: Array(text.utf8))
    }
}

/// Answers one request. It is called on the cooperative pool and may wait.
package typealias HTTPHandler = @Sendable (HTTPRequest) async -> HTTPResponse
