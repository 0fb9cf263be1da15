/// The store's values as JSON: short, readable, and with an entry's value as text instead of a list of numbers.
///
///     entry        {"key":"networks/a","value":"{\"name\":\"shop\"}","created":3,"modified":7,"lease":2}
///     deletion     {"key":"networks/a","deleted":8}
///     condition    {"absent":"k"}  {"exists":"k"}  {"unchanged":"k","since":7}  {"quiet":"prefix","since":7}
///     operation    {"put":"k","value":"{}","lease":2}  {"delete":"k"}
///     outcome      {"committed":8}  {"conflict":{"absent":"k"}}
///     event        {"revision":8,"changes":[entry or deletion, …]}  {"missed":true}
private enum Field: String, CodingKey {
    case key, value, created, modified, lease, deleted
    case absent, exists, unchanged, quiet, since
    case put, delete
    case committed, conflict
    case revision, changes, missed
}

private typealias Fields = KeyedDecodingContainer<Field>

extension Fields {
    fileprivate func text(_ field: Field) throws -> String { try decode(String.self, forKey: field) }
    fileprivate func bytes(_ field: Field) throws -> [UInt8] { Array(try text(field).utf8) }
    fileprivate func revision(_ field: Field) throws -> Revision { Revision(try decode(UInt64.self, forKey: field)) }
    fileprivate func lease() throws -> LeaseID? { try decodeIfPresent(UInt64.self, forKey: .lease).map { LeaseID($0) } }

    /// For an object that is none of those known here, as a newer version may send.
    fileprivate func unknown(_ what: String) -> DecodingError {
        DecodingError.dataCorrupted(.init(codingPath: codingPath, debugDescription: "this is no \(what)"))
    }
}

extension StoreEntry {
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Field.self)
        self.init(
            key: try fields.text(.key), value: try fields.bytes(.value), created: try fields.revision(.created),
            modified: try fields.revision(.modified), lease: try fields.lease())
    }

    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Field.self)
        try fields.encode(key, forKey: .key)
        try fields.encode(String(decoding: value, as: UTF8.self), forKey: .value)
        try fields.encode(created.number, forKey: .created)
        try fields.encode(modified.number, forKey: .modified)
        try fields.encodeIfPresent(lease?.number, forKey: .lease)
    }
}

extension StoreCondition {
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Field.self)
        if fields.contains(.absent) {
            self = .absent(key: try fields.text(.absent))
        } else if fields.contains(.exists) {
            self = .exists(key: try fields.text(.exists))
        } else if fields.contains(.unchanged) {
            self = .unchanged(key: try fields.text(.unchanged), since: try fields.revision(.since))
        } else if fields.contains(.quiet) {
            self = .quiet(prefix: try fields.text(.quiet), since: try fields.revision(.since))
        } else {
            throw fields.unknown("condition")
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Field.self)
        switch self {
        case .absent(let key): try fields.encode(key, forKey: .absent)
        case .exists(let key): try fields.encode(key, forKey: .exists)
        case .unchanged(let key, let revision):
            try fields.encode(key, forKey: .unchanged)
            try fields.encode(revision.number, forKey: .since)
        case .quiet(let prefix, let revision):
            try fields.encode(prefix, forKey: .quiet)
            try fields.encode(revision.number, forKey: .since)
        }
    }
}

extension StoreOperation {
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Field.self)
        if fields.contains(.put) {
            self = .put(key: try fields.text(.put), value: try fields.bytes(.value), lease: try fields.lease())
        } else if fields.contains(.delete) {
            self = .delete(key: try fields.text(.delete))
        } else {
            throw fields.unknown("operation")
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Field.self)
        switch self {
        case .put(let key, let value, let lease):
            try fields.encode(key, forKey: .put)
            try fields.encode(String(decoding: value, as: UTF8.self), forKey: .value)
            try fields.encodeIfPresent(lease?.number, forKey: .lease)
        case .delete(let key): try fields.encode(key, forKey: .delete)
        }
    }
}

extension StoreOutcome {
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Field.self)
        if fields.contains(.committed) {
            self = .committed(try fields.revision(.committed))
        } else {
            self = .conflict(try fields.decode(StoreCondition.self, forKey: .conflict))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Field.self)
        switch self {
        case .committed(let revision): try fields.encode(revision.number, forKey: .committed)
        case .conflict(let condition): try fields.encode(condition, forKey: .conflict)
        }
    }
}

extension StoreChange {
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Field.self)
        if fields.contains(.deleted) {
            self = .delete(key: try fields.text(.key), at: try fields.revision(.deleted))
        } else {
            self = .put(try StoreEntry(from: decoder))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        switch self {
        case .put(let entry): try entry.encode(to: encoder)
        case .delete(let key, let revision):
            var fields = encoder.container(keyedBy: Field.self)
            try fields.encode(key, forKey: .key)
            try fields.encode(revision.number, forKey: .deleted)
        }
    }
}

extension StoreEvent {
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Field.self)
        if try fields.decodeIfPresent(Bool.self, forKey: .missed) == true {
            self = .missed
        } else {
            let changes = try fields.decode([StoreChange].self, forKey: .changes)
            self = .changes(changes, revision: try fields.revision(.revision))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Field.self)
        switch self {
        case .missed: try fields.encode(true, forKey: .missed)
        case .changes(let changes, let revision):
            try fields.encode(revision.number, forKey: .revision)
            try fields.encode(changes, forKey: .changes)
        }
    }
}
