/// Something that happened on the engine.
package struct EngineEvent: Equatable, Sendable {
    /// "network" or "container".
    package var type: String
    /// "create", "connect", "disconnect", "destroy"; "start", "die" …
    package var action: String
    /// The network's or container's id.
    package var id: String
    /// Its name.
    package var name: String
    /// A network's driver is "type", a connected container "container"; a container's labels are among its attributes.
    package var attributes: [String: String]
    /// Nanoseconds since 1970; what `EngineClient.events(since:)` takes.
    package var time: Int64

    package init(type: String, action: String, id: String, name: String, attributes: [String: String] = [:], time: Int64) {
        self.type = type
        self.action = action
        self.id = id
        self.name = name
        self.attributes = attributes
        self.time = time
    }
}

extension EngineEvent {
    init(_ fields: FieldReader) throws(DockerError) {
        type = try fields.text("Type")
        action = try fields.text("Action")
        let actor = try fields.reader("Actor")
        id = try actor.text("ID")
        attributes = try actor.textMap("Attributes")
        name = attributes["name"] ?? ""
        time = try fields.integer("timeNano")
    }
}
