/// Takes typed fields out of one JSON object and, where one is not what it should be, names it by its path in the message.
///
/// As in Go, which writes these messages, a field that is missing or null has its type's zero value. Only `identifier` insists
/// on a value. Texts, lists and maps are bounded.
struct FieldReader {
    /// The largest list or map: one for each port of a container that publishes all.
    private static let countLimit = 1 << 17

    let code: DockerError.Code
    let operation: String
    let textLimit: Int
    private let path: String
    let fields: [String: JSONValue]

    private init(parent: FieldReader, path: String, fields: [String: JSONValue]) {
        (code, operation, textLimit) = (parent.code, parent.operation, parent.textLimit)
        (self.path, self.fields) = (path, fields)
    }

    /// - Parameters:
    ///   - code: of the errors to throw.
    ///   - operation: the call, for an error's text.
    ///   - textLimit: bytes of the longest text.
    init(_ value: JSONValue, code: DockerError.Code, operation: String, textLimit: Int) throws(DockerError) {
        switch value {
        case .null: fields = [:]
        case .object(let object): fields = object
        default: throw DockerError(code, operation, cause: "the message must be an object, not \(value.kind)")
        }
        (self.code, self.operation, self.textLimit, path) = (code, operation, textLimit, "")
    }

    // MARK: Texts

    func text(_ name: String) throws(DockerError) -> String {
        guard let value = present(name) else { return "" }
        guard case .text(let text) = value else { throw wrong(name, "a text", value) }
        try checkLength(text, name)
        return text
    }

    /// nil when it is missing or empty.
    func optionalText(_ name: String) throws(DockerError) -> String? {
        let text = try text(name)
        return text.isEmpty ? nil : text
    }

    /// An id of Docker: 1 to 128 letters, digits, `_`, `.` and `-`, which may safely become part of a key or a file's name.
    func identifier(_ name: String) throws(DockerError) -> String {
        let text = try text(name)
        guard !text.isEmpty else { throw fault(name, "is missing") }
        let isAllowed = { (byte: UInt8) in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "_.-".utf8.contains(byte)
        }
        guard text.utf8.count <= 128, text.utf8.first != UInt8(ascii: "."), text.utf8.allSatisfy(isAllowed) else {
            throw fault(name, "is not an id")
        }
        return text
    }

    /// A text that must not be empty.
    func requiredText(_ name: String) throws(DockerError) -> String {
        guard let text = try optionalText(name) else { throw fault(name, "is missing") }
        return text
    }

    func texts(_ name: String) throws(DockerError) -> [String] {
        var result: [String] = []
        for (index, value) in try list(name).enumerated() {
            guard case .text(let text) = value else { throw wrong("\(name)[\(index)]", "a text", value) }
            try checkLength(text, "\(name)[\(index)]")
            result.append(text)
        }
        return result
    }

    /// Options: texts by name. A value of another kind becomes its JSON text, null becomes empty.
    func textMap(_ name: String) throws(DockerError) -> [String: String] {
        var result: [String: String] = [:]
        for (key, value) in try map(name) {
            let text = value == .null ? "" : value.optionText
            try checkLength(key, "a name in \(name)")
            try checkLength(text, "\(name).\(key)")
            result[key] = text
        }
        return result
    }

    // MARK: Other values

    func bool(_ name: String) throws(DockerError) -> Bool {
        guard let value = present(name) else { return false }
        guard case .bool(let bool) = value else { throw wrong(name, "true or false", value) }
        return bool
    }

    func integer<Number: FixedWidthInteger>(_ name: String, as type: Number.Type = Number.self) throws(DockerError) -> Number {
        guard let value = present(name) else { return 0 }
        guard case .integer(let integer) = value, let number = Number(exactly: integer) else {
            throw wrong(name, "a whole number from \(Number.min) to \(Number.max)", value)
        }
        return number
    }

    func reader(_ name: String) throws(DockerError) -> FieldReader {
        FieldReader(parent: self, path: path + name + ".", fields: try map(name))
    }

    func readers(_ name: String) throws(DockerError) -> [FieldReader] {
        var result: [FieldReader] = []
        for (index, value) in try list(name).enumerated() {
            guard case .object(let fields) = value else { throw wrong("\(name)[\(index)]", "an object", value) }
            result.append(FieldReader(parent: self, path: "\(path)\(name)[\(index)].", fields: fields))
        }
        return result
    }

    /// Objects by name; those that are null are left out.
    func readerMap(_ name: String) throws(DockerError) -> [String: FieldReader] {
        var result: [String: FieldReader] = [:]
        for (key, value) in try map(name) where value != .null {
            guard case .object(let fields) = value else { throw wrong("\(name).\(key)", "an object", value) }
            result[key] = FieldReader(parent: self, path: "\(path)\(name).\(key).", fields: fields)
        }
        return result
    }

    /// The names in an object that have a value, whatever that is.
    func keys(_ name: String) throws(DockerError) -> [String] {
        let keys = try map(name).filter { $0.value != .null }.map(\.key)
        for key in keys { try checkLength(key, "a name in \(name)") }
        return keys
    }

    // MARK: Errors

    func fault(_ name: String, _ what: String, remedy: String? = nil) -> DockerError {
        DockerError(code, operation, cause: "the field \(path)\(name) \(what)", remedy: remedy)
    }

    private func wrong(_ name: String, _ wanted: String, _ value: JSONValue) -> DockerError {
        if case .integer(let integer) = value { return fault(name, "must be \(wanted), not \(integer)") }
        return fault(name, "must be \(wanted), not \(value.kind)")
    }

    private func present(_ name: String) -> JSONValue? {
        guard let value = fields[name], value != .null else { return nil }
        return value
    }

    private func list(_ name: String) throws(DockerError) -> [JSONValue] {
        guard let value = present(name) else { return [] }
        guard case .list(let values) = value else { throw wrong(name, "a list", value) }
        guard values.count <= FieldReader.countLimit else { throw fault(name, "has more than \(FieldReader.countLimit) values") }
        return values
    }

    private func map(_ name: String) throws(DockerError) -> [String: JSONValue] {
        guard let value = present(name) else { return [:] }
        guard case .object(let fields) = value else { throw wrong(name, "an object", value) }
        guard fields.count <= FieldReader.countLimit else { throw fault(name, "has more than \(FieldReader.countLimit) values") }
        return fields
    }

    private func checkLength(_ text: String, _ name: String) throws(DockerError) {
        if text.utf8.count > textLimit { throw fault(name, "is longer than \(textLimit) bytes") }
    }
}
