/// Questions and records (RFC 1035 section 4.1).
///
///     +-----------+------+-------+-----+--------+------+
///     | name      | type | class | TTL | length | data |   2, 2, 4, 2 bytes and `length`; all big-endian. A question has the first three.
///     +-----------+------+-------+-----+--------+------+
package import Addressing

/// IANA's numbers of record types that are known here.
package struct DNSType: Hashable, Sendable {
    package var number: UInt16
    package init(_ number: UInt16) { self.number = number }

    package static let a = DNSType(1)
    package static let soa = DNSType(6)
    package static let ptr = DNSType(12)
    package static let aaaa = DNSType(28)
    package static let srv = DNSType(33)
    /// A pseudo-record that says what its sender can do (RFC 6891).
    package static let opt = DNSType(41)
    /// Of a question: records of all types.
    package static let any = DNSType(255)
}

extension DNSType: LosslessStringConvertible {
    private static let names: [(DNSType, String)] = [
        (.a, "A"), (.soa, "SOA"), (.ptr, "PTR"), (.aaaa, "AAAA"), (.srv, "SRV"), (.opt, "OPT"), (.any, "ANY"),
    ]
    package var description: String { Self.names.first { $0.0 == self }?.1 ?? "TYPE\(number)" }
    /// "AAAA" or "aaaa"; also "TYPE28" (RFC 3597 section 5).
    package init?(_ text: String) {
        let wanted = text.uppercased()
        if let known = Self.names.first(where: { $0.1 == wanted }) {
            self = known.0
        } else {
            guard wanted.hasPrefix("TYPE"), let number = UInt16(wanted.dropFirst(4)) else { return nil }
            self.init(number)
        }
    }
}

package struct DNSQuestion: Hashable, Sendable {
    package var name: DNSName
    package var type: DNSType
    /// 1 is the Internet's.
    package var kind: UInt16
    package init(_ name: DNSName, _ type: DNSType, kind: UInt16 = DNSRecord.internet) {
        self.name = name
        self.type = type
        self.kind = kind
    }
}

package struct DNSRecord: Hashable, Sendable {
    package enum Data: Hashable, Sendable {
        /// A (RFC 1035 section 3.4.1) or AAAA (RFC 3596).
        case address(IPAddress)
        case pointer(DNSName)
        /// RFC 2782.
        case service(priority: UInt16, weight: UInt16, port: UInt16, target: DNSName)
        /// RFC 1035 section 3.3.13; `minimum` is for how long a "there is none" holds, in seconds (RFC 2308 section 4).
        case authority(primary: DNSName, mailbox: DNSName, serial: UInt32, refresh: UInt32, retry: UInt32, expire: UInt32, minimum: UInt32)
        /// As it was received; names in it may point to other places of its message, so it is good for no other.
        case other(DNSType, [UInt8])
    }
    package static let internet: UInt16 = 1

    package var name: DNSName
    /// The class; of OPT the bytes that its sender takes.
    package var kind: UInt16
    /// Seconds that it may be kept; of OPT something else (`DNSOptions`).
    package var ttl: UInt32
    package var data: Data

    package init(_ name: DNSName, kind: UInt16 = DNSRecord.internet, ttl: UInt32, _ data: Data) {
        self.name = name
        self.kind = kind
        self.ttl = ttl
        self.data = data
    }

    package var type: DNSType {
        switch data {
        case .address(let address): address.family == .v4 ? .a : .aaaa
        case .pointer: .ptr
        case .service: .srv
        case .authority: .soa
        case .other(let type, _): type
        }
    }
}

extension DNSRecord.Data: CustomStringConvertible {
    /// As zone files have it.
    package var description: String {
        switch self {
        case .address(let address): "\(address)"
        case .pointer(let name): "\(name)"
        case .service(let priority, let weight, let port, let target): "\(priority) \(weight) \(port) \(target)"
        case .authority(let primary, let mailbox, let serial, let refresh, let retry, let expire, let minimum):
            "\(primary) \(mailbox) \(serial) \(refresh) \(retry) \(expire) \(minimum)"
        case .other(_, let bytes): "\\# \(bytes.count)"
        }
    }
}

/// What the OPT record of a message says (RFC 6891 section 6.1).
///
///     class: bytes that the sender takes | TTL: upper 8 bits of the response code (8) | version (8) | DO and zeros (16) | data: options
package struct DNSOptions: Hashable, Sendable {
    /// Bytes of the largest UDP message that the sender takes.
    package var size: UInt16
    package var version: UInt8
    package var upperCode: UInt8

    package init(size: UInt16, version: UInt8 = 0, upperCode: UInt8 = 0) {
        self.size = size
        self.version = version
        self.upperCode = upperCode
    }

    package init?(_ record: DNSRecord) {
        guard record.type == .opt else { return nil }
        self.init(size: record.kind, version: UInt8(record.ttl >> 16 & 0xff), upperCode: UInt8(record.ttl >> 24))
    }

    package var record: DNSRecord {
        DNSRecord(.root, kind: size, ttl: UInt32(upperCode) << 24 | UInt32(version) << 16, .other(.opt, []))
    }
}
