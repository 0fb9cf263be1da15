/// The store's keys as etcd's: each with the prefix before it. One key below the prefix is not the store's: `store`, where the cluster's
/// identity is.
struct EtcdNames: Sendable {
    let prefix: String
    static let identity = "store"

    var identityKey: String { prefix + Self.identity }

    func range(of key: String) -> EtcdKeyRange { EtcdKeyRange(prefix + key) }
    func range(below prefix: String) -> EtcdKeyRange { EtcdKeyRange(below: self.prefix + prefix) }

    /// As `range(below:)`, around the identity.
    func rangesWithoutIdentity(below prefix: String) -> [EtcdKeyRange] {
        let all = range(below: prefix)
        guard Self.identity.hasPrefix(prefix), let end = all.end else { return [all] }
        let key = Array(identityKey.utf8)
        let after = EtcdKeyRange(from: key + [0], to: end)
        return all.start == key ? [after] : [EtcdKeyRange(from: all.start, to: key), after]
    }

    /// The store's name of a key of etcd's; nil for the identity and for what is not ours. Bytes that no key of the store has, which somebody
    /// else put there, are shown as `%XX`, so that the key can be named and harms nothing else.
    func name(of key: [UInt8]) -> String? {
        guard key.starts(with: prefix.utf8) else { return nil }
        let name = key.dropFirst(prefix.utf8.count)
        if name.allSatisfy({ (0x20...0x7E).contains($0) }) {
            let text = String(decoding: name, as: UTF8.self)
            return text == Self.identity ? nil : text
        }
        return name.reduce(into: "") { text, byte in
            if (0x20...0x7E).contains(byte) {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                text += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
    }

    func entry(_ found: EtcdKeyValue) -> StoreEntry? {
        guard let name = name(of: found.key) else { return nil }
        return StoreEntry(
            key: name, value: found.value, created: Revision(found.created), modified: Revision(found.modified),
            lease: found.lease == 0 ? nil : LeaseID(found.lease))
    }
}
