/// Multicast of switched networks: who listens here, as the kernel's bridge heard it, and what the others are told of it.
///
/// A container that joins a group says so (IGMP, MLD). The bridge of its network hears that and tells its monitor; the pass that follows
/// brings it here; `Publisher` writes `groups/NETWORK/NODE`; the other nodes' tunnels copy the group's packets to this host from then on.
package import Addressing
package import Fabric
import Store

extension Controller {
    package func heard(_ namespace: NamespaceID, listened new: Set<IPAddress>) {
        // Only a network with endpoints here has a namespace.
        guard case .pinned(let digits) = namespace,
            let id = local.endpoints.values.first(where: { $0.network.short == digits })?.network ?? listened.keys.first(where: { $0.short == digits })
        else { return }
        let isHere = view.networks[id]?.isSwitched == true && local.endpoints.values.contains { $0.network == id }
        // Nil is not yet known: an agent that has just started must not take back what it said before.
        let now = isHere ? new : nil
        guard listened[id] != now else { return }
        listened[id] = now
        viewChanged()
    }

    /// What the store must be told of this node's listeners.
    func groupPublications() throws -> [StoreOperation] {
        var operations: [StoreOperation] = []
        for (id, groups) in listened where !groups.isEmpty && view.networks[id]?.isSwitched == true {
            let object = GroupsObject(network: id, node: me.id, listened: groups)
            let key = StoreKey.groups(id, me.id)
            guard view.groups[id]?[me.id] != object, !isUnreadable(key) else { continue }
            operations.append(.put(key: key, value: try StoredJSON.encode(object), lease: nil))
        }
        for (id, nodes) in view.groups where nodes[me.id] != nil && (listened[id]?.isEmpty == true || local.endpoints(of: id).isEmpty) {
            operations.append(.delete(key: StoreKey.groups(id, me.id)))
        }
        return operations
    }
}
