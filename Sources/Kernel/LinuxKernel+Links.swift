/// Namespaces, and the links in them.
import Addressing
import CLinux
import Fabric
import Glibc
import Netlink

extension LinuxKernel {
    // MARK: Namespaces

    func createNamespace(_ id: NamespaceID) throws(KernelError) {
        guard try namespace(id) == nil, let name = id.pinName else { return }
        _ = try adopt(pins.create(name), as: id)
    }

    /// First its links, so that the far ends and the VNI are free when this returns: the kernel takes a namespace down later, by itself,
    /// and not at all while somebody is in it.
    func deleteNamespace(_ id: NamespaceID) throws(KernelError) {
        guard let name = id.pinName else {
            throw KernelError(.invalid, "delete the host's namespace", cause: "it is not ours")
        }
        if let namespace = try namespace(id) {
            var batch = namespace.route.batch()
            for link in try namespace.dumpLinks() where !link.isLoopback && !link.isKernelMade {
                batch.add(type: RTM_DELLINK) { LinkMessage(index: link.index).write(to: &$0) }
            }
            // A link may have gone with another's deletion; one that does not go, goes with the namespace.
            if batch.count > 0 { _ = try namespace.route.submit(batch) }
            forget(id)
        }
        try pins.remove(name)
    }

    // MARK: Links

    /// The mirror is up to date.
    func createLink(_ name: String, _ link: Link, _ namespace: Namespace) throws(KernelError) {
        let operation = "create link \(name) in \(namespace.id)"
        // Done for the second time, only what can be changed may differ. Another kind is refused by the kernel.
        if namespace.mirror.state.links[name]?.kind == link.kind {
            return try changeLink(name, mac: link.mac, mtu: link.mtu, isUp: link.isUp, sandbox: nil, namespace)
        }
        let message = LinkMessage(name: name, isUp: link.isUp, mac: link.mac, mtu: link.mtu.map { UInt32(clamping: $0) })
        switch (link.kind, link.peer?.place) {
        case (.vxlan(let vxlan), _):
            try createVXLAN(vxlan, message, namespace, operation)
        case (.veth, .namespace(let place)):
            try createPair(message, link, in: place, namespace, operation)
        case (.veth, .sandbox(let path, let addresses, let routes)):
            let sandbox = try Sandbox(path)
            try createPair(message, link, in: sandbox, addresses: addresses, routes: routes, namespace, operation)
        case (.bridge, _):
            try createBridge(message, link.bridge ?? Bridge(), namespace, operation)
        case (.veth, nil), (.loopback, _), (.other, _):
            throw KernelError(.invalid, operation, cause: "the kind \(link.kind) is never made so")
        }
    }

    /// By a request in the host's namespace, which the device keeps for its outer packets.
    private func createVXLAN(
        _ vxlan: VXLAN, _ message: LinkMessage, _ namespace: Namespace, _ operation: String
    ) throws(KernelError) {
        let host = try host()
        var message = message
        message.namespace = namespace.descriptor
        message.kind = .vxlan(VXLANData(vni: vxlan.vni.number, port: vxlan.port, local: vxlan.local))
        do throws(KernelError) {
            try host.route.request(operation, type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL) { message.write(to: &$0) }
        } catch {
            try drain(namespace)
            switch error.errno {
            case EEXIST where namespace.mirror.index(of: message.name ?? "") == nil:
                throw try taken(vxlan, error)
            case EADDRINUSE:
                let port = vxlan.port
                let holder = try Thread.run(in: host.descriptor, "find who has UDP port \(port)") { PortHolder.udp(port) }
                throw KernelError(
                    .exists, operation, cause: "UDP port \(port) is in use by \(holder): \(error.cause)", errno: EADDRINUSE,
                    remedy: "Stop that program, or choose another VXLAN port for the cluster.")
            default:
                throw error
            }
        }
    }

    /// The error for a VNI that another device has on this host.
    private func taken(_ vxlan: VXLAN, _ error: KernelError) throws(KernelError) -> KernelError {
        var holder = "another program, in a network namespace of its own"
        search: for namespace in knownNamespaces {
            for link in try namespace.dumpLinks() {
                guard case .vxlan(let data) = link.kind, data.port == vxlan.port,
                    data.vni == vxlan.vni.number || data.collectsMetadata
                else { continue }
                holder = "link \(link.name ?? "?") in \(namespace.id == .host ? "the host's namespace" : namespace.id.description)"
                if data.collectsMetadata { holder += ", which takes the whole port" }
                break search
            }
        }
        return KernelError(
            .exists, error.operation, cause: "VNI \(vxlan.vni) on UDP port \(vxlan.port) is in use by \(holder): \(error.cause)",
            errno: error.errno,
            remedy: "Delete that device (`ip -all netns exec ip -d link show type vxlan` lists all), or use another VNI or port.")
    }

    /// Both ends in one request, each where it belongs: nothing is moved afterwards.
    private func createPair(
        _ message: LinkMessage, _ link: Link, in place: NamespaceID, _ namespace: Namespace, _ operation: String
    ) throws(KernelError) {
        guard let peer = link.peer, let home = try self.namespace(place) else {
            throw KernelError(.notFound, operation, cause: "there is no namespace \(place) for its other end")
        }
        try createPair(message, peerName: peer.name, peer.mac, descriptor: home.descriptor, namespace, operation)
        try drain(home)
    }

    func createPair(
        _ message: LinkMessage, peerName: String, _ mac: MACAddress?, descriptor: Int32, _ namespace: Namespace, _ operation: String
    ) throws(KernelError) {
        var message = message
        message.kind = .veth(peer: LinkMessage(name: peerName, mac: mac, mtu: message.mtu, namespace: descriptor))
        try namespace.route.request(
            "\(operation), with its other end \(peerName)", type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL
        ) { message.write(to: &$0) }
    }

    /// The mirror is up to date.
    func changeLink(
        _ name: String, mac: MACAddress?, mtu: Int?, isUp: Bool?, sandbox path: String?, _ namespace: Namespace
    ) throws(KernelError) {
        let operation = "change link \(name) of \(namespace.id)"
        guard let index = namespace.mirror.index(of: name) else {
            throw KernelError(.notFound, operation, cause: "there is no link \(name)")
        }
        let size = mtu.map { UInt32(clamping: $0) }
        // The container's end first: only ours is looked at again if this fails.
        if let path, let size, let peer = namespace.mirror.peerIndex(of: name) {
            try Sandbox(path).setMTU(size, peer: peer, of: index)
        }
        try namespace.route.request(operation, type: RTM_NEWLINK) {
            LinkMessage(index: Int32(bitPattern: index), isUp: isUp, mac: mac, mtu: size).write(to: &$0)
        }
    }

    func host() throws(KernelError) -> Namespace {
        guard let host = try namespace(.host) else {
            throw KernelError(.notFound, "use the host's network namespace", cause: "it is gone")
        }
        return host
    }
}
