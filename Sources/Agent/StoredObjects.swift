/// The store's keys and the JSON behind them (docs/store.md), to and from the values of `Fabric`.
package import Addressing
package import Fabric
import FoundationEssentials
package import Store

/// Keys below the store's root.
package enum StoreKey {
    package static let cluster = "cluster"
    package static let nodes = "nodes/"
    package static let alive = "alive/"
    package static let leases = "leases/"
    package static let networks = "networks/"
    package static let networkNames = "network-names/"
    package static let networkKeys = "network-keys/"
    package static let vnis = "vnis/"
    package static let blocks = "blocks/"
    package static let addresses = "addresses/"
    package static let requests = "requests/"
    package static let endpoints = "endpoints/"
    package static let groups = "groups/"
    package static let tokens = "tokens/"
    package static let authorities = "authorities/"

    package static func node(_ id: NodeID) -> String { nodes + id.description }
    package static func alive(_ id: NodeID) -> String { alive + id.description }
    package static func lease(_ id: NodeID) -> String { leases + id.description }
    package static func network(_ id: NetworkID) -> String { networks + id.description }
    package static func vni(_ vni: VNI) -> String { vnis + vni.description }
    package static func blocks(of network: NetworkID) -> String { "\(blocks)\(network)/" }
    /// A dash for the slash: 10.32.1.0-26.
    package static func block(_ network: NetworkID, _ prefix: IPPrefix) -> String {
        "\(blocks)\(network)/\(prefix.address)-\(prefix.length)"
    }
    package static func addresses(of network: NetworkID) -> String { "\(addresses)\(network)/" }
    package static func address(_ network: NetworkID, _ address: IPAddress) -> String {
        "\(addresses)\(network)/\(address)"
    }
    package static func request(_ network: NetworkID, _ name: String) -> String { "\(requests)\(network)/\(name)" }
    package static func endpoints(of network: NetworkID) -> String { "\(endpoints)\(network)/" }
    package static func endpoint(_ network: NetworkID, _ id: EndpointID) -> String {
        "\(endpoints)\(network)/\(escaped(id.description))"
    }
    package static func groups(_ network: NetworkID, _ node: NodeID) -> String { "\(groups)\(network)/\(node)" }
    package static func token(_ id: String) -> String { tokens + escaped(id) }
    package static func authority(_ fingerprint: String) -> String { authorities + escaped(fingerprint) }
    package static func networkName(_ name: String) -> String { networkNames + escaped(name) }
    package static func networkKey(_ key: String) -> String { networkKeys + escaped(key) }

    /// Text of others in a key: what is not a letter, digit, `-`, `_` or `.` as %XX.
    private static func escaped(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF")
        return text.utf8.reduce(into: "") { result, byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: result.append(Character(UnicodeScalar(byte)))
            default: result += "%" + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
    }
}

extension NetworkObject {
    /// The keys besides its own that name it, each at most one network's. With scope global Docker keeps the names.
    var claims: [String] {
        [StoreKey.vni(vni), StoreKey.networkKey(key)] + (dockerID == nil ? name.map { [StoreKey.networkName($0)] } ?? [] : [])
    }
}

package enum StoredJSON {
    /// Compact JSON with sorted keys.
    package static func encode<Value: Codable>(_ value: Value) throws -> [UInt8] { try plain(value) }

    /// What is to take the entry's place: fields in it that this version does not know survive, at any depth.
    ///
    /// - Throws: `AgentError` for an entry of a newer format, or one that is no such object: it is left as it is.
    package static func encode<Value: Codable>(_ value: Value, over entry: StoreEntry?) throws -> [UInt8] {
        guard let entry else { return try plain(value) }
        let known = try plain(read(Value.self, entry.key, entry.value))
        guard (try? decode(JSONTree.self, entry.value)) != nil else {
            throw AgentError(
                .invalid, "write the store's key \(entry.key)", cause: "it has a number of more digits than can be kept; it is left as it is",
                remedy: "no agent writes such: correct or remove the key")
        }
        return try plain(
            JSONTree(decode(JSONTree.self, entry.value), known: decode(JSONTree.self, known), now: decode(JSONTree.self, plain(value))))
    }

    /// An object of the store.
    ///
    /// - Throws: `AgentError` that names the key, for one of a newer format and for what is no such object.
    package static func read<Value: Decodable>(_ type: Value.Type, _ key: String, _ value: [UInt8]) throws -> Value {
        func unreadable(_ cause: String) -> AgentError {
            AgentError(
                .invalid, "read the store's key \(key)", cause: cause,
                remedy: "an agent of a newer version may have written it: upgrade this one; otherwise correct or remove the key")
        }
        let known = type == NetworkObject.self ? modeFormat : storeFormat
        if let format = newerFormat(value, than: known) {
            throw unreadable("it has format \(format), and this version knows \(known); it is left as it is")
        }
        do { return try decode(type, value) } catch { throw unreadable("it holds no \(type): \(error)") }
    }

    /// A row of agent.db.
    ///
    /// - Throws: `AgentError` that names the row, for one of a newer format and for what is no such row.
    static func row<Value: Decodable>(_ type: Value.Type, _ key: String, _ value: [UInt8]) throws -> Value {
        func unreadable(_ cause: String) -> AgentError {
            AgentError(
                .setup, "read agent.db in the state directory", cause: "its row \(key) \(cause)",
                remedy: "a newer version may have written it: start that one; or, if the file is damaged, restore it from a backup")
        }
        if let format = newerFormat(value) { throw unreadable("has format \(format), and this version knows \(storeFormat)") }
        do { return try decode(type, value) } catch { throw unreadable("is not understood (\(error))") }
    }

    /// The format of a value, which every object carries, if it is one that this version does not know.
    private static func newerFormat(_ value: [UInt8], than known: Int = storeFormat) -> Int? {
        guard let format = (try? decode(Format.self, value))?.v, format > known else { return nil }
        return format
    }
    private struct Format: Decodable { var v: Int }

    private static func plain(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return [UInt8](try encoder.encode(value))
    }

    package static func decode<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8]) throws -> Value {
        try JSONDecoder().decode(type, from: Data(bytes))
    }
}

