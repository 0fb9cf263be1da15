/// What `tulle dns` shows.
import Addressing
import DNS
import Fabric
package import LocalAPI
import NameService

extension Controller {
    package func nameReports() -> [NameReport] {
        names.look(\.listing).map { entry in
            let endpoint = entry.endpoint
            return NameReport(
                names: entry.names, addresses: endpoint.addresses.sorted().map(\.description), network: entry.network ?? "-",
                node: view.nodes[endpoint.node]?.name ?? endpoint.node.description,
                ports: (endpoint.names?.ports ?? []).map { "\($0.port)/\($0.protocol)" }, answered: entry.counts)
        }.filter { !$0.names.isEmpty }.sorted { ($0.network, $0.names.first ?? "", $0.addresses.first ?? "") < ($1.network, $1.names.first ?? "", $1.addresses.first ?? "") }
    }

    package func ask(_ question: NameQuestion) throws -> NameAnswerReport {
        let operation = "look up \(question.name)"
        let networks: [NetworkID]
        if let name = question.network {
            guard let id = names.look({ $0.network(named: name) }) else {
                throw AgentError(.unknown, operation, cause: "there is no network \(name)", remedy: "'tulle networks' shows those that there are")
            }
            networks = [id]
        } else {
            networks = view.live.sorted { $0.displayName < $1.displayName }.map(\.id)
        }
        let address = IPAddress(question.name)
        guard let name = address?.reverseName ?? DNSName(question.name) else {
            throw AgentError(.invalid, operation, cause: "it is no name: labels of 1 to 63 bytes with dots between, 253 in all", remedy: "correct it")
        }
        var types: [DNSType] = address == nil ? [.a, .aaaa] : [.ptr]
        if let text = question.type {
            guard let type = DNSType(text) else {
                throw AgentError(.invalid, operation, cause: "'\(text)' is no type of record", remedy: "A, AAAA, PTR, SRV and ANY are answered")
            }
            types = [type]
        }
        let found = types.compactMap { type in names.look { $0.answer(DNSQuestion(name, type), asking: networks, rotation: 0) } }
        return NameAnswerReport(
            known: !found.isEmpty, answers: found.flatMap(\.answers).map { NameAnswerReport.Record($0) },
            additional: found.flatMap(\.additionals).map { NameAnswerReport.Record($0) })
    }
}

extension NameAnswerReport.Record {
    init(_ record: DNSRecord) {
        self.init(name: "\(record.name)", type: "\(record.type)", ttl: Int(record.ttl), data: "\(record.data)")
    }
}

extension IPAddress {
    /// Its name below in-addr.arpa or ip6.arpa.
    fileprivate var reverseName: DNSName? {
        switch family {
        case .v4: DNSName(bytes.reversed().map(String.init).joined(separator: ".") + ".in-addr.arpa")
        case .v6: DNSName(bytes.reversed().flatMap { [$0 & 15, $0 >> 4] }.map { String($0, radix: 16) }.joined(separator: ".") + ".ip6.arpa")
        }
    }
}
