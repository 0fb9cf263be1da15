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
            let id = local.endpoints.values.first(where: { $0.network.short == digits })?.network
                ?? listened.keys.first(where: { $0.short == digits })
        else { return }
        let isHere = view.networks[id]?.isSwitched == true && local.endpoints.values.contains { $0.network == id }
        // Nil is not yet known: an agent that has just started must not take back what it said before.
        let now = isHere ? new : nil
        guard listened[id] != now else { return }
        listened[id] = now
        viewChanged()
    }

    /// What this node's listeners are, by the store's key; of none there is no object.
    private var groups: [String: GroupsObject] {
        var objects: [String: GroupsObject] = [:]
        for (id, groups) in listened where !groups.isEmpty && view.networks[id]?.isSwitched == true {
            objects[StoreKey.groups(id, me.id)] = GroupsObject(network: id, node: me.id, listened: groups)
        }
        return objects
    }

    /// Keys whose objects are there and say something else.
    var changedGroups: [String] {
        groups.filter { key, object in view.groups[object.network]?[me.id].map { $0 != object } ?? false }.map(\.key)
    }

    /// What the store must be told of this node's listeners.
    ///
    /// - Parameter entries: the changed ones as they were read a moment ago.
    func groupPublications(over entries: [String: StoreEntry]) throws -> [StoreOperation] {
        var operations: [StoreOperation] = []
        for (key, object) in groups where view.groups[object.network]?[me.id] != object && !isUnreadable(key) {
            // It changed while others were read: the next look has it.
            guard view.groups[object.network]?[me.id] == nil || entries[key] != nil else { continue }
            operations.append(.put(key: key, value: try StoredJSON.encode(object, over: entries[key]), lease: nil))
        }
        for (id, nodes) in view.groups where nodes[me.id] != nil && (listened[id]?.isEmpty == true || local.endpoints(of: id).isEmpty) {
            operations.append(.delete(key: StoreKey.groups(id, me.id)))
        }
        return operations
    }
}
