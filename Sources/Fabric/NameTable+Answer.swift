/// What a container is told.
///
///     NAME, NAME.NETWORK, ALIAS, HOSTNAME, short id   A, AAAA: all addresses of that name; another type, or a family that it has not: nothing,
///                                                     with the time for which that holds (SOA, RFC 2308)
///     x.ALIAS where the alias is *.ALIAS              the same
///     the arpa name of an address                     PTR: NAME.NETWORK
///     _PORT._PROTOCOL.NAME of a published port        SRV (RFC 2782): each container of that name, its addresses beside
import Addressing
package import DNS

package struct NameAnswer: Hashable, Sendable {
    package var answers: [DNSRecord]
    package var authorities: [DNSRecord] = []
    package var additionals: [DNSRecord] = []
}

extension NameTable {
    /// Seconds that an answer may be kept. A container's end is known everywhere within a few tenths of a second, and its name is to be gone within
    /// two: whoever keeps an answer for the second that is left stays within that. Zero would be as right, but some programs take it for an error.
    package static let ttl: UInt32 = 1

    /// nil: it is not ours to answer.
    /// - Parameters:
    ///   - asking: the networks that the asker is in. Names of others do not exist for it.
    ///   - rotation: any number; with the next one another address comes first.
    package func answer(_ question: DNSQuestion, asking: [NetworkID], rotation: Int) -> NameAnswer? {
        guard question.kind == DNSRecord.internet else { return nil }
        if question.type == .ptr || question.type == .any, let address = IPAddress(reverse: question.name) {
            return reverse(question, address, asking)
        }
        if question.type == .srv, let service = Service(question.name) { return services(question, service, asking, rotation) }
        guard let found = find(question.name.folded, asking) else { return nil }
        let families: [AddressFamily] = switch question.type {
        case .a: [.v4]
        case .aaaa: [.v6]
        case .any: [.v4, .v6]
        default: []
        }
        let records = addresses(of: found.endpoints, families, named: question.name, rotation)
        return NameAnswer(answers: records, authorities: records.isEmpty ? [Self.nothing(question.name)] : [])
    }

    /// "There is none of that type", for a second. The name itself stands for its zone: whatever checks finds a zone that the name is in.
    private static func nothing(_ name: DNSName) -> DNSRecord {
        DNSRecord(
            name, ttl: ttl,
            .authority(primary: zone, mailbox: zone, serial: 1, refresh: 60, retry: 60, expire: 60, minimum: ttl))
    }
    private static let zone = DNSName("tulle") ?? .root

    // MARK: By name

    private func find(_ name: String, _ asking: [NetworkID]) -> (network: Network, endpoints: [Endpoint])? {
        for id in asking {
            guard let network = networks[id] else { continue }
            var all = [name]
            if let suffix = network.name, name.utf8.count > suffix.utf8.count + 1, name.hasSuffix("." + suffix) {
                all.append(String(name.dropLast(suffix.count + 1)))
            }
            let exact = living(all.reduce(into: []) { $0.formUnion(network.byName[$1] ?? []) }, network)
            if !exact.isEmpty { return (network, exact) }
            for name in all where network.wildcards > 0 {
                if let covered = covered(name, network) { return (network, covered) }
            }
        }
        return nil
    }

    /// The nearest wildcard counts: of `a.b.c` first `*.b.c`, then `*.c`.
    private func covered(_ name: String, _ network: Network) -> [Endpoint]? {
        var rest = name[...]
        while let dot = rest.firstIndex(of: ".") {
            let found = living(network.byName["*" + rest[dot...]] ?? [], network)
            if !found.isEmpty { return found }
            rest = rest[rest.index(after: dot)...]
        }
        return nil
    }

    private func living(_ ids: Set<EndpointID>, _ network: Network) -> [Endpoint] {
        ids.compactMap { network.endpoints[$0] }.filter(counts)
    }

