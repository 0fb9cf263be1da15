/// Clock, failure, sockets and child processes, as far as the other files need them.
import Glibc

func die(_ message: String) -> Never {
    let text = "bench-tool: \(message)\n"
    _ = text.withCString { write(2, $0, strlen($0)) }
    exit(1)
}

/// Dies with errno's text where a system call gave −1.
@discardableResult
func check<Result: SignedInteger>(_ result: Result, _ what: String) -> Result {
    guard result >= 0 else { die("\(what): \(String(cString: strerror(errno)))") }
    return result
}

/// A line of results, at once: somebody may wait for it.
func say(_ line: String) {
    print(line)
    fflush(nil)
}

/// CLOCK_MONOTONIC, seconds.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// With so many digits after the point.
func decimal(_ value: Double, _ digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let rounded = Int((value * scale).rounded())
    let fraction = String(rounded % Int(scale))
    guard digits > 0 else { return String(rounded) }
    return "\(rounded / Int(scale)).\(String(repeating: "0", count: digits - fraction.count))\(fraction)"
}

extension [Double] {
    /// The smallest value that is not below that share of all.
    func quantile(_ share: Double) -> Double {
        isEmpty ? .nan : sorted()[Swift.min(count - 1, Int((Double(count) * share).rounded(.down)))]
    }
}

// MARK: Sockets

let dontWait = Int32(MSG_DONTWAIT)

private func withIPv4<Result>(
    _ address: in_addr, port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
) -> Result {
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = port.bigEndian
    name.sin_addr = address
    return withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
}

private func udpSocket() -> Int32 {
    let descriptor = check(socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0), "socket")
    var bytes: Int32 = 4 << 20
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, socklen_t(MemoryLayout<Int32>.size))
    return descriptor
}

func udpClient(_ host: String, port: UInt16) -> Int32 {
    var address = in_addr()
    guard inet_pton(AF_INET, host, &address) == 1 else { die("no IPv4 address: \(host)") }
    let descriptor = udpSocket()
    check(withIPv4(address, port: port) { connect(descriptor, $0, $1) }, "connect to \(host)")
    return descriptor
}

func udpServer(port: UInt16) -> Int32 {
    let descriptor = udpSocket()
    check(withIPv4(in_addr(s_addr: 0), port: port) { bind(descriptor, $0, $1) }, "bind port \(port)")
    return descriptor
}

/// nil while nobody listens there.
func unixClient(_ path: String) -> Int32? {
    var name = sockaddr_un()
    name.sun_family = sa_family_t(AF_UNIX)
    guard path.utf8.count < MemoryLayout.size(ofValue: name.sun_path) else { die("the path of a socket is too long: \(path)") }
    withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8) }
    let descriptor = check(socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0), "socket")
    let result = withUnsafePointer(to: &name) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
    guard result == 0 else {
        close(descriptor)
        return nil
    }
    return descriptor
}

/// Whether something is to be read within so many milliseconds.
func isReadable(_ descriptor: Int32, within milliseconds: Int32) -> Bool {
    var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&request, 1, milliseconds) > 0
}

// MARK: Processes

/// - Parameter log: where its output is appended; /dev/null throws it away.
func spawn(_ command: [String], log: String) -> pid_t {
    guard let program = command.first else { die("a command is missing") }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    var words = command.map { strdup($0) }
    words.append(nil)
    var child: pid_t = 0
    let code = posix_spawnp(&child, program, &actions, nil, words, environ)
    guard code == 0 else { die("\(program): \(String(cString: strerror(code)))") }
    posix_spawn_file_actions_destroy(&actions)
    for word in words { free(word) }
    return child
}

/// The exit status, or 128 and the signal's number; waits as long as it takes.
func wait(for child: pid_t) -> Int {
    var status: Int32 = 0
    check(waitpid(child, &status, 0), "waitpid")
    return Int(status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f)
}

func timeProgram(count: Int, command: [String]) {
    for _ in 0..<count {
        let begin = now()
        guard wait(for: spawn(command, log: "/dev/null")) == 0 else { die("it failed: \(command)") }
        print("ms=\(decimal((now() - begin) * 1e3, 2))")
    }
}
