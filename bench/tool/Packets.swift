/// Small packets: how many get through, and how long one takes there and back.
///
/// A packet has 64 bytes with its IPv4 and UDP headers, so 36 of ours. One system call sends one packet, as ordinary programs do.
import Glibc

private let payload = 64 - 20 - 8

func flood(to host: String, port: UInt16, seconds: Int) {
    let descriptor = udpClient(host, port: port)
    let packet = [UInt8](repeating: 0x54, count: payload)
    let end = now() + Double(seconds)
    var sent = 0
    while now() < end {
        // Where the queue is full the kernel says so, and the packet does not count.
        for _ in 0..<64 where send(descriptor, packet, packet.count, 0) == packet.count { sent += 1 }
    }
    print("sent=\(sent)")
}

func sink(port: UInt16) {
    let descriptor = udpServer(port: port)
    var packet = [UInt8](repeating: 0, count: 2048)
    var received = 0
    say("ready=1")
    guard isReadable(descriptor, within: 10_000) else { die("nothing came") }
    while isReadable(descriptor, within: 500) {
        while recv(descriptor, &packet, packet.count, dontWait) > 0 { received += 1 }
    }
    print("received=\(received)")
}

func echo(port: UInt16) {
    let descriptor = udpServer(port: port)
    var packet = [UInt8](repeating: 0, count: 2048)
    var sender = sockaddr_storage()
    say("ready=1")
    guard isReadable(descriptor, within: 10_000) else { die("nothing came") }
    var timeout = timeval(tv_sec: 1, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    while true {
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let isOver = withUnsafeMutablePointer(to: &sender) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
                let count = recvfrom(descriptor, &packet, packet.count, 0, name, &length)
                return count <= 0 || sendto(descriptor, packet, count, 0, name, length) < 0
            }
        }
        if isOver { return }
    }
}

func ping(_ host: String, port: UInt16, seconds: Int) {
    let descriptor = udpClient(host, port: port)
    var timeout = timeval(tv_sec: 0, tv_usec: 200_000)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    var packet = [UInt8](repeating: 0x54, count: payload)
    var times: [Double] = []
    var lost = 0
    let end = now() + Double(seconds)
    while now() < end {
        let begin = now()
        send(descriptor, packet, packet.count, 0)
        if recv(descriptor, &packet, packet.count, 0) > 0 { times.append((now() - begin) * 1e6) } else { lost += 1 }
    }
    guard times.count > 100 else { die("\(times.count) answers, \(lost) lost") }
    print("count=\(times.count) lost=\(lost) p50_us=\(decimal(times.quantile(0.5), 1)) p99_us=\(decimal(times.quantile(0.99), 1))")
}
