/// Received bytes as messages: bounded views, valid only while the bytes are. The layout is drawn in NetlinkWriter.swift.
import CLinux

/// The messages of one datagram. A message whose length does not fit ends the walk; `isGarbled` then says so.
package struct NetlinkMessages: Sequence, IteratorProtocol {
    private var rest: UnsafeRawBufferPointer
    /// Bytes were left over that are no message.
    package private(set) var isGarbled = false

    package init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

    package mutating func next() -> NetlinkMessage? {
        let size = MemoryLayout<nlmsghdr>.size
        guard !rest.isEmpty else { return nil }
        guard rest.count >= size else {
            isGarbled = true
            return nil
        }
        let header = rest.loadUnaligned(as: nlmsghdr.self)
        let length = Int(header.nlmsg_len)
        guard length >= size, length <= rest.count else {
            isGarbled = true
            return nil
        }
        let payload = UnsafeRawBufferPointer(rebasing: rest[size..<length])
        rest = UnsafeRawBufferPointer(rebasing: rest[Swift.min(NetlinkAlignment.up(length), rest.count)...])
        return NetlinkMessage(
            type: Int(header.nlmsg_type), flags: Int(header.nlmsg_flags), sequence: header.nlmsg_seq, port: header.nlmsg_pid,
            payload: payload)
    }
}

package struct NetlinkMessage {
    package let type: Int
    package let flags: Int
    package let sequence: UInt32
    /// Of the socket that asked; 0 in notifications.
    package let port: UInt32
    /// What follows the 16-byte header.
    package let payload: UnsafeRawBufferPointer

    package init(type: Int, flags: Int, sequence: UInt32, port: UInt32, payload: UnsafeRawBufferPointer) {
        self.type = type
        self.flags = flags
        self.sequence = sequence
        self.port = port
        self.payload = payload
    }

    /// The fixed header of the message's family, such as `ifinfomsg`.
    package func header<Header: BitwiseCopyable>(_ type: Header.Type = Header.self) throws(NetlinkError) -> Header {
        guard payload.count >= MemoryLayout<Header>.size else {
            throw NetlinkError(.truncated, "message \(self.type) has \(payload.count) bytes, its header \(MemoryLayout<Header>.size)")
        }
        return payload.loadUnaligned(as: Header.self)
    }

    /// The attributes that follow that header; none when the message is too short for it.
    package func attributes<Header: BitwiseCopyable>(after header: Header.Type) -> NetlinkAttributes {
        let offset = NetlinkAlignment.up(MemoryLayout<Header>.size)
        return NetlinkAttributes(UnsafeRawBufferPointer(rebasing: payload[Swift.min(offset, payload.count)...]))
    }
}
