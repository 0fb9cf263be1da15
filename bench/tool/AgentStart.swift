/// An agent's start, as the kernel and Docker see it.
///
/// This program runs in the network's namespace and subscribes to its routes, neighbours and forwarding rows (rtnetlink(7)) before
/// the agent is started. So it sees each row at the moment it is there, and costs the kernel what any subscriber does. Beside
/// that it tries each millisecond whether the plugin socket answers `Plugin.Activate`. All times begin before the agent's exec.
///
/// In the end the agent's memory is read, and it is stopped:
///
///     answer_ms=81.2 routes_ms=402.7 peak_kb=38100 resident_kb=35200 stop_ms=35.1 status=0
import Glibc

/// Seconds after which waiting is over.
private let patience = 60.0

func watchStart(routes: Int, socket: String, log: String, command: [String]) {
    let feed = subscribe()
    var seen = Seen()
    let begin = now()
    let agent = spawn(command, log: log)
    var answered: Double?, complete: Double? = routes == 0 ? begin : nil
    var call: Int32?
    while answered == nil || complete == nil {
        guard now() - begin < patience else {
            kill(agent, SIGKILL)
            die("after \(Int(patience)) s: answered \(answered != nil), \(seen)")
        }
        if isReadable(feed, within: 1) { seen.read(feed) }
        if complete == nil, seen.isComplete(routes) { complete = now() }
        guard answered == nil else { continue }
        if call == nil, let descriptor = unixClient(socket) {
            send("POST", "/Plugin.Activate", body: "", to: descriptor)
            call = descriptor
        }
        if let descriptor = call, isReadable(descriptor, within: 0) {
            answered = now()
            guard readToEnd(descriptor).contains("NetworkDriver") else { die("the plugin's answer is wrong") }
        }
    }
    // What the start left to do, as the replica on disk, counts for the peak too.
    sleep(2)
    let memory = ["peak_kb": "VmHWM:", "resident_kb": "VmRSS:"].mapValues { status(agent, $0) }
    let stop = now()
    kill(agent, SIGTERM)
    let exit = wait(for: agent)
    print(
        "answer_ms=\(decimal(((answered ?? .nan) - begin) * 1e3, 1)) routes_ms=\(decimal(((complete ?? .nan) - begin) * 1e3, 1))",
        "peak_kb=\(memory["peak_kb", default: 0]) resident_kb=\(memory["resident_kb", default: 0])",
        "stop_ms=\(decimal((now() - stop) * 1e3, 1)) status=\(exit)")
}

/// A number of /proc/PID/status.
private func status(_ process: pid_t, _ name: String) -> Int {
    let descriptor = check(open("/proc/\(process)/status", O_RDONLY), "the agent is gone")
    defer { close(descriptor) }
    let line = readToEnd(descriptor).split(separator: "\n").first { $0.hasPrefix(name) }
    return line?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap { Int($0) } ?? 0
}

// MARK: rtnetlink

// linux/rtnetlink.h
private let newRoute: UInt16 = 24, newNeighbor: UInt16 = 28
private let neighborGroup: UInt32 = 0x4, routeGroup: UInt32 = 0x40
private let bridgeFamily: UInt8 = 7

/// What has come since the start. Each row of the agent is announced once.
private struct Seen {
    var routes = 0, neighbors = 0, forwarding = 0

    func isComplete(_ count: Int) -> Bool { routes >= count && neighbors >= count && forwarding >= count }

    mutating func read(_ feed: Int32) {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = recv(feed, &buffer, buffer.count, dontWait), count != 0 {
            guard count > 0 else {
                guard errno == EAGAIN else { die("the kernel's announcements were lost: \(String(cString: strerror(errno)))") }
                return
            }
            note(buffer[..<count])
        }
    }

    /// struct nlmsghdr: length (4), type (2), flags (2), sequence (4), port (4); then a struct whose first byte is the family.
    private mutating func note(_ bytes: ArraySlice<UInt8>) {
        var rest = bytes
        while rest.count > 16 {
            let (length, type, family) = rest.withUnsafeBytes {
                (Int($0.loadUnaligned(as: UInt32.self)), $0.loadUnaligned(fromByteOffset: 4, as: UInt16.self), $0[16])
            }
            guard length >= 16 else { return }
            switch (type, family) {
            case (newRoute, _): routes += 1
            case (newNeighbor, bridgeFamily): forwarding += 1
            case (newNeighbor, _): neighbors += 1
            default: break
            }
            rest = rest.dropFirst((length + 3) & ~3)
        }
    }
}

private func subscribe() -> Int32 {
    let feed = check(socket(AF_NETLINK, Int32(SOCK_RAW.rawValue), 0), "netlink socket")
    var bytes: Int32 = 64 << 20
    check(setsockopt(feed, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, socklen_t(MemoryLayout<Int32>.size)), "SO_RCVBUFFORCE")
    // struct sockaddr_nl: family (2), padding (2), port (4), groups (4).
    var name: (UInt16, UInt16, UInt32, UInt32) = (UInt16(AF_NETLINK), 0, 0, neighborGroup | routeGroup)
    let length = socklen_t(MemoryLayout.size(ofValue: name))
    check(
        withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(feed, $0, length) }
        }, "subscribe")
    return feed
}
