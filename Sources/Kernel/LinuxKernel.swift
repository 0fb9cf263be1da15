/// The real data plane: Linux, through netlink.
///
/// A plan goes through it like this: `apply` runs on the kernel's thread (KernelThread.swift), which is this actor's executor, so
/// that blocking system calls hold up no one else. Runs of rows of one namespace become batches of netlink requests,
/// each acknowledged (LinuxKernel+Rows.swift); links (LinuxKernel+Links.swift), the repair of a container's pair (Sandbox.swift),
/// sysctls and filters are done one by one. After each run the namespace's monitor is drained into its mirror (Mirror.swift), which
/// `observe` answers from. Between calls the same thread waits on the monitors of all namespaces and tells the listeners
/// of `changes`.
import Addressing
package import Fabric
import Glibc

package actor LinuxKernel: DataPlane {
    /// Written into our neighbours (NDA_PROTOCOL) and into routes without a next hop (RTPROT_…). Nothing is decided by it: in a network's
    /// namespace everything is ours.
    package static let origin: UInt8 = 84

    /// What is written into our routes: 80 to 95, by the next hop. The kernel looks for equal next hops in a hash table, and of what it
    /// hashes (protocol, scope, source, metric, device; `fib_info_hashfn` in net/ipv4/fib_semantics.c) only the protocol can differ
    /// between our next hops. With one number for 4,000 nodes it compares each with each, which takes two thirds of the time.
    static func origin(via gateway: IPAddress) -> UInt8 { 80 | UInt8(gateway.bits & 0xf) }

    private nonisolated let thread: KernelThread
    package nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

    let pins: NamespacePins
    private let hostDescriptor: Int32
    private let monitorRoom: Int32
    private let buffer = NetlinkBuffer()
    /// By the name of the pin, or "host".
    private var known: [String: Namespace] = [:]
    private var lastKey: UInt64 = 0
    /// A VXLAN device of this kernel refused a group (Linux before 6.4).
    var lacksGroups = false
    private var feeds: [WeakFeed] = []

    /// - Parameters:
    ///   - host: the host's network namespace; nil takes the caller's. The descriptor is copied.
    ///   - pins: where namespaces are pinned.
    ///   - monitorRoom: bytes that a namespace's unread notifications may take; beyond, everything is read anew.
    package init(host: Int32? = nil, pins: NamespacePins = NamespacePins(), monitorRoom: Int32 = 16 << 20) throws(KernelError) {
        thread = try KernelThread()
        self.pins = pins
        self.monitorRoom = monitorRoom
        if let host {
            hostDescriptor = fcntl(host, F_DUPFD_CLOEXEC, 0)
            guard hostDescriptor >= 0 else { throw .last("copy the descriptor of the host's namespace") }
        } else {
            hostDescriptor = try NamespacePins.current()
        }
        try thread.start { [weak self] key in
            self?.assumeIsolated { $0.notified(key) }
        }
    }
    deinit {
        thread.stop()
        close(hostDescriptor)
    }

    // MARK: DataPlane

    package func namespaces() throws -> Set<NamespaceID> {
        var found: Set<NamespaceID> = []
        for name in try pins.names(prefix: Self.pinPrefix) {
            if let id = known[name]?.id {
                found.insert(id)
            } else if let id = NamespaceID(pinName: name), let descriptor = try pins.open(name) {
                close(descriptor)
                found.insert(id)
            }
        }
        // Those whose pin was removed live on in our hands.
        for namespace in known.values where namespace.id != .host { found.insert(namespace.id) }
        return found
    }
    private static let pinPrefix = "tulle-"

    package func observe(_ id: NamespaceID, fresh: Bool) throws -> NamespaceState? {
        guard let namespace = try namespace(id) else { return nil }
        try refresh(namespace, all: fresh)
        var state = namespace.mirror.state
        state.sysctls = namespace.sysctls
        state.filter = namespace.filter
        state.bridgeFilter = namespace.bridgeFilter
        state.lacksGroups = lacksGroups
        return state
    }

    package func counters(_ id: NamespaceID) throws -> [String: UInt64] {
        guard let namespace = try namespace(id) else { return [:] }
        var counters = try NetfilterTable.counters(namespace.netfilter())
        guard namespace.bridgeFilter != nil else { return counters }
        counters.merge(try NetfilterTable.counters(namespace.netfilter(), .bridge)) { $0 &+ $1 }
        return counters
    }

    package func changes() -> AsyncStream<NamespaceID> {
        let feed = ChangeFeed()
        feeds.removeAll { $0.feed == nil }
        feeds.append(WeakFeed(feed: feed))
        // The underlay counts from now on. If the host cannot be watched now, the first `observe` says why.
        _ = try? namespace(.host)
        return feed.stream()
    }
    private struct WeakFeed {
        weak var feed: ChangeFeed?
    }

    // MARK: Known namespaces

    /// nil when there is none. A namespace that we hold and whose pin is gone is pinned again.
    func namespace(_ id: NamespaceID) throws(KernelError) -> Namespace? {
        if let namespace = known[id.description] {
            if let name = id.pinName, !pins.isPinned(namespace.descriptor, as: name) {
                // Whatever is there instead does not have the containers' links.
                try pins.remove(name)
                try pins.pin(namespace.descriptor, as: name)
            }
            return namespace
        }
        let descriptor: Int32
        if let name = id.pinName {
            guard let pinned = try pins.open(name) else { return nil }
            descriptor = pinned
        } else {
            descriptor = fcntl(hostDescriptor, F_DUPFD_CLOEXEC, 0)
            guard descriptor >= 0 else { throw .last("copy the descriptor of the host's namespace") }
        }
        return try adopt(descriptor, as: id)
    }

    /// Knows a namespace from now on; takes over the descriptor.
    func adopt(_ descriptor: Int32, as id: NamespaceID) throws(KernelError) -> Namespace {
        lastKey += 1
        let namespace = try Namespace(id, key: lastKey, descriptor: descriptor, buffer: buffer, monitorRoom: monitorRoom)
        for monitor in namespace.monitors { try thread.watch(monitor, key: lastKey) }
        known[id.description] = namespace
        return namespace
    }

    func forget(_ id: NamespaceID) {
        guard let namespace = known.removeValue(forKey: id.description) else { return }
        for monitor in namespace.monitors { thread.unwatch(monitor) }
    }

    /// All that are known, the host's too.
    var knownNamespaces: [Namespace] { known.values.sorted { $0.id < $1.id } }

    // MARK: Looking

    /// Makes all that is known exact: the mirror, and what is not in it: sysctls, read only of new links, and the filter, read only
    /// when it changed.
    private func refresh(_ namespace: Namespace, all: Bool) throws(KernelError) {
        try synchronize(namespace, all: all)
        let isFirst = !namespace.sysctlsAreRead
        if all || isFirst {
            try readSysctls(of: Set(namespace.mirror.state.links.keys), namespace, all: true)
        } else if !namespace.mirror.movedLinks.isEmpty {
            try readSysctls(of: namespace.mirror.movedLinks, namespace, all: false)
        }
        namespace.forgetMovedLinks()
        if all || namespace.filterIsStale {
            // A change during the reading sets it again.
            namespace.filterIsStale = false
            do throws(KernelError) {
                namespace.filter = try NetfilterTable.observe(namespace.netfilter()).filter
                // Where there is no bridge it filters nothing: a sweep is soon enough. The host's bridges are others'.
                let hasBridge = namespace.mirror.state.links.values.contains { $0.kind == .bridge }
                if namespace.id != .host, all || isFirst || hasBridge || namespace.bridgeFilter != nil {
                    namespace.bridgeFilter = try NetfilterTable.observe(namespace.netfilter(), .bridge).filter
                }
            } catch {
                namespace.filterIsStale = true
                // Without nftables there is no filter: what needs one is told when it is set.
                guard error.code == .unsupported else { throw error }
                namespace.filter = nil
                namespace.bridgeFilter = nil
            }
        }
    }

    /// Makes the mirror exact.
    func synchronize(_ namespace: Namespace, all: Bool = false) throws(KernelError) {
        try drain(namespace)
        if all || namespace.mirror.needsReload, try namespace.reload() { post(namespace.id) }
    }

    /// Takes what the kernel has told, and tells it on.
    func drain(_ namespace: Namespace) throws(KernelError) {
        if try namespace.drain() { post(namespace.id) }
    }

    /// A monitor of that namespace is readable.
    private func notified(_ key: UInt64) {
        guard let namespace = known.values.first(where: { $0.key == key }) else { return }
        do throws(KernelError) {
            try drain(namespace)
        } catch {
            // Something was lost; the next look reads anew, and reports the error if it lasts.
            namespace.doubt()
            post(namespace.id)
        }
    }

    private func post(_ id: NamespaceID) {
        for feed in feeds { feed.feed?.post(id) }
    }
}

extension NamespaceID {
    /// From the name of a pin, which has the first 12 of the network id's 32 digits; the others are taken to be zero. It is good for
    /// everything that goes by the pin, such as deleting.
    init?(pinName: String) {
        guard pinName.hasPrefix("tulle-"), let network = NetworkID(pinName.dropFirst(6) + String(repeating: "0", count: 20))
        else { return nil }
        self = .network(network)
    }
}
