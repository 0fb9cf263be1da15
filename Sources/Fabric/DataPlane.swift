/// The door to the kernel: observed by value, changed by plans. Implemented by `Kernel` for a real Linux and by a model
/// of it in the tests; one suite runs on both.
package import Addressing

package protocol DataPlane: Sendable {
    /// Our namespaces that exist now, by their pins below /run/netns; without `.host`.
    func namespaces() async throws -> Set<NamespaceID>

    /// What the kernel holds there; nil when there is no such namespace. `fresh` asks for a new dump of everything; otherwise the
    /// answer may come from a mirror that the kernel's own notifications keep exact.
    func observe(_ namespace: NamespaceID, fresh: Bool) async throws -> NamespaceState?

    /// Executes the steps in order. A step that fails is reported, and what depends on it is skipped and reported; everything else is done.
    func apply(_ steps: [Step]) async -> [StepFailure]

    /// Namespaces in which somebody, perhaps ourselves, changed something; and `.host`'s own links and addresses (the underlay).
    func changes() async -> AsyncStream<NamespaceID>

    /// Named counters of the filter in that namespace: packets.
    func counters(_ namespace: NamespaceID) async throws -> [String: UInt64]
}

/// One change of the kernel. All are idempotent: done twice is done once.
package enum Step: Hashable, Sendable {
    case createNamespace(NamespaceID)
    /// With everything in it. The far ends of its veth pairs vanish too.
    case deleteNamespace(NamespaceID)
    case createLink(NamespaceID, String, Link)
    case deleteLink(NamespaceID, String)
    /// nil leaves as it is. With a sandbox, the MTU is also set on the far end in there.
    case changeLink(NamespaceID, String, mac: MACAddress?, mtu: Int?, isUp: Bool?, sandbox: String?)
    case addAddress(NamespaceID, LinkAddress)
    case deleteAddress(NamespaceID, LinkAddress)
    case setNeighbor(NamespaceID, NeighborKey, MACAddress)
    case deleteNeighbor(NamespaceID, NeighborKey)
    case setForwarding(NamespaceID, ForwardingKey, IPAddress)
    case deleteForwarding(NamespaceID, ForwardingKey)
    case setBridge(NamespaceID, String, Bridge)
    /// nil takes the link out of its bridge.
    case setPort(NamespaceID, String, BridgePort?)
    case setStation(NamespaceID, MACAddress, port: String)
    /// The port is the one that the row has.
    case deleteStation(NamespaceID, MACAddress, port: String)
    case addFlood(NamespaceID, FloodRow)
    case deleteFlood(NamespaceID, FloodRow)
    case addGroup(NamespaceID, GroupRow)
    case deleteGroup(NamespaceID, GroupRow)
    case setRoute(NamespaceID, RouteKey, RouteTarget)
    case deleteRoute(NamespaceID, RouteKey)
    case setSysctl(NamespaceID, path: String, value: String)
    /// The whole table, atomically; nil removes it.
    case setFilter(NamespaceID, PacketFilter?)
    case changeSet(NamespaceID, set: String, type: FilterSet.ElementType, add: Set<FilterElement>, remove: Set<FilterElement>)
    /// The same for the table of family `bridge`.
    case setBridgeFilter(NamespaceID, PacketFilter?)
    case changeBridgeSet(NamespaceID, set: String, type: FilterSet.ElementType, add: Set<FilterElement>, remove: Set<FilterElement>)

    package var namespace: NamespaceID {
        switch self {
        case .createNamespace(let id), .deleteNamespace(let id): id
        case .createLink(let id, _, _), .deleteLink(let id, _): id
        case .changeLink(let id, _, mac: _, mtu: _, isUp: _, sandbox: _): id
        case .addAddress(let id, _), .deleteAddress(let id, _): id
        case .setNeighbor(let id, _, _), .deleteNeighbor(let id, _): id
        case .setForwarding(let id, _, _), .deleteForwarding(let id, _): id
        case .setBridge(let id, _, _), .setPort(let id, _, _): id
        case .setStation(let id, _, port: _), .deleteStation(let id, _, port: _): id
        case .addFlood(let id, _), .deleteFlood(let id, _): id
        case .addGroup(let id, _), .deleteGroup(let id, _): id
        case .setRoute(let id, _, _), .deleteRoute(let id, _): id
        case .setSysctl(let id, path: _, value: _): id
        case .setFilter(let id, _), .setBridgeFilter(let id, _): id
        case .changeSet(let id, set: _, type: _, add: _, remove: _), .changeBridgeSet(let id, set: _, type: _, add: _, remove: _): id
        }
    }

    /// The link that must exist for it, if any.
    package var link: String? {
        switch self {
        case .createLink(_, let name, _), .deleteLink(_, let name): name
        case .changeLink(_, let name, mac: _, mtu: _, isUp: _, sandbox: _): name
        case .addAddress(_, let row), .deleteAddress(_, let row): row.link
        case .setNeighbor(_, let key, _), .deleteNeighbor(_, let key): key.link
        case .setForwarding(_, let key, _), .deleteForwarding(_, let key): key.link
        case .setBridge(_, let name, _), .setPort(_, let name, _): name
        case .setStation(_, _, port: let name), .deleteStation(_, _, port: let name): name
        case .addFlood(_, let row), .deleteFlood(_, let row): row.link
        case .addGroup(_, let row), .deleteGroup(_, let row): row.link
        case .setRoute(_, _, let target): target.link
        case .createNamespace, .deleteNamespace, .deleteRoute, .setSysctl, .setFilter, .changeSet, .setBridgeFilter, .changeBridgeSet: nil
        }
    }
}

package struct StepFailure: Sendable {
    package var step: Step
    /// What the kernel said, with its extended acknowledgement; or which failed step this one depends on.
    package var reason: String
    /// It was not tried, because of another one's failure.
    package var isSkipped: Bool
    /// No kernel was asked: what should be in the step's namespace is not known.
    package var isUnknown: Bool
    package init(step: Step, reason: String, isSkipped: Bool = false, isUnknown: Bool = false) {
        self.step = step
        self.reason = reason
        self.isSkipped = isSkipped
        self.isUnknown = isUnknown
    }
}
