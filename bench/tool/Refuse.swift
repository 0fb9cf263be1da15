/// A server that is no help: it answers every HTTP request with an error, as an etcd in trouble does, and keeps the count in a file.
import Glibc

func refuse(port: UInt16, count file: String) {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var one: Int32 = 1
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    let isBound = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 }
    }
    guard isBound, listen(listener, 64) == 0 else { die("cannot listen on port \(port)") }
    let body = #"{"error":"etcdserver: request timed out","code":14,"message":"etcdserver: request timed out"}"#
    let answer = Array("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\r\n\(body)".utf8)
    var served = 0
    var request = [UInt8](repeating: 0, count: 64 << 10)
    while true {
        let client = accept(listener, nil, nil)
        guard client >= 0 else { continue }
        // One read is enough: what an agent asks at once is small.
        if recv(client, &request, request.count, 0) > 0 {
            served += 1
            _ = send(client, answer, answer.count, Int32(MSG_NOSIGNAL))
            shutdown(client, Int32(SHUT_WR))
            while recv(client, &request, request.count, 0) > 0 {}
        }
        close(client)
        if let output = fopen(file, "w") {
            fputs("\(served)\n", output)
            fclose(output)
        }
    }
}
