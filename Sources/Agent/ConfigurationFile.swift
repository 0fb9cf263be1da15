/// The settings file: a YAML mapping of keys to single values, nothing more.
///
/// libyaml's parser gives events, each with the line it began on; they are copied out (`YAMLEvents`) and walked here. Everything that
/// YAML offers beyond `key: value` is refused by name and line: an anchor or a tag would make the text mean something else
/// than it says.
import CYaml
import Glibc

struct ConfigurationFile {
    struct Entry: Equatable {
        var key: String
        var value: String
        /// Counted from 1.
        var line: Int
    }

    /// Bytes; a full file has about one thousand.
    static let sizeLimit = 64 << 10

    var path: String
    var entries: [Entry]

    /// Nil when there is no such file.
    static func read(_ path: String) throws(ConfigurationError) -> ConfigurationFile? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw unreadable(path, errno)
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw unreadable(path, errno) }
            if count == 0 { break }
            bytes += chunk[..<count]
            guard bytes.count <= sizeLimit else {
                throw ConfigurationError(.badFile, path, "larger than \(sizeLimit >> 10) KiB", remedy: "is it the right file?")
            }
        }
        return try ConfigurationFile(path: path, bytes: bytes)
    }

    private static func unreadable(_ path: String, _ code: Int32) -> ConfigurationError {
        let isForbidden = code == EACCES || code == EPERM
        return ConfigurationError(
            isForbidden ? .permission : .unreadableFile, path, "cannot be read: \(String(cString: strerror(code)))",
            remedy: isForbidden ? "use sudo, or change its mode" : nil)
    }

    init(path: String, bytes: [UInt8]) throws(ConfigurationError) {
        self.path = path
        let events = try YAMLEvents.all(bytes, path: path)
        entries = []
        var lines: [String: Int] = [:]
        var index = 0
        guard try Self.enterMapping(events, &index, path) else { return }
        while case .scalar(let key) = events[index].kind {
            let line = events[index].line
            func refused(_ cause: String) -> ConfigurationError { ConfigurationError(.badFile, "\(path):\(line)", cause) }
            guard case .scalar(let value) = events[index + 1].kind else {
                throw refused("\(key.text.shown) must be a single value, not a list or a mapping")
            }
            guard !value.isNull else { throw refused("\(key.text.shown) has no value") }
            if let first = lines.updateValue(line, forKey: key.text) {
                throw refused("\(key.text.shown) is given twice, first on line \(first)")
            }
            entries.append(Entry(key: key.text, value: value.text, line: line))
            index += 2
        }
        if events[index].kind != .mappingEnd {
            throw ConfigurationError(.badFile, "\(path):\(events[index].line)", "a key must be a single word")
        }
        // After the mapping: its document's end, then the stream's.
        guard events[index + 2].kind == .streamEnd else {
            throw ConfigurationError(.badFile, "\(path):\(events[index + 2].line)", "a second document begins; only one is read")
        }
    }

    /// True at a mapping's first event; false when the file holds nothing but comments.
    private static func enterMapping(
        _ events: [YAMLEvents.Event], _ index: inout Int, _ path: String
    ) throws(ConfigurationError) -> Bool {
        for (position, event) in events.enumerated() {
            switch event.kind {
            case .streamStart, .documentStart, .documentEnd: continue
            case .streamEnd: return false
            case .scalar(let value) where value.isNull: continue
            case .mappingStart:
                index = position + 1
                return true
            case .scalar, .sequenceStart, .sequenceEnd, .mappingEnd:
                throw ConfigurationError(.badFile, "\(path):\(event.line)", "not lines of `key: value`")
            }
        }
        return false
    }
}
