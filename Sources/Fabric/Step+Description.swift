/// Steps as people write them: in the words of iproute2 and nft, for `tulle plan`, logs and errors.
import Addressing

extension Step: CustomStringConvertible {
    package var description: String {
        let place = namespace.pinName.map { "-n \($0) " } ?? ""
        switch self {
        case .createNamespace(let id): return "ip netns add \(id)"
        case .deleteNamespace(let id): return "ip netns del \(id)"
        case .createLink(_, let name, let link): return "ip \(place)link add \(name) \(link.words)"
        case .deleteLink(_, let name): return "ip \(place)link del \(name)"
        case .changeLink(_, let name, mac: let mac, mtu: let mtu, isUp: let isUp, sandbox: let sandbox):
            let words = [
                mac.map { "address \($0)" }, mtu.map { "mtu \($0)" }, isUp.map { $0 ? "up" : "down" },
                sandbox.map { "(and in the container \($0))" },
            ]
            return "ip \(place)link set \(name) \(words.compactMap { $0 }.joined(separator: " "))"
        case .addAddress(_, let row): return "ip \(place)address add \(row.address) dev \(row.link)"
        case .deleteAddress(_, let row): return "ip \(place)address del \(row.address) dev \(row.link)"
        case .setNeighbor(_, let key, let mac):
            return "ip \(place)neighbour replace \(key.address) lladdr \(mac) dev \(key.link)"
        case .deleteNeighbor(_, let key): return "ip \(place)neighbour del \(key.address) dev \(key.link)"
        case .setForwarding(_, let key, let remote):
            return "bridge \(place)fdb replace \(key.mac) dst \(remote) dev \(key.link) self"
        case .deleteForwarding(_, let key): return "bridge \(place)fdb del \(key.mac) dev \(key.link) self"
        case .setBridge(_, let name, let bridge): return "ip \(place)link set \(name) type bridge \(bridge.words)"
        case .setPort(_, let name, let port?): return "bridge \(place)link set dev \(name) master \(port.bridge) \(port.words)"
        case .setPort(_, let name, nil): return "ip \(place)link set \(name) nomaster"
        case .setStation(_, let mac, port: let port): return "bridge \(place)fdb replace \(mac) dev \(port) master static"
        case .deleteStation(_, let mac, port: let port): return "bridge \(place)fdb del \(mac) dev \(port) master"
        case .addFlood(_, let row): return "bridge \(place)fdb append \(MACAddress.any) dst \(row.remote) dev \(row.link) self"
        case .deleteFlood(_, let row): return "bridge \(place)fdb del \(MACAddress.any) dst \(row.remote) dev \(row.link) self"
        case .addGroup(_, let row):
            return "bridge \(place)mdb replace dev \(row.link) port \(row.link) grp \(row.group) dst \(row.remote) permanent"
        case .deleteGroup(_, let row): return "bridge \(place)mdb del dev \(row.link) port \(row.link) grp \(row.group) dst \(row.remote)"
        case .setRoute(_, let key, let target): return "ip \(place)route replace \(target.words(to: key))"
        case .deleteRoute(_, let key): return "ip \(place)route del \(key.words)"
        case .setSysctl(_, path: let path, value: let value):
            return (namespace == .host ? "" : "ip netns exec \(namespace) ") + "sysctl -w \(path)=\(value)"
        case .setFilter(_, let filter): return words(filter, table: "inet tulle")
        case .setBridgeFilter(_, let filter): return words(filter, table: "bridge tulle")
        case .changeSet(_, set: let set, type: _, add: let add, remove: let remove): return words("inet tulle \(set)", add, remove)
        case .changeBridgeSet(_, set: let set, type: _, add: let add, remove: let remove): return words("bridge tulle \(set)", add, remove)
        }
    }

    private func words(_ filter: PacketFilter?, table: String) -> String {
        guard let filter else { return "nft delete table \(table) (in \(namespace))" }
        let rules = filter.chains.values.map(\.rules.count).reduce(0, +)
        return "nft replace table \(table) with \(rules) rules (in \(namespace))"
    }

    private func words(_ set: String, _ add: Set<FilterElement>, _ remove: Set<FilterElement>) -> String {
        let words = [
            add.isEmpty ? nil : "add { \(add.map(\.words).sorted().joined(separator: ", ")) }",
            remove.isEmpty ? nil : "delete { \(remove.map(\.words).sorted().joined(separator: ", ")) }",
        ]
        return "nft element \(set) \(words.compactMap { $0 }.joined(separator: " ")) (in \(namespace))"
    }
}

extension Bridge {
    fileprivate var words: String {
        """
        mcast_snooping \(snoops ? 1 : 0) mcast_querier \(queries ? 1 : 0) mcast_query_use_ifaddr \(asksFromOwnAddress ? 1 : 0) \
        mcast_query_response_interval \(answerTime) \
        stp_state \(hasSpanningTree ? 1 : 0) vlan_filtering \(filtersVLANs ? 1 : 0)
        """
    }
}

extension BridgePort {
    fileprivate var words: String {
        let flags = [
            ("learning", learns), ("flood", floodsUnknown), ("mcast_flood", floodsMulticast), ("bcast_flood", floodsBroadcast),
            ("neigh_suppress", suppressesNeighbors), ("proxy_arp", proxiesARP), ("isolated", isIsolated),
        ]
        return flags.map { "\($0) \($1 ? "on" : "off")" }.joined(separator: " ") + " mcast_router \(getsAllMulticast ? 2 : 1)"
    }
}

extension Link {
    fileprivate var words: String {
        var words: [String] = []
        if let mac { words.append("address \(mac)") }
        if let mtu { words.append("mtu \(mtu)") }
        switch kind {
        case .loopback: words.append("type loopback")
        case .vxlan(let vxlan): words.append("type vxlan id \(vxlan.vni) dstport \(vxlan.port) local \(vxlan.local) nolearning")
        case .veth: words.append("type veth")
        case .bridge: words.append("type bridge")
        case .other(let name): words.append("type \(name)")
        }
        switch peer?.place {
        case .namespace(let id)?: words.append("peer \(peer?.name ?? "-") in \(id)")
        case .sandbox(let path, let addresses, _)?:
            words.append("peer in the container \(path) with \(addresses.map(\.description).joined(separator: ", "))")
        case nil: break
        }
        return words.joined(separator: " ")
    }
}

extension RouteKey {
    fileprivate var words: String {
        let isUsual = self == RouteKey(destination: destination)
        return destination.description + (isUsual ? "" : " metric \(metric)")
    }
}

extension RouteTarget {
    fileprivate func words(to key: RouteKey) -> String {
        switch self {
        case .link(let name): "\(key.words) dev \(name)"
        case .via(let address, let name) where address.family == key.destination.family:
            "\(key.words) via \(address) dev \(name) onlink"
        case .via(let address, let name):
            "\(key.words) via \(address.family == .v6 ? "inet6" : "inet") \(address) dev \(name) onlink"
        case .sourced(let source, via: nil, let name): "\(key.words) dev \(name) src \(source)"
        case .sourced(let source, via: let address?, let name): "\(key.words) via \(address) dev \(name) onlink src \(source)"
        case .unreachable: "unreachable \(key.words)"
        case .foreign: "\(key.words) (not ours)"
        }
    }
}

extension FilterElement {
    fileprivate var words: String {
        switch self {
        case .address(let address): address.description
        case .guarded(let link, let mac, let address): "\(link) . \(mac) . \(address)"
        }
    }
}
