/// One metric name with all its label sets, and how it is printed.
import Synchronization

final class MetricFamily: Sendable {
    enum Kind: String {
        case counter, gauge, histogram
    }

    struct Series {
        /// The count, the gauge's value or the histogram's sum.
        var value: Double = 0
        /// Observations of a histogram.
        var count: UInt64 = 0
        /// Observations that fell into each bucket (not cumulated; those above the last are only in `count`).
        var buckets: [UInt64]
    }

    /// Bytes of a label value that are kept.
    static let labelValueLimit = 128

    let name: String
    let buckets: [Double]
    private let help: String
    private let kind: Kind
    private let labels: [String]
    private let limit: Int
    private let series: Mutex<[[String]: Series]>

    init(_ name: String, _ help: String, _ kind: Kind, labels: [String], buckets: [Double] = [], limit: Int) {
        precondition(Self.isName(name, colons: true), "'\(name)' is no metric name")
        precondition(
            labels.allSatisfy { Self.isName($0, colons: false) && !$0.hasPrefix("__") && $0 != "le" },
            "metric \(name) has a bad label name")
        precondition(zip(buckets, buckets.dropFirst()).allSatisfy(<), "metric \(name): buckets must ascend")
        self.name = name
        self.help = help
        self.kind = kind
        self.labels = labels
        self.buckets = buckets
        self.limit = limit
        // Without labels the one series exists from the start: a rate needs its zero.
        let zero = Series(buckets: Array(repeating: 0, count: buckets.count))
        series = Mutex(labels.isEmpty ? [[]: zero] : [:])
    }

    func hasShape(of other: MetricFamily) -> Bool {
        kind == other.kind && labels == other.labels && buckets == other.buckets
    }

    func update(_ values: [String], _ change: (inout Series) -> Void) {
        let key = key(values)
        series.withLock { update(&$0, key, change) }
    }

    func replaceAll(_ values: [[String]: Double]) {
        let keyed = values.map { (key($0.key), $0.value) }.sorted { $0.0.lexicographicallyPrecedes($1.0) }
        series.withLock { series in
            series.removeAll(keepingCapacity: true)
            // Cut label values may meet, and those past the limit do: they are added up.
            for (key, value) in keyed { update(&series, key) { $0.value += value } }
        }
    }

    func remove(_ values: [String]) {
        let key = key(values)
        series.withLock { _ = $0.removeValue(forKey: key) }
    }

    func series(_ values: [String]) -> Series? {
        let key = key(values)
        return series.withLock { $0[key] }
    }

    private func update(_ series: inout [[String]: Series], _ key: [String], _ change: (inout Series) -> Void) {
        let isNew = series[key] == nil
        let kept = isNew && series.count >= limit ? labels.map { _ in "other" } : key
        change(&series[kept, default: Series(buckets: Array(repeating: 0, count: buckets.count))])
    }

    private func key(_ values: [String]) -> [String] {
        precondition(values.count == labels.count, "metric \(name) has \(labels.count) labels, not \(values.count)")
        return values.map { value in
            value.utf8.count <= Self.labelValueLimit
                ? value : String(decoding: value.utf8.prefix(Self.labelValueLimit), as: UTF8.self)
        }
    }

    /// [a-zA-Z_:][a-zA-Z0-9_:]*, colons in metric names only (Prometheus: "Metric names and labels").
    private static func isName(_ text: String, colons: Bool) -> Bool {
        guard let first = text.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return text.utf8.allSatisfy { byte in
            switch byte {
            case 0x61...0x7a, 0x41...0x5a, 0x30...0x39, UInt8(ascii: "_"): true
            case UInt8(ascii: ":"): colons
            default: false
            }
        }
    }
}

// MARK: Text format 0.0.4

extension MetricFamily {
    func write(to text: inout String) {
        let snapshot = series.withLock { $0 }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        text += "# HELP \(name) \(Self.escape(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
        for (values, series) in snapshot {
            let pairs = zip(labels, values).map { "\($0)=\"\(Self.escape($1, quotes: true))\"" }
            switch kind {
            case .counter, .gauge:
                text += "\(name)\(Self.braces(pairs)) \(Self.number(series.value))\n"
            case .histogram:
                var cumulated: UInt64 = 0
                for (bound, count) in zip(buckets, series.buckets) {
                    cumulated += count
                    text += "\(name)_bucket\(Self.braces(pairs + ["le=\"\(Self.number(bound))\""])) \(cumulated)\n"
                }
                text += "\(name)_bucket\(Self.braces(pairs + ["le=\"+Inf\""])) \(series.count)\n"
                text += "\(name)_sum\(Self.braces(pairs)) \(Self.number(series.value))\n"
                text += "\(name)_count\(Self.braces(pairs)) \(series.count)\n"
            }
        }
    }

    private static func braces(_ pairs: [String]) -> String {
        pairs.isEmpty ? "" : "{" + pairs.joined(separator: ",") + "}"
    }

    /// Backslash and line feed, in label values the double quote too.
    private static func escape(_ text: String, quotes: Bool) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if let whole = Int64(exactly: value) { return String(whole) }
        return value.description
    }
}
