/// `tulle status` for people: one line a subject.
import LocalAPI

extension StatusReport {
    func text(now: Timestamp, color: Bool) -> String {
        let subjects: [(String, [Table.Cell])] = [
            ("NODE", [Table.Cell(nodeText)]),
            ("CLUSTER", [clusterCell]),
            ("STORE", [storeCell]),
            ("DOCKER", [dockerCell]),
            ("LEASE", [leaseCell]),
            ("HERE", [Table.Cell("\(Humane.count(networks, "network")), \(Humane.count(endpoints, "endpoint"))")]),
            ("SYNCED", [Table.Cell(Humane.age(lastSync, now: now).map { "\($0) ago" } ?? "never")]),
            ("DRIFT", [Table.Cell("\(driftRepaired) repaired")]),
            ("VERSION", [Table.Cell(version)]),
            ("PROBLEMS", problems.isEmpty ? ["none"] : problems.map { Table.Cell($0, .bad) }),
        ]
        return subjects.map { title, cells in
            cells.enumerated().map { index, cell in
                let head = index == 0 ? title : ""
                return head + String(repeating: " ", count: 10 - head.count) + cell.shown(color: color) + "\n"
            }.joined()
        }.joined()
    }

    private func list(_ parts: [String?]) -> String { parts.compactMap { $0 }.joined(separator: ", ") }

    private var nodeText: String {
        list(["\(node.name) (\(node.id))", node.address ?? "no underlay address", node.mtu.map { "MTU \($0)" }])
    }

    private var clusterCell: Table.Cell {
        guard let cluster else { return Table.Cell("none yet", .bad) }
        let alive = "\(cluster.nodesAlive) of \(Humane.count(cluster.nodesTotal, "node")) alive"
        return Table.Cell(list([cluster.id, alive]), cluster.nodesAlive == cluster.nodesTotal ? .good : .bad)
    }

    private var storeCell: Table.Cell {
        let place = store.address.map { "\(store.kind) at \($0)" } ?? store.kind
        return Table.Cell(
            list([place, store.reachable ? "reachable" : "not reachable", store.revision.map { "revision \($0)" }]),
            store.reachable ? .good : .bad)
    }

    private var dockerCell: Table.Cell {
        guard let docker else { return "not used" }
        let place = docker.version.map { "\($0) at \(docker.socket)" } ?? docker.socket
        return Table.Cell(
            list([place, docker.reachable ? "reachable" : "not reachable", docker.networks.map { Humane.count($0, "network") }]),
            docker.reachable ? .good : .bad)
    }

    private var leaseCell: Table.Cell {
        let left = lease.secondsLeft.map { "\(Humane.duration(seconds: Int64($0))) left" }
        return Table.Cell(list([lease.state.rawValue, left]), lease.state == .held ? .good : .bad)
    }
}