    private func addresses(of endpoints: [Endpoint], _ families: [AddressFamily], named name: DNSName, _ rotation: Int) -> [DNSRecord] {
        let all = Set(endpoints.flatMap(\.addresses)).filter { families.contains($0.family) }.sorted()
        return all.rotated(by: rotation).map { DNSRecord(name, ttl: Self.ttl, .address($0)) }
    }

    // MARK: By address

    private func reverse(_ question: DNSQuestion, _ address: IPAddress, _ asking: [NetworkID]) -> NameAnswer? {
        for id in asking {
            guard let network = networks[id] else { continue }
            let names = (network.byAddress[address] ?? []).compactMap { network.endpoints[$0] }.filter(counts)
                .compactMap { full($0, in: network) }
            guard !names.isEmpty else { continue }
            return NameAnswer(answers: names.map { DNSRecord(question.name, ttl: Self.ttl, .pointer($0)) })
        }
        return nil
    }

    /// NAME.NETWORK; as it was written, not in lower case.
    private func full(_ endpoint: Endpoint, in network: Network) -> DNSName? {
        guard let name = endpoint.primary else { return nil }
        return network.name.flatMap { DNSName("\(name).\($0)") } ?? DNSName(name)
    }

    // MARK: By port

    /// _PORT._PROTOCOL.NAME
    private struct Service {
        var port: PublishedPort
        var host: DNSName

        init?(_ name: DNSName) {
            guard name.labels.count > 2, let port = Self.word(name.labels[0]).flatMap({ UInt16($0) }), let kind = Self.word(name.labels[1])
            else { return nil }
            self.port = PublishedPort(port: port, protocol: folded(kind))
            host = name.dropping(2)
        }
        private static func word(_ label: [UInt8]) -> String? {
            label.first == UInt8(ascii: "_") ? String(decoding: label.dropFirst(), as: UTF8.self) : nil
        }
    }

    private func services(_ question: DNSQuestion, _ service: Service, _ asking: [NetworkID], _ rotation: Int) -> NameAnswer? {
        guard let (network, all) = find(service.host.folded, asking) else { return nil }
        let endpoints = all.filter { $0.names?.ports.contains(service.port) ?? false }.sorted { $0.id < $1.id }.rotated(by: rotation)
        var answer = NameAnswer(answers: [])
        for endpoint in endpoints {
            guard let target = full(endpoint, in: network) else { continue }
            answer.answers.append(
                DNSRecord(question.name, ttl: Self.ttl, .service(priority: 0, weight: 1, port: service.port.port, target: target)))
            answer.additionals += addresses(of: [endpoint], [.v4, .v6], named: target, 0)
        }
        return answer.answers.isEmpty ? nil : answer
    }
}

extension Array {
    fileprivate func rotated(by count: Int) -> [Element] {
        guard self.count > 1 else { return self }
        let start = (count % self.count + self.count) % self.count
        return Array(self[start...] + self[..<start])
    }
}

extension IPAddress {
    /// 4.3.2.1.in-addr.arpa (RFC 1035 section 3.5), or 32 hexadecimal digits before ip6.arpa (RFC 3596 section 2.5).
    init?(reverse name: DNSName) {
        let labels = name.labels.map { String(decoding: $0, as: UTF8.self) }.map { folded($0) }
        if labels.count == 6, labels.suffix(2) == ["in-addr", "arpa"] {
            guard let address = IPAddress(labels.prefix(4).reversed().joined(separator: ".")) else { return nil }
            self = address
        } else if labels.count == 34, labels.suffix(2) == ["ip6", "arpa"] {
            let digits = labels.prefix(32).reversed().joined()
            guard digits.utf8.count == 32, digits.utf8.allSatisfy(\.isLowerHex), let bits = UInt128(digits, radix: 16) else { return nil }
            self.init(.v6, bits: bits)
        } else {
            return nil
        }
    }
}
