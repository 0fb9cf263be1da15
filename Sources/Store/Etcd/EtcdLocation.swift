package import HTTP

/// Where an etcd cluster is, and what of it is ours:
///
///     etcd://[USER[:PASSWORD]@]HOST[:PORT],HOST[:PORT],…[/PREFIX]      addresses of members
///     etcd+srv://[USER[:PASSWORD]@]DOMAIN[/PREFIX]                     members by the SRV records of _etcd-client._tcp.DOMAIN
///
/// `etcds` and `etcds+srv` are the same over TLS. User, password and prefix are percent-encoded where they must be. IPv6 addresses
/// are in brackets; the port is 2379 where none is given; the prefix is `/tulle/` where none is given, and always ends in a slash.
package struct EtcdLocation: Hashable, Sendable {
    package enum Servers: Hashable, Sendable {
        case hosts([HTTPAddress])
        case domain(String)
    }

    package var servers: Servers
    package var isSecure: Bool
    package var user: String?
    package var password: String?
    /// What every key begins with; begins and ends with a slash.
    package var prefix: String

    package static let defaultPrefix = "/tulle/"
    private static let port = 2379
    /// Keys below it may still have 1,024 bytes.
    private static let prefixBytes = 256

    /// - Throws: `StoreError` that names the part which is wrong; the password is in no message.
    package init(parsing text: String) throws(StoreError) {
        func refuse(_ cause: String) -> StoreError {
            StoreError(
                .invalid, "read the address of etcd", cause: cause,
                remedy: "Write it as etcd://[USER[:PASSWORD]@]HOST:PORT,HOST:PORT[/PREFIX].")
        }
        guard let colon = text.firstRange(of: "://") else { throw refuse("it has no '://'") }
        let scheme = text[..<colon.lowerBound]
        switch scheme {
        case "etcd", "etcd+srv": isSecure = false
        case "etcds", "etcds+srv": isSecure = true
        default: throw refuse("its scheme '\(scheme)' is none of etcd, etcds, etcd+srv, etcds+srv")
        }
        let rest = text[colon.upperBound...]
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        var authority = rest[..<slash]

        if let at = authority.lastIndex(of: "@") {
            let halves = authority[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = Self.decode(halves[0]), !name.isEmpty else { throw refuse("its user is empty or badly encoded") }
            user = name
            if halves.count == 2 {
                guard let secret = Self.decode(halves[1]) else { throw refuse("its password is badly encoded") }
                password = secret
            }
            authority = authority[authority.index(after: at)...]
        }

        if scheme.hasSuffix("+srv") {
            guard !authority.isEmpty, authority.utf8.count < 250, !authority.contains(where: { ":,[]".contains($0) }) else {
                throw refuse("'\(authority)' is not a domain: of a domain's SRV records there is one, without a port")
            }
            servers = .domain(String(authority))
        } else {
            var hosts: [HTTPAddress] = []
            for part in authority.split(separator: ",", omittingEmptySubsequences: false) {
                guard let host = Self.address(part) else { throw refuse("'\(part)' is not a HOST or HOST:PORT") }
                if !hosts.contains(host) { hosts.append(host) }
            }
            servers = .hosts(hosts)
        }

        guard let path = Self.decode(rest[slash...]), path.utf8.count <= Self.prefixBytes,
            path.utf8.allSatisfy({ (0x20...0x7E).contains($0) })
        else { throw refuse("its prefix is longer than \(Self.prefixBytes) bytes or not printable ASCII") }
        switch path {
        case "", "/": prefix = Self.defaultPrefix
        default: prefix = path.hasSuffix("/") ? path : path + "/"
        }
    }

    /// `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT`.
    static func address(_ text: Substring, port fallback: Int = port) -> HTTPAddress? {
        var host = text
        var port = fallback
        let end = text.lastIndex(of: "]") ?? text.startIndex
        if let colon = text[end...].lastIndex(of: ":") {
            let digits = text[text.index(after: colon)...]
            guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(digits), (1...65_535).contains(number)
            else { return nil }
            port = number
            host = text[..<colon]
        }
        if host.hasPrefix("[") {
            guard host.hasSuffix("]") else { return nil }
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { return nil }
        } else if host.contains(":") {
            return nil
        }
        guard !host.isEmpty, host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }), !host.contains(where: { "[]/@?#%".contains($0) })
        else { return nil }
        return .tcp(host: String(host), port: port)
    }

    private static func decode(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8.makeIterator()
        while let byte = rest.next() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.next(), let low = rest.next(),
                let value = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16), high != UInt8(ascii: "+")
            else { return nil }
            bytes.append(value)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

extension EtcdLocation: CustomStringConvertible {
    /// Without the password.
    package var description: String {
        let hosts =
            switch servers {
            case .hosts(let hosts): hosts.map(\.description).joined(separator: ",")
            case .domain(let domain): domain
            }
        var scheme = isSecure ? "etcds" : "etcd"
        if case .domain = servers { scheme += "+srv" }
        return scheme + "://" + (user.map { $0 + "@" } ?? "") + hosts + prefix.dropLast()
    }
}
