/// Whose store this is, as it stands in etcd: `{"cluster":"…","epoch":1,"v":1}` at `PREFIXstore`. Every commit is made on the condition
/// that it still stands there, so nothing is ever written into an emptied etcd or another's.
struct EtcdIdentity: Sendable, Equatable {
    var identity: StoreIdentity
    /// As it was read: what commits compare with.
    var text: [UInt8]

    private static let format: UInt64 = 1

    init(_ identity: StoreIdentity) {
        self.identity = identity
        text = Array("{\"cluster\":\"\(identity.cluster)\",\"epoch\":\(identity.epoch),\"v\":\(Self.format)}".utf8)
    }

    init(reading text: [UInt8], key: String) throws {
        let operation = "read the store's identity from etcd"
        var cluster = ""
        var (epoch, format): (UInt64, UInt64) = (0, 0)
        do {
            try EtcdJSON.read(text) { json in
                try json.object { json, name in
                    switch name {
                    case "cluster": cluster = try json.string()
                    case "epoch": epoch = try json.number()
                    case "v": format = try json.number()
                    default: try json.skip()
                    }
                }
            }
        } catch let error as EtcdJSON.Malformed {
            throw StoreError(
                .corrupt, operation, cause: "the key \(key) is not tulle's: \(error.what)",
                remedy: "Check the prefix in etcd's address; the key was left as it is.")
        }
        guard format <= Self.format else {
            throw StoreError(
                .newerFormat, operation, cause: "the key \(key) has format \(format), this version knows \(Self.format)",
                remedy: "Install the newer version of tulle again.")
        }
        guard format > 0, !cluster.isEmpty, epoch > 0 else {
            throw StoreError(
                .corrupt, operation, cause: "the key \(key) names no cluster, epoch or format",
                remedy: "Check the prefix in etcd's address; the key was left as it is.")
        }
        identity = StoreIdentity(cluster: cluster, epoch: epoch)
        self.text = text
    }

    static func missing(_ operation: String, key: String) -> StoreError {
        StoreError(
            .missing, operation, cause: "etcd has no key \(key)",
            remedy: "Check the prefix in etcd's address; if etcd lost its data, restore it from a snapshot. Nothing was written.")
    }
}
