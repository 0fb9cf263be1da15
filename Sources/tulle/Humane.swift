/// Numbers and times as people say them.
import LocalAPI

enum Humane {
    /// In the largest unit that fits, rounded down: "3 s", "5 min", "2 h", "4 d". Less than nothing is nothing.
    static func duration(seconds: Int64) -> String {
        switch seconds {
        case ..<0: "0 s"
        case ..<60: "\(seconds) s"
        case ..<3600: "\(seconds / 60) min"
        case ..<86_400: "\(seconds / 3600) h"
        default: "\(seconds / 86_400) d"
        }
    }

    static func age(_ time: Timestamp?, now: Timestamp) -> String? {
        time.map { duration(seconds: now.since($0).components.seconds) }
    }

    /// "1 node", "2 nodes".
    static func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }

    /// The first digits of an id, enough to tell ids apart.
    static func short(_ id: String) -> String { String(id.prefix(12)) }
}
