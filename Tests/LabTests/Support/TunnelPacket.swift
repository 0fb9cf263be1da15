/// The payload of a UDP datagram that a VXLAN device takes for a peer's: header, Ethernet, IPv4, UDP.
import Addressing

struct TunnelPacket {
    let vni: UInt32
    /// Of the device that is to receive it.
    let mac: MACAddress
    let source: IPAddress
    let destination: IPAddress
    let text: String

    var bytes: [UInt8] {
        // RFC 7348 section 5: flag I, the VNI in the upper 24 bits of the second word.
        let vxlan: [UInt8] = [0x08, 0, 0, 0] + big(vni << 8)
        let ethernet = Array(big(mac.bits).suffix(6)) + [0x02, 0, 0, 0, 0, 0x01] + [0x08, 0x00]
        let payload = Array(text.utf8)
        // RFC 768; without checksum, as IPv4 permits.
        let udp = big(UInt16(9001)) + big(UInt16(9000)) + big(UInt16(8 + payload.count)) + [0, 0] + payload
        // RFC 791 section 3.1.
        var ip: [UInt8] = [0x45, 0] + big(UInt16(20 + udp.count)) + [0, 0, 0x40, 0, 64, 17, 0, 0]
            + big(UInt32(truncatingIfNeeded: source.bits)) + big(UInt32(truncatingIfNeeded: destination.bits))
        let sum = stride(from: 0, to: ip.count, by: 2).reduce(UInt32(0)) { $0 + UInt32(ip[$1]) << 8 + UInt32(ip[$1 + 1]) }
        let checksum = ~UInt16(truncatingIfNeeded: sum & 0xffff + sum >> 16)
        ip.replaceSubrange(10..<12, with: big(checksum))
        return vxlan + ethernet + ip + udp
    }

    private func big<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
        stride(from: Value.bitWidth - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> $0) }
    }
}
