/// What the kernel of one host should hold for the cluster's networks, and what it does hold, as lines of text that can be compared. The lines that are expected are made
/// here of the store's record and of what Docker says of its containers, not by the agent's own reckoning (`Desired`).
import Addressing
import Fabric
import TestKit

/// One container on one network, as its engine tells it.
struct EngineEndpoint: Hashable, Sendable {
    let container: String
    let network: String
    let id: EndpointID
    let addresses: [IPAddress]
    let mac: String

    /// The link's name at the network's end.
    var link: String { LocalEndpoint(id: id, network: nowhere, addresses: [], mac: MACAddress(bits: 0), created: 0).outerLink }
}
private let nowhere = NetworkID(random: 0)

enum KernelText {
    /// Prints, for each network's namespace, its name and then all its rows.
    static let script = """
        for n in $(ls /run/netns 2>/dev/null | grep ^tulle-); do echo "namespace $n"
        ip netns exec $n sh -c 'ip route; ip -6 route; ip neigh show nud permanent; bridge fdb show dev vxlan'; done
        """

    /// - Parameter me: the host's node.
    static func expected(_ view: ClusterView, me: NodeID, _ endpoints: [EngineEndpoint]) -> Set<String> {
        var lines: Set<String> = []
        for (name, here) in Dictionary(grouping: endpoints, by: \.network) {
            guard let network = view.network(name: name) else {
                lines.insert("network \(name) is in the store")
                continue
            }
            let place = "tulle-\(network.id.short)"
            lines.insert(place)
            func add(_ line: String) { lines.insert("\(place): \(line)") }
            func hop(to id: NodeID) -> String? {
                guard let node = view.nodes[id] else { return nil }
                add("neighbour \(id.tunnelMAC.linkLocal) dev vxlan \(id.tunnelMAC)")
                add("fdb \(id.tunnelMAC) \(node.underlay)")
                return "via \(id.tunnelMAC.linkLocal) dev vxlan"
            }
            for subnet in network.subnets { add("unreachable \(subnet.prefix)") }
            for (prefix, block) in view.blocks[network.id] ?? [:] where block.node != me {
                if let hop = hop(to: block.node) { add("route \(prefix) \(hop)") }
            }
            for (address, single) in view.addresses[network.id] ?? [:] where single.node != me {
                if let hop = hop(to: single.node) { add("route \(address) \(hop)") }
            }
            for endpoint in here {
                for address in endpoint.addresses {
                    add("route \(address) dev \(endpoint.link)")
                    add("neighbour \(address) dev \(endpoint.link) \(endpoint.mac)")
                }
            }
        }
        return lines
    }

    /// - Parameter output: of `script`.
    static func observed(_ output: [String]) -> Set<String> {
        var lines: Set<String> = []
        var place = ""
        for line in output {
            let words = line.labWords
            if words.first == "namespace" {
                place = words.last ?? ""
                lines.insert(place)
            } else if let row = row(words) {
                lines.insert("\(place): \(row)")
            }
        }
        return lines
    }

    /// nil for what the kernel makes by itself and for the way out, which is not the cluster's matter.
    private static func row(_ words: [String]) -> String? {
        func word(after name: String) -> String? { words.firstIndex(of: name).flatMap { words.indices.contains($0 + 1) ? words[$0 + 1] : nil } }
        guard let first = words.first, first != "default", word(after: "proto") != "kernel" else { return nil }
        if first == "unreachable" { return "unreachable \(words[1])" }
        if let mac = word(after: "lladdr") { return "neighbour \(first) dev \(word(after: "dev") ?? "?") \(mac)" }
        if words.contains("self") { return word(after: "dst").map { "fdb \(first) \($0)" } }
        guard let link = word(after: "dev") else { return words.joined(separator: " ") }
        guard let via = word(after: "via") else { return "route \(first) dev \(link)" }
        return "route \(first) via \(via == "inet6" ? word(after: "inet6") ?? "?" : via) dev \(link)"
    }
}
