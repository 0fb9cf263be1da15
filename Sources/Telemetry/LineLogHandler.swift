/// swift-log's side of `LogOutput`.
import Logging

struct LineLogHandler: LogHandler {
    private let label: String
    private let output: LogOutput
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    init(label: String, level: Logger.Level, output: LogOutput) {
        self.label = label
        self.output = output
        logLevel = level
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// The nearest source of a key counts: the call, then the provider, then the logger. An error is shown as `error`.
    func log(event: LogEvent) {
        var all = metadata
        if let provided = metadataProvider?.get() { all.merge(provided) { $1 } }
        if let given = event.metadata { all.merge(given) { $1 } }
        if let error = event.error { all["error"] = "\(error)" }
        output.write(
            LogRecord(time: .now(), level: event.level, label: label, message: event.message.description, metadata: all))
    }
}
