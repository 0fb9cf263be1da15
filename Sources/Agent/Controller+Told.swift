/// How the view reaches the names that containers are told (`NameBook`).
///
/// All of it at once, but for one thing: a node whose sign of life is gone may be one whose agent is just being restarted or upgraded, which took the sign back
/// itself. Its containers live, so their names are told for a few seconds more, in which the next agent gives its own.
import Fabric
import NameService

extension Controller {
    /// Longer than an agent's restart takes until its sign of life is in every view; seconds.
    static let restartSeconds = 5

    func tell(_ object: ClusterView.Object) {
        guard case .alive(let node, false) = object else { return names.set(object) }
        withholdSoon([node])
    }

    /// - Parameter before: who was alive in the view before this one.
    func tellAll(aliveBefore before: Set<NodeID>) {
        var told = view
        told.alive.formUnion(before)
        names.replace(told, isHeard: true)
        withholdSoon(before.subtracting(view.alive))
    }

    private func withholdSoon(_ nodes: Set<NodeID>) {
        guard !nodes.isEmpty else { return }
        // It keeps no controller, and with it the files, from ending.
        Task { [weak self] in
            try? await Task.sleep(for: .seconds(Self.restartSeconds))
            await self?.withhold(nodes)
        }
    }

    private func withhold(_ nodes: Set<NodeID>) {
        for node in nodes where !view.alive.contains(node) { names.set(.alive(node, false)) }
    }
}
