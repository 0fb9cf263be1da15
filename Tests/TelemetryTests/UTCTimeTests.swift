import Glibc
import Testing

@testable import Telemetry

@Suite struct UTCTimeTests {
    @Test(
        "known moments",
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_323_045_678, "2026-01-02T03:04:05.678Z"), (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ])
    func known(milliseconds: Int64, text: String) {
        #expect(UTCTime(milliseconds: milliseconds).text == text)
    }

    @Test("any moment is what the C library says")
    func random() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<5000 {
            let seconds = Int.random(in: -2_000_000_000...100_000_000_000, using: &generator)
            var time = time_t(seconds)
            var parts = tm()
            gmtime_r(&time, &parts)
            let numbers = UTCTime(milliseconds: Int64(seconds) * 1000).text.split { !$0.isNumber }.compactMap { Int32($0) }
            #expect(
                numbers == [parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, 0],
                "\(seconds)")
        }
    }
}
