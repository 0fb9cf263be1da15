/// The lists for people.
import LocalAPI

extension [NetworkReport] {
    var table: Table {
        // Routed is what is meant where nothing else is.
        let hasModes = contains { $0.mode != "routed" }
        return Table(
            columns: [
                .init(title: "NAME"), .init(title: "KEY", isOptional: true), .init(title: "ID"), .init(title: "STATE"),
                .init(title: "MODE", isOptional: true),
                .init(title: "VNI", isNumber: true), .init(title: "MTU", isNumber: true), .init(title: "SUBNETS"),
                .init(title: "BLOCKS", isNumber: true), .init(title: "ENDPOINTS", isNumber: true), .init(title: "NODES"),
                .init(title: "REASON", isOptional: true),
            ],
            rows: map { network in
                [
                    .init(network.name), .init(network.key), .init(Humane.short(network.id)),
                    .init(network.state.rawValue, network.state == .active ? .good : .bad), .init(hasModes ? network.mode : nil), .init(network.vni), .init(network.mtu),
                    .init(network.subnets.map(\.prefix)), .init(network.subnets.reduce(0) { $0 + $1.blocksOwned }),
                    .init("\(network.endpointsHere)/\(network.endpointsTotal)"), .init(network.nodes), .init(network.reason),
                ]
            })
    }
}

extension [EndpointReport] {
    func table(now: Timestamp) -> Table {
        Table(
            columns: [
                .init(title: "CONTAINER"), .init(title: "NETWORK"), .init(title: "ADDRESSES"), .init(title: "NODE"),
                .init(title: "STATE"), .init(title: "SINCE"), .init(title: "MAC"), .init(title: "ID"),
            ],
            rows: map { endpoint in
                [
                    .init(endpoint.container), .init(endpoint.network), .init(endpoint.addresses), .init(endpoint.node),
                    .init(endpoint.state.rawValue, endpoint.state.style), .init(Humane.age(endpoint.since, now: now)),
                    .init(endpoint.mac), .init(Humane.short(endpoint.id)),
                ]
            })
    }
}

extension EndpointReport.State {
    fileprivate var style: Table.Style {
        switch self {
        case .joined: .good
        case .created: .plain
        case .suspended, .quarantined: .bad
        }
    }
}

extension [NodeReport] {
    func table(now: Timestamp) -> Table {
        Table(
            columns: [
                .init(title: "NAME"), .init(title: "ADDRESS"), .init(title: "AGENT"), .init(title: "STATE"),
                .init(title: "NETWORKS", isNumber: true), .init(title: "BLOCKS", isNumber: true), .init(title: "VERSION"),
                .init(title: "ID"),
            ],
            rows: map { node in
                [
                    .init(node.name + (node.`self` ? "*" : "")), .init(node.address), .init(node.agentAddress),
                    .init(node.alive ? "alive" : "silent", node.alive ? .good : .bad),
                    .init(node.networks), .init(node.blocks), .init(node.version), .init(Humane.short(node.id)),
                ]
            })
    }
}

extension [JoinTokenReport] {
    func table(now: Timestamp) -> Table {
        Table(
            columns: [
                .init(title: "ID"), .init(title: "STATE"), .init(title: "ENDS IN"), .init(title: "USED", isNumber: true),
                .init(title: "USES", isNumber: true),
            ],
            rows: map { token in
                [
                    .init(token.id), .init(token.state, token.state == "valid" ? .good : .bad),
                    .init(Humane.duration(seconds: token.expires.since(now).components.seconds)), .init(token.used),
                    .init(token.uses.map(String.init) ?? "any"),
                ]
            })
    }
}

extension [PlanReport] {
    var table: Table {
        Table(
            columns: [.init(title: "NAMESPACE"), .init(title: "STEP")],
            rows: flatMap { plan in plan.steps.map { [.init(plan.namespace), .init($0)] } })
    }
}
