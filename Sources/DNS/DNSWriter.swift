/// Appends a message's parts. It remembers where each name, and each end of a name, stands, and writes the next one that ends so as a pointer to there.
/// Not in the target of an SRV record, which RFC 2782 forbids to be one.
import Addressing

struct DNSWriter {
    private(set) var bytes: [UInt8] = []
    /// By the labels of a name's end.
    private var places: [ArraySlice<[UInt8]>: Int] = [:]
    /// The farthest place that 14 bits lead to.
    private static let farthest = 0x3fff

    mutating func append(_ number: UInt16) { bytes += [UInt8(number >> 8), UInt8(number & 0xff)] }
    mutating func append(_ number: UInt32) {
        append(UInt16(number >> 16))
        append(UInt16(number & 0xffff))
    }
    mutating func append(_ more: [UInt8]) { bytes += more }
    mutating func set(_ number: UInt16, at position: Int) {
        bytes[position] = UInt8(number >> 8)
        bytes[position + 1] = UInt8(number & 0xff)
    }

    mutating func append(_ name: DNSName, isCompressed: Bool = true) {
        var rest = name.labels[...]
        while let label = rest.first {
            if isCompressed, let place = places[rest] { return append(0xc000 | UInt16(place)) }
            if bytes.count <= Self.farthest, places[rest] == nil { places[rest] = bytes.count }
            bytes.append(UInt8(label.count))
            bytes += label
            rest = rest.dropFirst()
        }
        bytes.append(0)
    }

    /// As many of them, from the first, as leave the message not longer than `room`.
    /// - Returns: how many.
    mutating func append(_ records: [DNSRecord], room: Int) -> Int {
        for (index, record) in records.enumerated() {
            let end = bytes.count
            record.write(to: &self)
            if bytes.count > room {
                bytes.removeSubrange(end...)
                places = places.filter { $0.value < end }
                return index
            }
        }
        return records.count
    }

    /// Of an OPT record: the root, type, class, TTL, length and the options.
    static func size(ofOptions record: DNSRecord?) -> Int {
        guard case .other(_, let options)? = record?.data else { return 0 }
        return 11 + options.count
    }
}

extension DNSQuestion {
    func write(to writer: inout DNSWriter) {
        writer.append(name)
        writer.append(type.number)
        writer.append(kind)
    }
}

extension DNSRecord {
    func write(to writer: inout DNSWriter) {
        writer.append(name)
        writer.append(type.number)
        writer.append(kind)
        writer.append(ttl)
        let length = writer.bytes.count
        writer.append(UInt16(0))
        switch data {
        case .address(let address): writer.append(address.bytes)
        case .pointer(let name): writer.append(name)
        case .service(let priority, let weight, let port, let target):
            writer.append(priority)
            writer.append(weight)
            writer.append(port)
            writer.append(target, isCompressed: false)
        case .authority(let primary, let mailbox, let serial, let refresh, let retry, let expire, let minimum):
            writer.append(primary)
            writer.append(mailbox)
            for number in [serial, refresh, retry, expire, minimum] { writer.append(number) }
        // More than a length can say is no record that was ever received.
        case .other(_, let bytes): writer.append(Array(bytes.prefix(Int(UInt16.max))))
        }
        writer.set(UInt16(truncatingIfNeeded: writer.bytes.count - length - 2), at: length)
    }
}
