/// A bounded view of attributes in received bytes. It is used while the bytes are there (inside the closure that got them)
/// and never kept. Whatever the bytes are, walking ends and nothing outside them is read: a record whose length does not
/// fit ends the walk. The reader of a value decides what must be there, and throws when it is not.
package import Addressing
import CLinux

package struct NetlinkAttributes: Sequence, IteratorProtocol {
    private var rest: UnsafeRawBufferPointer

    package init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

    package mutating func next() -> NetlinkAttribute? {
        let header = MemoryLayout<nlattr>.size
        guard rest.count >= header else { return nil }
        let length = Int(rest.loadUnaligned(fromByteOffset: 0, as: UInt16.self))
        let type = rest.loadUnaligned(fromByteOffset: 2, as: UInt16.self)
        guard length >= header, length <= rest.count else { return nil }
        let payload = UnsafeRawBufferPointer(rebasing: rest[header..<length])
        rest = UnsafeRawBufferPointer(rebasing: rest[Swift.min(NetlinkAlignment.up(length), rest.count)...])
        return NetlinkAttribute(type: Int(type & 0x3fff), payload: payload)
    }

    /// The first attribute of that type.
    package subscript(_ type: some BinaryInteger) -> NetlinkAttribute? {
        let wanted = Int(truncatingIfNeeded: type)
        var walk = self
        while let attribute = walk.next() {
            if attribute.type == wanted { return attribute }
        }
        return nil
    }
}

package struct NetlinkAttribute {
    /// Without the two flag bits (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
    package let type: Int
    package let payload: UnsafeRawBufferPointer

    package init(type: Int, payload: UnsafeRawBufferPointer) {
        self.type = type
        self.payload = payload
    }

    /// A number or C structure in host byte order. Longer payloads are allowed: newer kernels append to structures. The type is always
    /// named: left to inference behind a `?.` it would be an Optional.
    package func value<Value: BitwiseCopyable>(_ type: Value.Type) throws(NetlinkError) -> Value {
        guard payload.count >= MemoryLayout<Value>.size else { throw truncated(MemoryLayout<Value>.size) }
        return payload.loadUnaligned(as: Value.self)
    }

    /// A number in network byte order.
    package func bigEndian<Value: FixedWidthInteger & BitwiseCopyable>(_ type: Value.Type = Value.self) throws(NetlinkError) -> Value {
        Value(bigEndian: try value(Value.self))
    }

    /// Text up to the first zero byte or the end; bytes that are not UTF-8 are replaced.
    package var string: String {
        String(decoding: payload.prefix { $0 != 0 }, as: UTF8.self)
    }

    /// Exactly 4 or 16 bytes in network order.
    package func address() throws(NetlinkError) -> IPAddress {
        switch payload.count {
        case 4: return IPAddress(v4: try bigEndian(UInt32.self))
        case 16:
            let high = UInt64(bigEndian: payload.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
            let low = UInt64(bigEndian: payload.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            return IPAddress(.v6, bits: UInt128(high) << 64 | UInt128(low))
        default: throw NetlinkError(.malformed, "attribute \(type) has \(payload.count) bytes, an address has 4 or 16")
        }
    }

    /// Exactly 6 bytes.
    package func mac() throws(NetlinkError) -> MACAddress {
        guard let mac = MACAddress(bytes: payload) else {
            throw NetlinkError(.malformed, "attribute \(type) has \(payload.count) bytes, a MAC address has 6")
        }
        return mac
    }

    /// The attributes nested in this one.
    package var attributes: NetlinkAttributes { NetlinkAttributes(payload) }

    private func truncated(_ needed: Int) -> NetlinkError {
        NetlinkError(.truncated, "attribute \(type) has \(payload.count) bytes, \(needed) are needed")
    }
}
