import Addressing
import Fabric

/// A small cluster to plan for.
enum Sample {
    static let settings = Settings(vxlanPort: 7941, vniBase: 0x100000)

    static func node(_ number: Int, mtu: Int = 1500) -> NodeObject {
        NodeObject(
            id: NodeID(random: UInt128(number) << 64 | UInt128(number)), name: "h\(number)",
            underlay: IPAddress(v4: 0xc0a8_6300 + UInt32(number)), mtu: mtu, agent: "192.168.99.\(number):7940", version: "0.1.0",
            instance: "i\(number)")
    }

    static func network(
        _ number: Int = 1, prefixes: [String] = ["10.32.0.0/16", "fd32::/64"], isInternal: Bool = false
    ) throws -> NetworkObject {
        let id = NetworkID(random: UInt128(number) << 96 | 7)
        let subnets = prefixes.compactMap(IPPrefix.init).compactMap { prefix in
            prefix.first.advanced(by: 1).map { Subnet(prefix: prefix, gateway: $0) }
        }
        return NetworkObject(
            id: id, key: id.description, name: "net\(number)", state: .active,
            vni: VNI(0x100000 + UInt32(number)) ?? .init(1)!, subnets: subnets, isInternal: isInternal, mtu: nil, options: [:],
            addressOptions: [:], origin: node(1).id)
    }

    static func endpoint(_ number: Int, of network: NetworkObject) -> LocalEndpoint {
        let addresses = network.subnets.compactMap { $0.prefix.first.advanced(by: UInt128(number) + 1) }
        return LocalEndpoint(
            id: EndpointID("endpoint-\(number)-\(network.id)"), network: network.id, addresses: addresses,
            mac: LocalEndpoint.mac(for: addresses[0]), created: 0)
    }

    /// Nodes 1 to `count`, and one block for each in each subnet.
    static func view(_ networks: [NetworkObject], nodes count: Int = 3) -> ClusterView {
        var view = ClusterView()
        for number in 1...count {
            let node = node(number)
            _ = view.set(.node(node.id, node))
            for network in networks {
                for subnet in network.subnets {
                    guard let block = subnet.prefix.block(UInt128(number), length: subnet.blockLength) else { continue }
                    _ = view.set(.block(network.id, block, BlockObject(node: node.id, fence: 1)))
                }
            }
        }
        for network in networks { _ = view.set(.network(network.id, network)) }
        return view
    }
}
