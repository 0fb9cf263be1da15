import Glibc
import Logging
import Testing

@testable import Telemetry

/// A pipe; both ends are closed with it.
private final class Pipe {
    let reader: Int32
    let writer: Int32
    private var isReaderOpen = true

    init() throws {
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        (reader, writer) = (ends[0], ends[1])
        _ = fcntl(reader, F_SETFL, O_NONBLOCK)
    }
    deinit {
        closeReader()
        close(writer)
    }
    func closeReader() {
        if isReaderOpen { close(reader) }
        isReaderOpen = false
    }
}

/// What can be read without waiting.
private func drain(_ descriptor: Int32) -> [String] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = recvOrRead(descriptor, &chunk)
        guard count > 0 else { break }
        bytes += chunk[..<count]
    }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
}
private func recvOrRead(_ descriptor: Int32, _ chunk: inout [UInt8]) -> Int { read(descriptor, &chunk, chunk.count) }

@Suite(.serialized) struct LogOutputTests {
    @Test("a logger's lines come out of the pipe, with the metadata of the logger and of the call")
    func lines() throws {
        let pipe = try Pipe()
        var logger = LogOutput(descriptor: pipe.writer, level: .info).logger("agent")
        logger[metadataKey: "node"] = "n1"
        logger.info("started", metadata: ["port": "7940"])
        logger.debug("unseen")
        logger.error("failed", metadata: ["node": "other"])
        let lines = drain(pipe.reader).map { $0.split(separator: " ", maxSplits: 1).last.map(String.init) }
        #expect(lines == ["info agent: started node=n1 port=7940", "error agent: failed node=other"])
    }

    @Test("the given descriptor keeps its blocking mode, which others share")
    func mode() throws {
        let pipe = try Pipe()
        let before = fcntl(pipe.writer, F_GETFL)
        LogOutput(descriptor: pipe.writer).logger("a").info("x")
        #expect(fcntl(pipe.writer, F_GETFL) == before)
        #expect(before & O_NONBLOCK == 0)
    }

    @Test("a reader that stopped reading delays nobody, and hears later how many lines it missed")
    func slowReader() throws {
        let pipe = try Pipe()
        let logger = LogOutput(descriptor: pipe.writer, format: .json).logger("agent")
        let began = ContinuousClock.now
        for number in 0..<20_000 { logger.info("line", metadata: ["number": "\(number)"]) }
        #expect(ContinuousClock.now - began < .seconds(8))
        let kept = drain(pipe.reader)
        #expect(kept.count > 100 && kept.count < 20_000)
        #expect(kept.allSatisfy { $0.hasPrefix("{") && $0.hasSuffix("}") })
        logger.info("again")
        let late = drain(pipe.reader)
        #expect(late.count == 2)
        #expect(late.first?.contains("\"\(20_000 - kept.count) log lines were dropped: their reader was too slow\"") == true)
        #expect(late.last?.contains("\"again\"") == true)
    }

    @Test("a stream socket whose reader stopped gets whole lines only")
    func socketReader() throws {
        var ends: [Int32] = [-1, -1]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        defer { ends.forEach { close($0) } }
        _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
        let logger = LogOutput(descriptor: ends[1]).logger("agent")
        let text = String(repeating: "x", count: 1900)
        for _ in 0..<2000 { logger.info("\(text)") }
        var lines = drain(ends[0])
        #expect(lines.count < 2000)
        logger.info("last")
        lines += drain(ends[0])
        #expect(lines.allSatisfy { $0.contains("Z info agent: x") || $0.contains("log lines were dropped") || $0.hasSuffix(": last") })
        #expect(lines.last?.hasSuffix("info agent: last") == true)
    }

    @Test("a pipe that nobody reads any more is no error")
    func broken() throws {
        signal(SIGPIPE, SIG_IGN)
        let pipe = try Pipe()
        let logger = LogOutput(descriptor: pipe.writer).logger("agent")
        pipe.closeReader()
        let began = ContinuousClock.now
        for _ in 0..<100 { logger.info("x") }
        #expect(ContinuousClock.now - began < .seconds(2))
    }

    @Test("a file is appended to where others left it")
    func file() throws {
        var path = Array("/tmp/tulle-log-XXXXXX".utf8CString)
        let descriptor = mkstemp(&path)
        try #require(descriptor >= 0)
        defer {
            unlink(path)
            close(descriptor)
        }
        let logger = LogOutput(descriptor: descriptor).logger("a")
        logger.info("one")
        _ = write(descriptor, "two\n", 4)
        logger.info("three")
        lseek(descriptor, 0, SEEK_SET)
        let ends = drain(descriptor).map { $0.split(separator: " ").last.map(String.init) }
        #expect(ends == ["one", "two", "three"])
    }

    @Test("an error given to the logger is shown as metadata")
    func error() throws {
        let pipe = try Pipe()
        LogOutput(descriptor: pipe.writer).logger("a").log(level: .warning, "m", error: TelemetryError(code: .notifyFailed, operation: "o", cause: "c"))
        #expect(drain(pipe.reader).first?.hasSuffix("warning a: m error=\"o: c\"") == true)
    }
}

@Suite struct RepeatLimiterTests {
    @Test("one message a key and interval passes, and tells how many were held back")
    func interval() {
        let limiter = RepeatLimiter(interval: .seconds(60))
        let start = ContinuousClock.now
        #expect(limiter.admit("a", at: start) == 0)
        #expect(limiter.admit("a", at: start + .seconds(1)) == nil)
        #expect(limiter.admit("b", at: start + .seconds(1)) == 0)
        #expect(limiter.admit("a", at: start + .seconds(59)) == nil)
        #expect(limiter.admit("a", at: start + .seconds(60)) == 2)
        #expect(limiter.admit("a", at: start + .seconds(61)) == nil)
        limiter.forget("a")
        #expect(limiter.admit("a", at: start + .seconds(62)) == 0)
    }

    @Test("the keys are bounded: the oldest is forgotten")
    func bounded() {
        let limiter = RepeatLimiter(interval: .seconds(60), capacity: 2)
        let start = ContinuousClock.now
        for (index, key) in ["a", "b", "c"].enumerated() { #expect(limiter.admit(key, at: start + .seconds(index)) == 0) }
        #expect(limiter.admit("c", at: start + .seconds(4)) == nil)
        #expect(limiter.admit("b", at: start + .seconds(4)) == nil)
        #expect(limiter.admit("a", at: start + .seconds(4)) == 0)
    }

    @Test("the message that passes has the number of repetitions after it")
    func suffix() throws {
        let pipe = try Pipe()
        let logger = LogOutput(descriptor: pipe.writer).logger("a")
        let limiter = RepeatLimiter(interval: .seconds(60))
        let start = ContinuousClock.now
        for second in [0, 1, 60, 61, 62, 120] {
            limiter.log(to: logger, .warning, key: "k", "away", metadata: ["s": "\(second)"], at: start + .seconds(second))
        }
        let lines = drain(pipe.reader).compactMap { $0.split(separator: ":", maxSplits: 3).last.map(String.init) }
        #expect(lines == [" away s=0", " away (repeated once) s=60", " away (repeated 2 times) s=120"])
    }
}
