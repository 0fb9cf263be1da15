/// What a container says when it comes to a segment, said in its name: who cached another MAC for its address takes the new one at once.
///
/// On an ordinary segment the newcomer's own gratuitous ARP would do that; here it does not cross, and Docker's containers send none. So when a MAC gets
/// its row in the bridge, each other container of this host is told, by frames out of its port and by no other:
///
///     | ff:ff:ff:ff:ff:ff | MAC | 0x0806 | 1, 0x0800, 6, 4, request, MAC, address, 0, address |                 ARP, RFC 5227 section 3
///     | 33:33:00:00:00:01 | MAC | 0x86dd | IPv6, hop limit 255, from the address to ff02::1 |
///                                        | 136, 0, checksum, override, address, option 2, 1, MAC |              RFC 4861 section 4.4
///
/// It is no state, and nobody waits for it: one that is lost costs the seconds in which a cache tries an old MAC.
package import Addressing
import CLinux
import Fabric
import Glibc

package enum Announcement {
    /// The whole frame.
    package static func frame(_ address: IPAddress, _ mac: MACAddress) -> [UInt8] {
        address.family == .v4 ? request(address, mac) : advertisement(address, mac)
    }

    private static func request(_ address: IPAddress, _ mac: MACAddress) -> [UInt8] {
        let header = [UInt8](repeating: 0xff, count: 6) + mac.bytes + [0x08, 0x06]
        return header + [0, 1, 0x08, 0, 6, 4, 0, 1] + mac.bytes + address.bytes + [UInt8](repeating: 0, count: 6) + address.bytes
    }

    private static func advertisement(_ address: IPAddress, _ mac: MACAddress) -> [UInt8] {
        let all = IPAddress(.v6, bits: 0xff02 << 112 | 1)
        var body: [UInt8] = [136, 0, 0, 0, 0x20, 0, 0, 0] + address.bytes + [2, 1] + mac.bytes
        // RFC 8200 section 8.1.
        let sum = checksum(address.bytes + all.bytes + [0, 0, 0, UInt8(body.count), 0, 0, 0, UInt8(IPPROTO_ICMPV6)] + body)
        (body[2], body[3]) = (UInt8(sum >> 8), UInt8(sum & 0xff))
        let header = [0x33, 0x33, 0, 0, 0, 1] + mac.bytes + [0x86, 0xdd]
        return header + [0x60, 0, 0, 0, 0, UInt8(body.count), UInt8(IPPROTO_ICMPV6), 255] + address.bytes + all.bytes + body
    }

    /// RFC 1071, of an even number of bytes.
    private static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum = stride(from: 0, to: bytes.count - 1, by: 2).reduce(UInt32(0)) { $0 + UInt32(bytes[$1]) << 8 + UInt32(bytes[$1 + 1]) }
        while sum >> 16 != 0 { sum = sum & 0xffff + sum >> 16 }
        return ~UInt16(truncatingIfNeeded: sum)
    }
}

extension LinuxKernel {
    /// At once; more than so many are not said.
    private static let mostFrames = 4096

    /// - Parameter stations: MACs that have just got their rows, and the ports behind which they are.
    func announce(_ stations: [(mac: MACAddress, port: String)], _ namespace: Namespace) throws(KernelError) {
        // So many at once are a first laying-out, where nobody remembers anything.
        guard !stations.isEmpty, stations.count <= 64 else { return }
        try drain(namespace)
        let ports = Dictionary(stations.map { ($0.mac, $0.port) }) { $1 }
        let listeners = namespace.mirror.state.links.filter { $0.key.hasPrefix(Desired.endpointPrefix) && $0.value.port != nil }.keys
            .compactMap { name in namespace.mirror.index(of: name).map { (name: name, index: $0) } }
        guard !listeners.isEmpty else { return }
        var frames: [(index: UInt32, bytes: [UInt8])] = []
        for (key, mac) in namespace.mirror.state.neighbors where namespace.mirror.state.links[key.link]?.kind == .bridge {
            guard let own = ports[mac] else { continue }
            let bytes = Announcement.frame(key.address, mac)
            // To itself it would say that another has its address.
            for listener in listeners where listener.name != own { frames.append((listener.index, bytes)) }
            if frames.count > Self.mostFrames { break }
        }
        guard !frames.isEmpty else { return }
        let all = frames
        try Thread.run(in: namespace.descriptor, "announce containers in \(namespace.id)") { () throws(KernelError) in
            let socket = linux_frame_socket()
            // A unit of before does not allow it: caches end by themselves, some seconds later.
            guard socket >= 0 else { return }
            defer { close(socket) }
            for frame in all { _ = linux_send_frame(socket, Int32(bitPattern: frame.index), frame.bytes, UInt(frame.bytes.count)) }
        }
    }
}
