/// What etcd's gateway answers, read field by field; what is not there is zero, what is not known is skipped.
struct EtcdHeader {
    var cluster: UInt64 = 0
    var revision: UInt64 = 0

    init() {}
    init(_ json: inout EtcdJSON) throws {
        try json.object { json, name in
            switch name {
            case "cluster_id": cluster = try json.number()
            case "revision": revision = try json.revision()
            default: try json.skip()
            }
        }
    }
}

struct EtcdKeyValue {
    var key: [UInt8] = []
    var value: [UInt8] = []
    var created: UInt64 = 0
    var modified: UInt64 = 0
    var lease: UInt64 = 0

    init() {}
    init(_ json: inout EtcdJSON) throws {
        try json.object { json, name in
            switch name {
            case "key": key = try json.base64()
            case "value": value = try json.base64()
            case "create_revision": created = try json.revision()
            case "mod_revision": modified = try json.revision()
            case "lease": lease = try json.number()
            default: try json.skip()
            }
        }
    }
}

/// Any answer that is one object: the fields of all of them together, for none means two things.
struct EtcdAnswer {
    var header = EtcdHeader()
    var entries: [EtcdKeyValue] = []
    var count: UInt64 = 0
    var hasMore = false
    var isSucceeded = false
    var deleted: UInt64 = 0
    var responses: [EtcdAnswer] = []
    var id: UInt64 = 0
    var term: UInt64 = 0
    var token = ""
    var members: [Member] = []
    /// A stream that failed says so in an answer of status 200.
    var failure: EtcdFailure?

    struct Member {
        var id: UInt64 = 0
        var isLearner = false
        var clientURLs: [String] = []
    }

    init() {}

    init(_ text: [UInt8]) throws { self = try EtcdJSON.read(text) { try EtcdAnswer(&$0) } }

    init(_ json: inout EtcdJSON) throws {
        try json.object { json, name in
            switch name {
            case "header": header = try EtcdHeader(&json)
            case "kvs": try json.array { entries.append(try EtcdKeyValue(&$0)) }
            case "count": count = try json.number()
            case "more": hasMore = try json.bool()
            case "succeeded": isSucceeded = try json.bool()
            case "deleted": deleted = try json.number()
            case "responses": try json.array { responses.append(try EtcdAnswer(oneOf: &$0)) }
            // The one message of a stream: a lease's renewal.
            case "result": self = try EtcdAnswer(&json)
            case "ID": id = try json.number()
            case "TTL": term = try json.number()
            case "token": token = try json.string()
            case "members": try json.array { members.append(try Member(&$0)) }
            case "error": failure = try EtcdFailure(error: &json, status: 200)
            default: try json.skip()
            }
        }
    }

    /// One of a transaction's responses: `{"response_range":{…}}`.
    private init(oneOf json: inout EtcdJSON) throws {
        try json.object { json, name in
            if name.hasPrefix("response_") { self = try EtcdAnswer(&json) } else { try json.skip() }
        }
    }
}

extension EtcdAnswer.Member {
    init(_ json: inout EtcdJSON) throws {
        try json.object { json, name in
            switch name {
            case "clientURLs": try json.array { clientURLs.append(try $0.string()) }
            case "ID": id = try json.number()
            case "isLearner": isLearner = try json.bool()
            default: try json.skip()
            }
        }
    }
}

/// One line of a watch.
struct EtcdWatchAnswer {
    var header = EtcdHeader()
    /// −1 (as two's complement) marks the answer to a request for progress, which may overtake events.
    var watch: UInt64 = 0
    var isCreated = false
    var isCanceled = false
    var isFragment = false
    var compacted: UInt64 = 0
    var reason = ""
    var events: [Event] = []
    var failure: EtcdFailure?

    struct Event {
        var isDeletion = false
        var entry = EtcdKeyValue()
    }

    init(_ text: [UInt8]) throws {
        try EtcdJSON.read(text) { json in
            try json.object { json, name in
                switch name {
                case "result": try read(&json)
                case "error": failure = try EtcdFailure(error: &json, status: 200)
                default: try json.skip()
                }
            }
        }
    }

    private mutating func read(_ json: inout EtcdJSON) throws {
        try json.object { json, name in
            switch name {
            case "header": header = try EtcdHeader(&json)
            case "watch_id": watch = try json.number()
            case "created": isCreated = try json.bool()
            case "canceled": isCanceled = try json.bool()
            case "fragment": isFragment = try json.bool()
            case "compact_revision": compacted = try json.revision()
            case "cancel_reason": reason = try json.string()
            case "events": try json.array { events.append(try Event(&$0)) }
            default: try json.skip()
            }
        }
    }
}

extension EtcdWatchAnswer.Event {
    init(_ json: inout EtcdJSON) throws {
        try json.object { json, name in
            switch name {
            case "type":
                // The constant's name, or its number.
                isDeletion = json.isString ? try json.string() == "DELETE" : try json.number() == 1
            case "kv": entry = try EtcdKeyValue(&json)
            default: try json.skip()
            }
        }
    }
}
