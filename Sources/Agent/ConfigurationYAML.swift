/// libyaml's events as values.
import CYaml

enum YAMLEvents {
    struct Scalar: Equatable {
        var text: String
        /// Nothing, `~` or `null`, not in quotes.
        var isNull: Bool
    }

    enum Kind: Equatable {
        case streamStart, streamEnd, documentStart, documentEnd
        case scalar(Scalar)
        case sequenceStart, sequenceEnd, mappingStart, mappingEnd
    }

    struct Event {
        var kind: Kind
        /// Counted from 1.
        var line: Int
    }

    /// All events from the stream's start to its end; well nested, as libyaml guarantees. Anchors, aliases and tags are refused.
    static func all(_ bytes: [UInt8], path: String) throws(ConfigurationError) -> [Event] {
        let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
        defer { parser.deallocate() }
        guard yaml_parser_initialize(parser) == 1 else {
            throw ConfigurationError(.badFile, path, "no memory to read it")
        }
        defer { yaml_parser_delete(parser) }
        return try bytes.withUnsafeBufferPointer { buffer throws(ConfigurationError) in
            yaml_parser_set_input_string(parser, buffer.baseAddress, buffer.count)
            var events: [Event] = []
            repeat { events.append(try next(parser, path)) } while events.last?.kind != .streamEnd
            return events
        }
    }

    private static func next(_ parser: UnsafeMutablePointer<yaml_parser_t>, _ path: String) throws(ConfigurationError) -> Event {
        var event = yaml_event_t()
        guard yaml_parser_parse(parser, &event) == 1 else {
            let problem = parser.pointee.problem.map { String(cString: $0) } ?? "cannot be parsed"
            let line = max(parser.pointee.problem_mark.line, parser.pointee.context_mark.line) + 1
            throw ConfigurationError(.badFile, "\(path):\(line)", "not YAML: \(problem)")
        }
        defer { yaml_event_delete(&event) }
        let line = Int(event.start_mark.line) + 1
        func refused(_ what: String) -> ConfigurationError {
            ConfigurationError(.badFile, "\(path):\(line)", "\(what) are not read here", remedy: "write the value itself")
        }
        switch event.type {
        case YAML_STREAM_START_EVENT: return Event(kind: .streamStart, line: line)
        case YAML_STREAM_END_EVENT: return Event(kind: .streamEnd, line: line)
        case YAML_DOCUMENT_START_EVENT: return Event(kind: .documentStart, line: line)
        case YAML_DOCUMENT_END_EVENT: return Event(kind: .documentEnd, line: line)
        case YAML_SEQUENCE_START_EVENT: return Event(kind: .sequenceStart, line: line)
        case YAML_SEQUENCE_END_EVENT: return Event(kind: .sequenceEnd, line: line)
        case YAML_MAPPING_END_EVENT: return Event(kind: .mappingEnd, line: line)
        case YAML_MAPPING_START_EVENT:
            guard event.data.mapping_start.anchor == nil else { throw refused("anchors (&)") }
            guard event.data.mapping_start.tag == nil else { throw refused("tags (!)") }
            return Event(kind: .mappingStart, line: line)
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            guard scalar.anchor == nil else { throw refused("anchors (&)") }
            guard scalar.tag == nil else { throw refused("tags (!)") }
            let text = String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
            let isNull = scalar.style == YAML_PLAIN_SCALAR_STYLE && ["", "~", "null"].contains(text)
            return Event(kind: .scalar(Scalar(text: text, isNull: isNull)), line: line)
        default: throw refused("aliases (*)")
        }
    }
}
