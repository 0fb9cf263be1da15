import NIOCore
import NIOHTTP1

/// A request as it goes out: checked, with the fields that HTTP/1.1 demands.
struct ClientRequest: Sendable {
    let operation: String
    let head: HTTPRequestHead
    let body: ByteBuffer

    init(_ request: HTTPRequest, address: HTTPAddress, operation: String) throws(HTTPError) {
        // RFC 9110 section 5.6.2; the field names and values are checked by NIO's validator when they are written.
        let isToken = { (byte: UInt8) in byte > 0x20 && byte < 0x7f && !"\"(),/:;<=>?@[\\]{}".utf8.contains(byte) }
        guard !request.method.isEmpty, request.method.utf8.allSatisfy(isToken) else {
            throw HTTPError(.badRequest, operation, cause: "the method has forbidden characters")
        }
        var headers = HTTPHeaders(request.fields.all)
        if !headers.contains(name: "host") {
            // A unix socket has no host; "localhost" is what servers that check it accept.
            switch address {
            case .unix: headers.add(name: "Host", value: "localhost")
            case .tcp: headers.add(name: "Host", value: address.description)
            }
        }
        if !headers.contains(name: "user-agent") { headers.add(name: "User-Agent", value: "tulle") }
        headers.remove(name: "transfer-encoding")
        if !request.body.isEmpty || ["POST", "PUT", "PATCH"].contains(request.method) {
            headers.replaceOrAdd(name: "Content-Length", value: String(request.body.count))
        }
        self.operation = operation
        head = HTTPRequestHead(
            version: .http1_1, method: HTTPMethod(rawValue: request.method),
            uri: HTTPTarget.text(path: request.path, query: request.query), headers: headers)
        body = ByteBuffer(bytes: request.body)
    }
}
