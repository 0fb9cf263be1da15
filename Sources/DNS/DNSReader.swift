/// Takes a message's parts in order. It never looks outside its bytes, and every name has an end: a pointer must lead to before the place where the
/// name, or the part of it that the last pointer led to, began.
///
///     label    | 00 length (6) | bytes … |        a length of zero ends the name
///     pointer  | 11 offset (14)          |        ends the name with what is at that offset of the message (RFC 1035 section 4.1.4)
import Addressing

struct DNSReader {
    private let bytes: [UInt8]
    private(set) var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    func error(_ code: DNSError.Code) -> DNSError { DNSError(code: code, position: position) }

    mutating func number8() throws(DNSError) -> UInt8 {
        guard position < bytes.count else { throw error(.short) }
        defer { position += 1 }
        return bytes[position]
    }
    mutating func number16() throws(DNSError) -> UInt16 { UInt16(try number8()) << 8 | UInt16(try number8()) }
    mutating func number32() throws(DNSError) -> UInt32 { UInt32(try number16()) << 16 | UInt32(try number16()) }

    mutating func take(_ count: Int) throws(DNSError) -> [UInt8] {
        guard count <= bytes.count - position else { throw error(.short) }
        defer { position += count }
        return Array(bytes[position..<position + count])
    }

    mutating func name() throws(DNSError) -> DNSName {
        var labels: [[UInt8]] = []
        var size = 1
        /// Where the fields after the name begin, once a pointer was followed.
        var next: Int?
        var limit = position
        // A name has no more labels than this, and needs no pointer without one.
        var hops = 0
        while true {
            let length = try number8()
            switch length {
            case 0:
                if let next { position = next }
                guard let name = DNSName(labels: labels) else { throw error(.name) }
                return name
            case 1...63:
                size += Int(length) + 1
                guard size <= DNSName.longest else { throw error(.name) }
                labels.append(try take(Int(length)))
            case 0xc0...:
                let target = Int(length & 0x3f) << 8 | Int(try number8())
                if next == nil { next = position }
                hops += 1
                guard target < limit, hops <= DNSName.longest / 2 else { throw error(.name) }
                (position, limit) = (target, target)
            default: throw error(.name)
            }
        }
    }
}

extension DNSQuestion {
    init(_ reader: inout DNSReader) throws(DNSError) {
        name = try reader.name()
        type = DNSType(try reader.number16())
        kind = try reader.number16()
    }
}

extension DNSRecord {
    init(_ reader: inout DNSReader) throws(DNSError) {
        name = try reader.name()
        let type = DNSType(try reader.number16())
        kind = try reader.number16()
        ttl = try reader.number32()
        let count = Int(try reader.number16())
        let end = reader.position + count
        switch type {
        case .a where kind == Self.internet, .aaaa where kind == Self.internet:
            guard let address = IPAddress(bytes: try reader.take(count)), address.family == (type == .a ? .v4 : .v6)
            else { throw reader.error(.data) }
            data = .address(address)
        case .ptr: data = .pointer(try reader.name())
        case .srv:
            data = .service(
                priority: try reader.number16(), weight: try reader.number16(), port: try reader.number16(), target: try reader.name())
        case .soa:
            data = .authority(
                primary: try reader.name(), mailbox: try reader.name(), serial: try reader.number32(), refresh: try reader.number32(),
                retry: try reader.number32(), expire: try reader.number32(), minimum: try reader.number32())
        default: data = .other(type, try reader.take(count))
        }
        guard reader.position == end else { throw reader.error(.data) }
    }
}
