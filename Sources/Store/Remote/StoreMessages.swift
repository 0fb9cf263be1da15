import FoundationEssentials
package import HTTP

/// The requests and answers of the store protocol that are not the store's own values. All are bodies of JSON:
///
///     GET  /v1/store/identity                                  → {"cluster":"…","epoch":1}
///     POST /v1/store/list           {"prefix":"networks/"}     → {"revision":8,"entries":[…]}
///     POST /v1/store/commit         {"conditions":[…],"operations":[…]} → {"committed":8} or {"conflict":{…}}
///     POST /v1/store/watch?wait=20  {"prefix":"","after":8}    → an event, without changes after `wait` seconds
///     POST /v1/store/lease/grant    {"seconds":30}             → {"lease":5}
///     POST /v1/store/lease/renew    {"lease":5}                → {"lease":5}
///     POST /v1/store/lease/revoke   {"lease":5}                → {"lease":5}
///
/// Any other status than 200 comes with {"code":"…","operation":"…","cause":"…","remedy":"…"}.
enum StoreMessage {
    enum Path {
        static let identity = "/v1/store/identity"
        static let list = "/v1/store/list"
        static let commit = "/v1/store/commit"
        static let watch = "/v1/store/watch"
        static let grant = "/v1/store/lease/grant"
        static let renew = "/v1/store/lease/renew"
        static let revoke = "/v1/store/lease/revoke"
    }

    /// How long a watch's answer may wait for a change.
    static let longestWait = 20

    struct List: Codable { var prefix: String }
    struct Watch: Codable {
        var prefix: String
        var after: Revision
    }
    struct Grant: Codable { var seconds: Int }
    struct Lease: Codable { var lease: LeaseID }

    struct Failure: Codable {
        var code: String
        var operation: String
        var cause: String
        var remedy: String

        init(_ error: StoreError) {
            code = error.code.rawValue
            operation = error.operation
            cause = error.cause
            remedy = error.remedy
        }

        var error: StoreError {
            StoreError(StoreError.Code(rawValue: code), operation, cause: cause, remedy: remedy)
        }
    }

    static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(value))
    }

    static func decode<Value: Decodable>(_ type: Value.Type, from body: [UInt8]) throws -> Value {
        try JSONDecoder().decode(type, from: Data(body))
    }
}

extension HTTPResponse {
    /// An error that keeps its code on the way to the other agent.
    package static func failure(_ error: StoreError, status: Int) -> HTTPResponse {
        .json((try? StoreMessage.encode(StoreMessage.Failure(error))) ?? [], status: status)
    }

    /// The error in it, if it is an answer with one.
    package var failure: StoreError? { try? StoreMessage.decode(StoreMessage.Failure.self, from: body).error }
}
