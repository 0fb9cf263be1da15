/// What the agent counts, for Prometheus.
///
/// One `Metrics` is made at start and passed by hand. A part registers its families once and keeps the handles; each
/// call on a handle takes the family's own lock for a dictionary look-up, so it belongs on control paths and not on a packet's.
/// A scrape (`exposition()`) locks one family after another and never stops the counting for long. The number of label
/// sets of a family is bounded: what comes after the limit is counted under the label value `other`.
import Synchronization

package final class Metrics: Sendable {
    /// The media type of `exposition()`: Prometheus text format 0.0.4.
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private let families = Mutex<[String: MetricFamily]>([:])
    private let seriesLimit: Int

    /// - Parameter seriesLimit: how many label sets each family keeps apart.
    package init(seriesLimit: Int = 1000) {
        self.seriesLimit = seriesLimit
    }

    /// A number that only grows; by custom its name ends in `_total`.
    package func counter(_ name: String, _ help: String, labels: [String] = []) -> Counter {
        Counter(family: register(MetricFamily(name, help, .counter, labels: labels, limit: seriesLimit)))
    }

    /// A number that goes up and down.
    package func gauge(_ name: String, _ help: String, labels: [String] = []) -> Gauge {
        Gauge(family: register(MetricFamily(name, help, .gauge, labels: labels, limit: seriesLimit)))
    }

    /// How often a value was at most each of `buckets` (ascending); by custom in seconds, with a name in `_seconds`.
    package func histogram(
        _ name: String, _ help: String, labels: [String] = [], buckets: [Double] = Histogram.secondsBuckets
    ) -> Histogram {
        Histogram(family: register(MetricFamily(name, help, .histogram, labels: labels, buckets: buckets, limit: seriesLimit)))
    }

    /// Every family in the text format 0.0.4, sorted by name and labels.
    package func exposition() -> String {
        let sorted = families.withLock { $0.values.sorted { $0.name < $1.name } }
        var text = ""
        for family in sorted { family.write(to: &text) }
        return text
    }

    /// The family of that name; the first registration counts. Two different ones of one name are our own bug.
    private func register(_ family: MetricFamily) -> MetricFamily {
        families.withLock { families in
            if let known = families[family.name] {
                precondition(known.hasShape(of: family), "metric \(family.name) is registered twice, differently")
                return known
            }
            families[family.name] = family
            return family
        }
    }
}

/// Label values are given in the order in which the labels were registered, one for each.
package struct Counter: Sendable {
    fileprivate let family: MetricFamily

    package func increment(_ labels: String..., by amount: Double = 1) {
        precondition(amount >= 0, "counter \(family.name) cannot go down")
        family.update(labels) { $0.value += amount }
    }

    /// For a total that something else keeps, such as the kernel; Prometheus takes a lower value for a restart from zero.
    package func set(total: Double, _ labels: String...) {
        family.update(labels) { $0.value = total }
    }

    package func value(_ labels: String...) -> Double { family.series(labels)?.value ?? 0 }
    package func remove(_ labels: String...) { family.remove(labels) }
}

package struct Gauge: Sendable {
    fileprivate let family: MetricFamily

    package func set(_ value: Double, _ labels: String...) {
        family.update(labels) { $0.value = value }
    }
    package func add(_ amount: Double, _ labels: String...) {
        family.update(labels) { $0.value += amount }
    }
    /// All label sets at once: those not named vanish, as for a list of networks that was read anew.
    package func replaceAll(_ values: [[String]: Double]) { family.replaceAll(values) }
    package func remove(_ labels: String...) { family.remove(labels) }
    package func value(_ labels: String...) -> Double? { family.series(labels)?.value }
}

package struct Histogram: Sendable {
    /// From 1 ms to 10 s.
    package static let secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

    fileprivate let family: MetricFamily

    /// A value that is not a number is ignored.
    package func observe(_ value: Double, _ labels: String...) { record(value, labels) }

    /// Counted in seconds.
    package func observe(_ duration: Duration, _ labels: String...) {
        let (seconds, attoseconds) = duration.components
        record(Double(seconds) + Double(attoseconds) / 1e18, labels)
    }

    private func record(_ value: Double, _ labels: [String]) {
        guard !value.isNaN else { return }
        let bucket = family.buckets.firstIndex { value <= $0 }
        family.update(labels) { series in
            series.value += value
            series.count += 1
            if let bucket { series.buckets[bucket] += 1 }
        }
    }
}
