/// A bridge, its settings and its ports.
import Addressing
import CLinux
import Fabric
import Glibc
import Netlink

extension LinuxKernel {
    func createBridge(_ message: LinkMessage, _ bridge: Bridge, _ namespace: Namespace, _ operation: String) throws(KernelError) {
        var message = message
        var data = BridgeData(bridge, over: Bridge())
        // Otherwise each row for a MAC is made twice: once for the VLAN that a port gets by itself.
        data.portVLAN = 0
        message.kind = .bridge(data)
        try namespace.route.request(operation, type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL) { message.write(to: &$0) }
    }

    /// The mirror is up to date.
    func setBridge(_ name: String, _ bridge: Bridge, _ namespace: Namespace) throws(KernelError) {
        let operation = "set up bridge \(name) of \(namespace.id)"
        let present = namespace.mirror.state.links[name]?.bridge ?? Bridge()
        let message = LinkMessage(index: try index(of: name, namespace, operation), kind: .bridge(BridgeData(bridge, over: present)))
        try namespace.route.request(operation, type: RTM_NEWLINK) { message.write(to: &$0) }
    }

    /// First the bridge, then the settings: they are the port's, and what was no port has none.
    ///
    /// The mirror is up to date.
    func setPort(_ name: String, _ port: BridgePort?, _ namespace: Namespace) throws(KernelError) {
        let operation = port.map { "make \(name) a port of \($0.bridge) in \(namespace.id)" } ?? "take \(name) out of its bridge in \(namespace.id)"
        let link = try index(of: name, namespace, operation)
        guard let port else {
            return try namespace.route.request(operation, type: RTM_NEWLINK) { LinkMessage(index: link, master: 0).write(to: &$0) }
        }
        let master = UInt32(bitPattern: try index(of: port.bridge, namespace, operation))
        if namespace.mirror.state.links[name]?.port?.bridge != port.bridge {
            try namespace.route.request(operation, type: RTM_NEWLINK) { LinkMessage(index: link, master: master).write(to: &$0) }
        }
        try namespace.route.request(operation, type: RTM_NEWLINK) { LinkMessage(index: link, port: BridgePortData(port)).write(to: &$0) }
    }

    private func index(of link: String, _ namespace: Namespace, _ operation: String) throws(KernelError) -> Int32 {
        guard let index = namespace.mirror.index(of: link) else {
            throw KernelError(.notFound, operation, cause: "there is no link \(link)")
        }
        return Int32(bitPattern: index)
    }
}
