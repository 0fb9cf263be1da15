import Telemetry
import Testing

@Suite struct MetricsTests {
    @Test("the exposition is the text format 0.0.4, sorted by name and labels")
    func exposition() {
        let metrics = Metrics()
        let steps = metrics.counter("tulle_steps_total", "Steps applied.", labels: ["kind", "result"])
        steps.increment("route", "ok", by: 3)
        steps.increment("link", "failed")
        steps.increment("route", "ok")
        metrics.gauge("tulle_networks", "Networks here.").set(2.5)
        let wait = metrics.histogram("tulle_wait_seconds", "Waiting.", labels: ["for"], buckets: [0.1, 1])
        wait.observe(0.05, "store")
        wait.observe(.milliseconds(100), "store")
        wait.observe(0.5, "store")
        wait.observe(7, "store")
        #expect(
            metrics.exposition() == """
                # HELP tulle_networks Networks here.
                # TYPE tulle_networks gauge
                tulle_networks 2.5
                # HELP tulle_steps_total Steps applied.
                # TYPE tulle_steps_total counter
                tulle_steps_total{kind="link",result="failed"} 1
                tulle_steps_total{kind="route",result="ok"} 4
                # HELP tulle_wait_seconds Waiting.
                # TYPE tulle_wait_seconds histogram
                tulle_wait_seconds_bucket{for="store",le="0.1"} 2
                tulle_wait_seconds_bucket{for="store",le="1"} 3
                tulle_wait_seconds_bucket{for="store",le="+Inf"} 4
                tulle_wait_seconds_sum{for="store"} 7.65
                tulle_wait_seconds_count{for="store"} 4

                """)
    }

    @Test("help and label values are escaped")
    func escaping() {
        let metrics = Metrics()
        metrics.gauge("g", "a\\b\n\"c\"", labels: ["l"]).set(1, "a\\b\n\"c\"")
        #expect(metrics.exposition() == "# HELP g a\\\\b\\n\"c\"\n# TYPE g gauge\ng{l=\"a\\\\b\\n\\\"c\\\"\"} 1\n")
    }

    @Test(
        "numbers are written as Prometheus reads them",
        arguments: [
            (0.0, "0"), (-3, "-3"), (0.25, "0.25"), (1e15, "1000000000000000"), (1e300, "1e+300"), (.nan, "NaN"), (.infinity, "+Inf"),
            (-.infinity, "-Inf"),
        ])
    func numbers(value: Double, text: String) {
        let metrics = Metrics()
        metrics.gauge("g", "h").set(value)
        #expect(metrics.exposition().hasSuffix("\ng \(text)\n"))
    }

    @Test("a family without labels is there from the start, with zero")
    func zero() {
        let metrics = Metrics()
        _ = metrics.counter("c", "h")
        _ = metrics.counter("labelled", "h", labels: ["a"])
        #expect(metrics.exposition() == "# HELP c h\n# TYPE c counter\nc 0\n# HELP labelled h\n# TYPE labelled counter\n")
    }

    @Test("label sets past the limit are counted together as other")
    func limit() {
        let metrics = Metrics(seriesLimit: 2)
        let counter = metrics.counter("c", "h", labels: ["a"])
        for value in ["x", "y", "z", "x", "w"] { counter.increment(value) }
        #expect(metrics.exposition().hasSuffix("c{a=\"other\"} 2\nc{a=\"x\"} 2\nc{a=\"y\"} 1\n"))
        let gauge = metrics.gauge("g", "h", labels: ["a"])
        gauge.replaceAll([["a"]: 1, ["b"]: 2, ["c"]: 4, ["d"]: 8])
        #expect(metrics.exposition().hasSuffix("g{a=\"a\"} 1\ng{a=\"b\"} 2\ng{a=\"other\"} 12\n"))
    }

    @Test("a long label value is cut, and stays UTF-8")
    func longValue() {
        let metrics = Metrics()
        metrics.gauge("g", "h", labels: ["a"]).set(1, String(repeating: "ä", count: 500) + "\u{0}")
        let line = metrics.exposition().split(separator: "\n").last ?? ""
        #expect(line.utf8.count < 150)
        #expect(!line.contains("\u{fffd}"))
    }

    @Test("replacing and removing take label sets away")
    func removal() {
        let metrics = Metrics()
        let gauge = metrics.gauge("g", "h", labels: ["a"])
        gauge.set(1, "old")
        gauge.replaceAll([["new"]: 2])
        #expect(gauge.value("old") == nil)
        #expect(gauge.value("new") == 2)
        gauge.remove("new")
        #expect(metrics.exposition() == "# HELP g h\n# TYPE g gauge\n")
    }

    @Test("a name registered again is the same family")
    func again() {
        let metrics = Metrics()
        metrics.counter("c", "h").increment()
        let same = metrics.counter("c", "h")
        same.increment(by: 2)
        #expect(same.value() == 3)
        same.set(total: 10)
        #expect(same.value() == 10)
    }

    @Test("nothing is lost when many count at once")
    func concurrency() async {
        let metrics = Metrics()
        let counter = metrics.counter("c", "h", labels: ["a"])
        let histogram = metrics.histogram("s", "h", buckets: [1])
        await withTaskGroup { group in
            for task in 0..<8 {
                group.addTask {
                    for _ in 0..<1000 {
                        counter.increment("\(task % 2)")
                        histogram.observe(0.5)
                    }
                }
            }
        }
        #expect(counter.value("0") == 4000)
        #expect(counter.value("1") == 4000)
        #expect(metrics.exposition().hasSuffix("s_count 8000\n"))
    }
}
