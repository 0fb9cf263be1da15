/// What clients sent to a port, and all that was on the wire: read from a file of tcpdump's (pcap, with the Linux cooked header of `-i any`).
import FoundationEssentials
import TestKit

struct TCPStreams {
    /// The first byte of each client's stream that the capture has from its beginning.
    private(set) var first: [UInt8] = []
    private let bytes: [UInt8]

    /// pcap: a header of 24 bytes, then for each packet 16 bytes, the third word of which is the length of what follows.
    init(file: String, port: UInt16) throws {
        let bytes = Array(try Data(contentsOf: URL(filePath: file)))
        self.bytes = bytes
        guard bytes.count > 24, Array(bytes[0..<4]) == [0xd4, 0xc3, 0xb2, 0xa1] else { throw LabFailure("\(file) is no pcap file") }
        // LINKTYPE_ETHERNET, LINKTYPE_LINUX_SLL, LINKTYPE_LINUX_SLL2.
        guard let header = [1: 14, 113: 16, 276: 20][Int(bytes[20]) | Int(bytes[21]) << 8] else { throw LabFailure("\(file) has an unknown link type") }
        var begun: Set<[UInt8]> = [], spoken: Set<[UInt8]> = []
        var at = 24
        while at + 16 <= bytes.count {
            let length = Int(bytes[at + 8]) | Int(bytes[at + 9]) << 8 | Int(bytes[at + 10]) << 16
            let packet = Array(bytes[min(at + 16, bytes.count)..<min(at + 16 + length, bytes.count)].dropFirst(header))
            at += 16 + length
            // IPv4 (RFC 791), TCP (RFC 9293).
            guard packet.count >= 40, packet[0] >> 4 == 4, packet[9] == 6 else { continue }
            let tcp = Array(packet.dropFirst(Int(packet[0] & 15) * 4))
            let total = Int(packet[2]) << 8 | Int(packet[3])
            guard tcp.count >= 20, UInt16(tcp[2]) << 8 | UInt16(tcp[3]) == port else { continue }
            let stream = Array(packet[12..<20]) + tcp[0..<2]
            if tcp[13] & 0x02 != 0 { begun.insert(stream) }
            let payload = total - Int(packet[0] & 15) * 4 - Int(tcp[12] >> 4) * 4
            guard payload > 0, begun.contains(stream), spoken.insert(stream).inserted else { continue }
            first.append(tcp[Int(tcp[12] >> 4) * 4])
        }
    }

    /// Whether the text was on the wire, within one packet.
    func contain(_ text: String) -> Bool {
        let wanted = Array(text.utf8)
        return bytes.indices.dropLast(wanted.count).contains { bytes[$0] == wanted[0] && bytes[$0..<$0 + wanted.count].elementsEqual(wanted) }
    }
}
