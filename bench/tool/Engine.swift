/// What a container costs to run: create, start, wait for its end, remove, by the engine's API, so that no client's start counts.
import Glibc

func runContainers(socket path: String, rounds: Int, networks: [String]) {
    for round in 0...rounds {
        // Alternating, so that none is always first. Round 0 warms up and does not count.
        for network in round.isMultiple(of: 2) ? networks : networks.reversed() {
            var times = [now()]
            let created = request(
                path, "POST", "/containers/create",
                body: #"{"Image":"lab","Cmd":["true"],"HostConfig":{"NetworkMode":"\#(network)"}}"#)
            guard let id = field("Id", of: created) else { die("the engine names no container: \(created)") }
            times.append(now())
            _ = request(path, "POST", "/containers/\(id)/start")
            times.append(now())
            let end = request(path, "POST", "/containers/\(id)/wait?condition=not-running")
            guard end.contains(#""StatusCode":0"#) else { die("the container failed: \(end)") }
            times.append(now())
            _ = request(path, "DELETE", "/containers/\(id)?force=1")
            times.append(now())
            let phases = zip(["create_ms", "start_ms", "wait_ms", "remove_ms"], zip(times, times.dropFirst()))
                .map { "\($0)=\(decimal(($1.1 - $1.0) * 1e3, 1))" }.joined(separator: " ")
            if round > 0 {
                say("round=\(round) network=\(network) \(phases) total_ms=\(decimal((now() - times[0]) * 1e3, 1))")
            }
        }
    }
}

/// The answer's body; dies on any failure.
func request(_ path: String, _ method: String, _ target: String, body: String = "") -> String {
    guard let descriptor = unixClient(path) else { die("nobody listens at \(path)") }
    defer { close(descriptor) }
    send(method, target, body: body, to: descriptor)
    guard isReadable(descriptor, within: 60_000) else { die("\(method) \(target): no answer") }
    let answer = readToEnd(descriptor)
    let parts = answer.split(separator: " ", maxSplits: 2)
    guard parts.count == 3, let status = Int(parts[1]), (200..<300).contains(status) else {
        die("\(method) \(target): \(answer)")
    }
    return answer
}

func send(_ method: String, _ target: String, body: String, to descriptor: Int32) {
    let head = "\(method) \(target) HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
        + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
    let bytes = Array((head + body).utf8)
    guard write(descriptor, bytes, bytes.count) == bytes.count else { die("\(method) \(target): the request is not taken") }
}

func readToEnd(_ descriptor: Int32) -> String {
    var buffer = [UInt8](repeating: 0, count: 65536), bytes: [UInt8] = []
    while case let count = read(descriptor, &buffer, buffer.count), count > 0 { bytes += buffer[..<count] }
    return String(decoding: bytes, as: UTF8.self)
}

/// The first text of that name in the JSON: enough for what is asked here.
private func field(_ name: String, of json: String) -> String? {
    guard let name = json.range(of: "\"\(name)\":\"") else { return nil }
    let rest = json[name.upperBound...]
    return rest.firstIndex(of: "\"").map { String(rest[..<$0]) }
}

extension String {
    /// `Foundation` would be the only other reason for a library of many megabytes.
    fileprivate func range(of text: String) -> Range<String.Index>? {
        let wanted = Array(text.utf8)
        var start = utf8.startIndex
        while start != utf8.endIndex {
            if utf8[start...].starts(with: wanted) { return start..<utf8.index(start, offsetBy: wanted.count) }
            start = utf8.index(after: start)
        }
        return nil
    }
}
