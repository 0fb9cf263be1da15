/// Netlink messages are built here, one after another in one raw buffer. A request goes through it like this:
/// `message(type:flags:sequence:)` reserves the 16-byte header and runs its closure; in there `append` writes the
/// fixed header of the message's family (such as `ifinfomsg`) and `attribute` adds type-length-value records; `nest` is an
/// attribute whose value is what its closure writes. Lengths are filled in when the closures return, so that no
/// caller ever computes an offset.
///
///     0                   16                  32
///     +-------------------+-------------------+
///     |            length of message          |   struct nlmsghdr, host byte order (netlink(7), linux/netlink.h)
///     +-------------------+-------------------+
///     |       type        |       flags       |   everything is aligned to 4 bytes; the padding is zero
///     +-------------------+-------------------+   and not counted in an attribute's own length
///     |            sequence number            |
///     +---------------------------------------+
///     |     port of the sender (0: kernel     |
///     |                fills it in)           |
///     +-------------------+-------------------+
///     |  attribute length |  attribute type   |   struct nlattr; the length includes these 4 bytes
///     +-------------------+-------------------+
///     |                value …                |
package import Addressing
import CLinux

package struct NetlinkWriter: ~Copyable {
    private var base: UnsafeMutableRawPointer
    private var capacity: Int
    /// Bytes written.
    package private(set) var count = 0
    /// An attribute was longer than its 16-bit length can say. Such a buffer must not be sent; the sender checks.
    package private(set) var isOversized = false

    /// - Parameter capacity: bytes to begin with; the buffer grows by doubling.
    package init(capacity: Int = 1024) {
        self.capacity = max(capacity, 64)
        base = UnsafeMutableRawPointer.allocate(byteCount: self.capacity, alignment: 16)
    }
    deinit { base.deallocate() }

    /// What was written, valid during `body`.
    package borrowing func withBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeRawBufferPointer(start: base, count: count))
    }

    // MARK: Messages

    /// One message: the header, then what `body` writes.
    package mutating func message(
        type: some BinaryInteger, flags: some BinaryInteger, sequence: UInt32, _ body: (inout NetlinkWriter) -> Void
    ) {
        let start = count
        append(
            nlmsghdr(
                nlmsg_len: 0, nlmsg_type: UInt16(truncatingIfNeeded: type), nlmsg_flags: UInt16(truncatingIfNeeded: flags),
                nlmsg_seq: sequence, nlmsg_pid: 0))
        body(&self)
        base.storeBytes(of: UInt32(truncatingIfNeeded: count - start), toByteOffset: start, as: UInt32.self)
    }

    /// The fixed header that follows the message's own, as the C structure it is, padded to 4 bytes.
    package mutating func append<Value: BitwiseCopyable>(_ value: Value) {
        let size = MemoryLayout<Value>.size
        let start = reserve(size)
        base.storeBytes(of: value, toByteOffset: start, as: Value.self)
    }

    /// What another message of the same kind held after its header, as it was received.
    package mutating func append(bytes: some Collection<UInt8>) {
        let start = reserve(bytes.count)
        UnsafeMutableRawBufferPointer(start: base + start, count: bytes.count).copyBytes(from: bytes)
    }

    // MARK: Attributes

    /// A number or a C structure in host byte order.
    package mutating func attribute<Value: BitwiseCopyable>(_ type: some BinaryInteger, _ value: Value) {
        attributeHeader(type, payload: MemoryLayout<Value>.size)
        append(value)
    }

    /// A number in network byte order.
    package mutating func attribute(_ type: some BinaryInteger, bigEndian value: some FixedWidthInteger & BitwiseCopyable) {
        attribute(type, value.bigEndian)
    }

    /// Text with its final zero byte.
    package mutating func attribute(_ type: some BinaryInteger, string: String) {
        let length = string.utf8.count + 1
        attributeHeader(type, payload: length)
        let start = reserve(length)
        UnsafeMutableRawBufferPointer(start: base + start, count: length).copyBytes(from: string.utf8)
    }

    package mutating func attribute(_ type: some BinaryInteger, bytes: some Collection<UInt8>) {
        attributeHeader(type, payload: bytes.count)
        append(bytes: bytes)
    }

    /// 4 or 16 bytes in network order.
    package mutating func attribute(_ type: some BinaryInteger, address: IPAddress) {
        if address.family == .v4 {
            attribute(type, bigEndian: UInt32(truncatingIfNeeded: address.bits))
        } else {
            attributeHeader(type, payload: 16)
            append(UInt64(truncatingIfNeeded: address.bits >> 64).bigEndian)
            append(UInt64(truncatingIfNeeded: address.bits).bigEndian)
        }
    }

    package mutating func attribute(_ type: some BinaryInteger, mac: MACAddress) {
        attribute(type, bytes: mac.bytes)
    }

    /// An attribute whose presence says it all.
    package mutating func flag(_ type: some BinaryInteger) { attributeHeader(type, payload: 0) }

    /// An attribute that holds what `body` writes, mostly attributes, marked NLA_F_NESTED as strict kernels ask.
    package mutating func nest(_ type: some BinaryInteger, _ body: (inout NetlinkWriter) -> Void) {
        let start = count
        attributeHeader(UInt16(truncatingIfNeeded: type) | UInt16(NLA_F_NESTED), payload: 0)
        body(&self)
        setLength(at: start)
    }

    /// One hop of RTA_MULTIPATH: a structure that counts its own length in its first 16 bits, followed by attributes.
    package mutating func lengthPrefixed<Value: BitwiseCopyable>(
        _ value: Value, _ body: (inout NetlinkWriter) -> Void
    ) {
        let start = count
        append(value)
        body(&self)
        setLength(at: start)
    }

    // MARK: Room

    private mutating func attributeHeader(_ type: some BinaryInteger, payload: Int) {
        let start = reserve(MemoryLayout<nlattr>.size)
        let length = UInt16(exactly: MemoryLayout<nlattr>.size + payload)
        if length == nil { isOversized = true }
        base.storeBytes(
            of: nlattr(nla_len: length ?? 0, nla_type: UInt16(truncatingIfNeeded: type)), toByteOffset: start, as: nlattr.self)
    }

    private mutating func setLength(at start: Int) {
        let length = UInt16(exactly: count - start)
        if length == nil { isOversized = true }
        base.storeBytes(of: length ?? 0, toByteOffset: start, as: UInt16.self)
    }

    /// Room for so many bytes and their padding, which is zeroed; the offset where they begin.
    private mutating func reserve(_ size: Int) -> Int {
        let start = count
        let end = start + NetlinkAlignment.up(size)
        if end > capacity { grow(to: end) }
        // Only the last word can hold padding.
        if end > start { base.storeBytes(of: 0, toByteOffset: end - 4, as: UInt32.self) }
        count = end
        return start
    }

    private mutating func grow(to needed: Int) {
        while capacity < needed { capacity *= 2 }
        let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
        larger.copyMemory(from: base, byteCount: count)
        base.deallocate()
        base = larger
    }
}

enum NetlinkAlignment {
    /// To the next multiple of 4 (NLMSG_ALIGN, NLA_ALIGN, RTA_ALIGN).
    static func up(_ size: Int) -> Int { (size + 3) & ~3 }
}
