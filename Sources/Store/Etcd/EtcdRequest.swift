import HTTP

/// The bodies of requests to etcd's gateway (api/etcdserverpb/rpc.proto as JSON): keys and values in base64, 64-bit numbers as strings.
enum EtcdRequest {
    enum Path {
        static let range = "/v3/kv/range"
        static let transaction = "/v3/kv/txn"
        static let watch = "/v3/watch"
        static let grant = "/v3/lease/grant"
        static let keepAlive = "/v3/lease/keepalive"
        static let revoke = "/v3/lease/revoke"
        static let authenticate = "/v3/auth/authenticate"
        static let members = "/v3/cluster/member/list"
    }

    /// A JSON object that is being written.
    struct Object {
        private(set) var bytes: [UInt8] = [UInt8(ascii: "{")]

        private mutating func name(_ name: StaticString) {
            if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
            bytes.append(UInt8(ascii: "\""))
            name.withUTF8Buffer { bytes += $0 }
            bytes += [UInt8(ascii: "\""), UInt8(ascii: ":")]
        }

        mutating func add(_ field: StaticString, _ data: some Collection<UInt8>) {
            name(field)
            bytes.append(UInt8(ascii: "\""))
            Base64.encode(data, to: &bytes)
            bytes.append(UInt8(ascii: "\""))
        }
        mutating func add(_ field: StaticString, _ number: UInt64) {
            name(field)
            bytes += "\"\(Int64(bitPattern: number))\"".utf8
        }
        mutating func add(_ field: StaticString, _ flag: Bool) {
            name(field)
            bytes += (flag ? "true" : "false").utf8
        }
        /// A constant of the protocol.
        mutating func add(_ field: StaticString, constant: String) {
            name(field)
            bytes += "\"\(constant)\"".utf8
        }
        mutating func add(_ field: StaticString, text: String) {
            name(field)
            bytes.append(UInt8(ascii: "\""))
            for byte in text.utf8 {
                switch byte {
                case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
                case 0..<0x20: bytes += "\\u00\(byte < 16 ? "0" : "")\(String(byte, radix: 16))".utf8
                default: bytes.append(byte)
                }
            }
            bytes.append(UInt8(ascii: "\""))
        }
        mutating func add(_ field: StaticString, _ object: Object) {
            name(field)
            bytes += object.finished
        }
        mutating func add(_ field: StaticString, _ objects: [Object]) {
            name(field)
            bytes.append(UInt8(ascii: "["))
            for (index, object) in objects.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                bytes += object.finished
            }
            bytes.append(UInt8(ascii: "]"))
        }

        var finished: [UInt8] { bytes + [UInt8(ascii: "}")] }
    }

    static func object(_ body: (inout Object) -> Void) -> Object {
        var object = Object()
        body(&object)
        return object
    }

    // MARK: Ranges

    /// All or some of a range of keys.
    static func range(
        _ keys: EtcdKeyRange, limit: Int = 0, at revision: UInt64 = 0, modifiedFrom: UInt64 = 0, keysOnly: Bool = false,
        countOnly: Bool = false
    ) -> Object {
        object { range in
            keys.add(to: &range)
            if limit > 0 { range.add("limit", UInt64(limit)) }
            if revision > 0 { range.add("revision", revision) }
            if modifiedFrom > 0 { range.add("min_mod_revision", modifiedFrom) }
            if keysOnly { range.add("keys_only", true) }
            if countOnly { range.add("count_only", true) }
        }
    }

    static func operation(range: Object) -> Object { object { $0.add("request_range", range) } }

    // MARK: Transactions

    enum Target: String { case create = "CREATE", modified = "MOD", value = "VALUE" }
    enum Comparison: String { case equal = "EQUAL", greater = "GREATER", less = "LESS" }

    static func compare(_ keys: EtcdKeyRange, _ target: Target, _ comparison: Comparison, _ number: UInt64) -> Object {
        object { compare in
            compare.add("target", constant: target.rawValue)
            compare.add("result", constant: comparison.rawValue)
            keys.add(to: &compare)
            compare.add(target == .create ? "create_revision" : "mod_revision", number)
        }
    }

    static func compare(_ keys: EtcdKeyRange, isValue value: [UInt8]) -> Object {
        object { compare in
            compare.add("target", constant: Target.value.rawValue)
            compare.add("result", constant: Comparison.equal.rawValue)
            keys.add(to: &compare)
            compare.add("value", value)
        }
    }

    static func transaction(compare: [Object] = [], success: [Object], failure: [Object] = []) -> [UInt8] {
        object { transaction in
            transaction.add("compare", compare)
            transaction.add("success", success)
            transaction.add("failure", failure)
        }.finished
    }

    /// Headers of every request: a member without a leader refuses at once instead of waiting, and ends its watches.
    static func fields(token: String?) -> HTTPFields {
        var fields: HTTPFields = ["Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"]
        if let token { fields["Authorization"] = token }
        return fields
    }
}

/// One key of etcd's, or all from one up to but without another.
struct EtcdKeyRange: Sendable, Hashable {
    var start: [UInt8]
    var end: [UInt8]?

    init(_ key: String) { start = Array(key.utf8) }

    init(from start: [UInt8], to end: [UInt8]) {
        self.start = start
        self.end = end
    }

    /// Everything below a prefix, which is not empty and printable ASCII.
    init(below prefix: String) {
        start = Array(prefix.utf8)
        var end = start
        if let last = end.popLast() { end.append(last + 1) }
        self.end = end
    }

    func add(to object: inout EtcdRequest.Object) {
        object.add("key", start)
        if let end { object.add("range_end", end) }
    }
}
