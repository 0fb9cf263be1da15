/// Elements of sets as the kernel compares them.
///
///     addressV4  | address (4) |                        what a packet's header has there, in its order
///     addressV6  | address (16) |
///     guardV4    | name of the link (16, zeros after it) | MAC (6) | 0 (2) | address (4) |
///     guardV6    | name of the link (16, zeros after it) | MAC (6) | 0 (2) | address (16) |
///
/// The parts of a concatenation begin at registers, so each is padded to a multiple of 4.
import Addressing
import Fabric
import Glibc

extension FilterSet.ElementType {
    /// What `nft` takes the key for: 6 bits for each part, the first part highest. Numbers from nftables' datatype.h.
    var keyType: UInt32 {
        let (v4, v6, mac, name) = (7, 8, 9, 41) as (UInt32, UInt32, UInt32, UInt32)
        return switch self {
        case .addressV4: v4
        case .addressV6: v6
        case .guardV4: name << 12 | mac << 6 | v4
        case .guardV6: name << 12 | mac << 6 | v6
        }
    }

    init?(keyType: UInt32) {
        guard let type = [Self.addressV4, .addressV6, .guardV4, .guardV6].first(where: { $0.keyType == keyType }) else { return nil }
        self = type
    }

    /// Bytes.
    var keyLength: Int {
        switch self {
        case .addressV4: 4
        case .addressV6: 16
        case .guardV4: 28
        case .guardV6: 40
        }
    }

    var family: AddressFamily {
        switch self {
        case .addressV4, .guardV4: .v4
        case .addressV6, .guardV6: .v6
        }
    }
    var isGuard: Bool { self == .guardV4 || self == .guardV6 }
}

extension FilterElement {
    /// nil when it is no element of such a set.
    func key(_ type: FilterSet.ElementType) -> [UInt8]? {
        switch self {
        case .address(let address):
            guard !type.isGuard, address.family == type.family else { return nil }
            return address.bytes
        case .guarded(let link, let mac, let address):
            guard type.isGuard, address.family == type.family, let name = LinkName.padded(link) else { return nil }
            return name + mac.bytes + [0, 0] + address.bytes
        }
    }

    /// nil when we would not have written this key.
    init?(key: [UInt8], _ type: FilterSet.ElementType) {
        guard key.count == type.keyLength, let address = IPAddress(bytes: key.suffix(type.family.width / 8)) else { return nil }
        if type.isGuard {
            guard let link = String(validating: key.prefix(16).prefix { $0 != 0 }, as: UTF8.self),
                let mac = MACAddress(bytes: key[16..<22])
            else { return nil }
            self = .guarded(link: link, mac: mac, address: address)
            guard self.key(type) == key else { return nil }
        } else {
            self = .address(address)
        }
    }
}

/// Names of links as the kernel loads them into registers.
enum LinkName {
    /// 16 bytes, zeros after the name; nil when no link can have that name.
    static func padded(_ name: String) -> [UInt8]? {
        let bytes = Array(name.utf8)
        guard (1..<Int(IFNAMSIZ)).contains(bytes.count), !bytes.contains(0) else { return nil }
        return bytes + Array(repeating: 0, count: Int(IFNAMSIZ) - bytes.count)
    }
}