/// Any JSON, for fields that a newer version wrote.
package indirect enum JSONTree: Hashable, Sendable, Codable {
    case null, bool(Bool), number(Double), integer(Int64), natural(UInt64), string(String), array([JSONTree]), object([String: JSONTree])

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() { self = .null }
        else if let value = try? container.decode(Bool.self) { self = .bool(value) }
        else if let value = try? container.decode(Int64.self) { self = .integer(value) }
        else if let value = try? container.decode(UInt64.self) { self = .natural(value) }
        else if let value = try? container.decode(Double.self) { self = .number(value) }
        else if let value = try? container.decode(String.self) { self = .string(value) }
        else if let value = try? container.decode([JSONTree].self) { self = .array(value) }
        else { self = .object(try container.decode([String: JSONTree].self)) }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .natural(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .array(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }

    /// The new value, with what was in the old one and is not in what this version read of that.
    init(_ old: JSONTree, known: JSONTree, now: JSONTree) {
        switch (old, known, now) {
        case (.object(let old), .object(let known), .object(let now)):
            let kept = old.filter { known[$0.key] == nil && now[$0.key] == nil }
            let fields = now.map { name, value -> (String, JSONTree) in
                guard let before = old[name], let read = known[name] else { return (name, value) }
                return (name, JSONTree(before, known: read, now: value))
            }
            self = .object(kept.merging(fields) { $1 })
        case (.array(let old), .array(let known), .array(let now)) where old.count == now.count && known.count == now.count:
            self = .array(now.indices.map { JSONTree(old[$0], known: known[$0], now: now[$0]) })
        default: self = now
        }
    }
}

extension ClusterView.Object {
    /// What an entry means; nil for keys that this version does not use. Throws where key or value are not what they promise.
    package init?(key: String, value: [UInt8]?) throws {
        func refuse(_ cause: String) -> AgentError {
            AgentError(.invalid, "read the store's key \(key)", cause: cause, remedy: "no agent writes it so: correct or remove the key")
        }
        /// The deletion of junk is none.
        func malformed() throws -> Self? {
            guard value != nil else { return nil }
            throw refuse("it is not a key of that kind")
        }
        /// - Parameter isOwn: that the object says of itself what the key says of it.
        func object<Value: Decodable>(_ type: Value.Type, isOwn: (Value) -> Bool = { _ in true }) throws -> Value? {
            guard let value else { return nil }
            let decoded = try StoredJSON.read(type, key, value)
            if let field = Self.impossible(decoded) { throw refuse("its \(field) cannot be") }
            guard isOwn(decoded) else { throw refuse("its value is another key's") }
            return decoded
        }
        let parts = key.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let found: Self?
        switch (parts.first, parts.count) {
        case ("cluster", 1): found = .cluster(try object(ClusterObject.self))
        case ("nodes", 2):
            guard let id = NodeID(parts[1]) else { found = try malformed(); break }
            found = .node(id, try object(NodeObject.self) { $0.id == id })
        case ("alive", 2):
            guard let id = NodeID(parts[1]) else { found = try malformed(); break }
            found = .alive(id, value != nil)
        case ("leases", 2):
            guard let id = NodeID(parts[1]) else { found = try malformed(); break }
            found = .lease(id, try object(LeaseObject.self) { $0.node == id })
        case ("networks", 2):
            guard let id = NetworkID(parts[1]) else { found = try malformed(); break }
            found = .network(id, try object(NetworkObject.self) { $0.id == id })
        case ("blocks", 3):
            guard let id = NetworkID(parts[1]), let prefix = IPPrefix(parts[2].replacingLastDash) else { found = try malformed(); break }
            found = .block(id, prefix, try object(BlockObject.self))
        case ("addresses", 3):
            guard let id = NetworkID(parts[1]), let address = IPAddress(parts[2]) else { found = try malformed(); break }
            found = .address(id, address, try object(AddressObject.self))
        case ("requests", 3):
            guard let id = NetworkID(parts[1]) else { found = try malformed(); break }
            found = .request(id, parts[2], try object(BorrowObject.self))
        case ("endpoints", 3):
            guard let id = NetworkID(parts[1]) else { found = try malformed(); break }
            found = .endpoint(id, EndpointID(parts[2]), try object(EndpointObject.self) { $0.network == id })
        case ("groups", 3):
            guard let id = NetworkID(parts[1]), let node = NodeID(parts[2]) else { found = try malformed(); break }
            found = .groups(id, node, try object(GroupsObject.self) { $0.network == id && $0.node == node })
        case ("tokens", 2): found = .token(parts[1], try object(TokenObject.self) { $0.id == parts[1] })
        case ("authorities", 2): found = .authority(parts[1], try object(AuthorityObject.self) { $0.fingerprint == parts[1] })
        default: found = nil
        }
        guard let found else { return nil }
        self = found
    }

    /// The field whose value no agent writes; to calculate with it might trap.
    private static func impossible(_ value: Any) -> String? {
        let times = 0...1 << 40, sizes = 0...1 << 20
        switch value {
        case let node as NodeObject:
            if let removed = node.removed, !times.contains(removed) { return "removed" }
            return sizes.contains(node.mtu) ? nil : "mtu"
        case let token as TokenObject:
            if !times.contains(token.created) || !times.contains(token.expires) { return "created or expires" }
            return sizes.contains(token.used) && token.uses.map(sizes.contains) ?? true ? nil : "uses or used"
        case let authority as AuthorityObject: return times.contains(authority.created) ? nil : "created"
        case let groups as GroupsObject: return groups.groups.allSatisfy(\.isMulticast) && groups.groups.count <= 4 * GroupsObject.most ? nil : "groups"
        case let endpoint as EndpointObject: return times.contains(endpoint.created) ? nil : "created"
        case let network as NetworkObject:
            if let mtu = network.mtu, !sizes.contains(mtu) { return "mtu" }
            if let removed = network.removed, !times.contains(removed) { return "removed" }
            for subnet in network.subnets {
                let prefix = subnet.prefix
                if !(prefix.length...prefix.family.width).contains(subnet.blockLength) { return "blockLength" }
                if !prefix.contains(subnet.gateway) { return "gateway" }
                if let range = subnet.range, !prefix.contains(range) { return "range" }
            }
            return nil
        default: return nil
        }
    }
}

extension String {
    fileprivate var replacingLastDash: String {
        guard let dash = lastIndex(of: "-") else { return self }
        return String(self[..<dash]) + "/" + String(self[index(after: dash)...])
    }
}
