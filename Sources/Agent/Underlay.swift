/// The choice of the underlay: which of the host's addresses the tunnels use.
package import Addressing
import Fabric
import HTTP
package import Kernel
import Store

package struct Underlay: Hashable, Sendable {
    package var address: IPAddress
    package var mtu: Int
    package var interface: String

    /// Bridges of containers, and our own links: none leads to other hosts.
    private static func isOthers(_ name: String) -> Bool {
        ["docker", "br-", Desired.hostPrefix].contains { name.hasPrefix($0) }
    }

    /// An address in use, as long as an interface that is up has it: neither another default route nor a second address is a reason to
    /// leave it.
    static func held(_ address: IPAddress, _ selector: UnderlaySelector?, in network: HostNetwork) -> Underlay? {
        let holder = network.interfaces.values.first { $0.isUp && $0.addresses.contains { $0.address == address } }
        guard let holder else { return nil }
        let isWanted = switch selector {
        case nil: true
        case .interface(let name): name == holder.name
        case .address(let wanted): wanted == address
        case .prefix(let prefix): prefix.contains(address)
        }
        return isWanted ? Underlay(address: address, mtu: holder.mtu, interface: holder.name) : nil
    }

    /// - Parameters:
    ///   - selector: nil: the interface of the default route, IPv4 first.
    ///   - family: of the node's address so far, which it does not leave unless the selector says an address: there is no traffic between nodes of two families.
    ///   - mayGuess: without a selector and a default route, take the only interface that has an address.
    package static func choose(
        _ selector: UnderlaySelector?, family kept: AddressFamily? = nil, in network: HostNetwork, mayGuess: Bool = true
    ) throws -> Underlay {
        let operation = "choose the underlay"
        let candidates = network.interfaces.values.filter { $0.isUp && !$0.isLoopback }.sorted { $0.name < $1.name }
        func best(_ interface: HostNetwork.Interface, where fits: (IPAddress) -> Bool = { _ in true }) -> Underlay? {
            let usable = interface.addresses.map(\.address).filter {
                !$0.isLinkLocal && !$0.isLoopback && fits($0) && (kept == nil || $0.family == kept)
            }
            return usable.min { $0.family < $1.family }.map { Underlay(address: $0, mtu: interface.mtu, interface: interface.name) }
        }
        guard let selector else {
            for family in AddressFamily.allCases {
                let routes = network.routes.filter { $0.destination.length == 0 && $0.destination.family == family }
                for route in routes {
                    guard let index = route.interface, let interface = network.interfaces[index],
                        let found = best(interface, where: { $0.family == family })
                    else { continue }
                    return found
                }
            }
            // No default route: not ambiguous if only one interface has an address.
            let all = candidates.compactMap { isOthers($0.name) ? nil : best($0) }
            if mayGuess, all.count == 1 { return all[0] }
            if let kept, candidates.contains(where: { !isOthers($0.name) && $0.addresses.contains { !$0.address.isLinkLocal } }), all.isEmpty {
                throw AgentError(
                    .setup, operation, cause: "this node's underlay has IP\(kept) addresses, and no interface has one now",
                    remedy: "give the host its address back, or choose another for ever with --underlay ADDRESS")
            }
            throw AgentError(
                .setup, operation, cause: "this host has no default route to tell which interface leads to the other hosts",
                remedy: "say it with --underlay INTERFACE, ADDRESS or NETWORK/LENGTH")
        }
        let names = candidates.map(\.name).joined(separator: ", ")
        switch selector {
        case .interface(let name):
            guard let interface = network.interfaces.values.first(where: { $0.name == name }) else {
                throw AgentError(
                    .setup, operation, cause: "there is no interface \(name)", remedy: "choose one of \(names) with --underlay")
            }
            if let found = best(interface) { return found }
            throw AgentError(
                .setup, operation, cause: "interface \(name) has no\(kept.map { " IP\($0)" } ?? "") address",
                remedy: "give it one, or choose another with --underlay")
        case .address(let address):
            return try choose(.prefix(IPPrefix(address)), in: network, mayGuess: mayGuess)
        case .prefix(let prefix):
            for interface in candidates {
                if let found = best(interface, where: prefix.contains) { return found }
            }
            throw AgentError(
                .setup, operation, cause: "no interface that is up (\(names)) has an address in \(prefix)",
                remedy: "see 'ip address', or choose another with --underlay")
        }
    }

    private static let key = "underlay"

    func remember(in table: LocalTable) throws { try table.put(Self.key, Array(address.description.utf8)) }
    static func lastFamily(_ table: LocalTable) throws -> AddressFamily? {
        try table.value(key).flatMap { IPAddress(String(decoding: $0, as: UTF8.self)) }?.family
    }

    /// What no network of ours may overlap: the main table without what leads to our own links.
    package static func foreignRoutes(of network: HostNetwork) -> [IPPrefix] {
        network.routes.filter { route in
            guard route.destination.length > 0, !route.destination.address.isLinkLocal else { return false }
            let name = route.interface.flatMap { network.interfaces[$0]?.name } ?? ""
            return !name.hasPrefix(Desired.hostPrefix)
        }.map(\.destination)
    }
}

/// Follows the host's addresses: the tunnels' end, the socket for other agents and what they are told of both.
struct UnderlayFollower: Sendable {
    let selector: UnderlaySelector?
    let controller: Controller
    let listener: PeerListener
    let access: StoreAccess
    let table: LocalTable
    /// Where this agent serves the store.
    let announcement: StoreAnnouncement?

    func run(_ changes: AsyncStream<Void>) async {
        var announced: ListenAddress?
        for await _ in changes {
            if let network = try? HostNetwork.read() { await controller.note(network) }
            while await !follow(), !Task.isCancelled { try? await Task.sleep(for: .seconds(1)) }
            let advertised = await listener.advertised
            guard let announcement, announced != advertised else { continue }
            announced = advertised
            let nodes = await controller.otherAgents()
            let place = StorePlace(advertised, epoch: await access.epoch(controller), node: controller.identity.node)
            Task { await announcement.tell(place, to: nodes) }
        }
    }

    /// False if it is to be tried again.
    private func follow() async -> Bool {
        let present = await controller.me.underlay
        // Nothing to choose: the address stays until another comes.
        guard let chosen = choice(keeping: present) else { return false }
        if chosen.address != present {
            // Perhaps the middle of a change, such as a link that has its addresses back and not yet its routes.
            try? await Task.sleep(for: .milliseconds(500))
            guard choice(keeping: present)?.address == chosen.address else { return false }
        }
        var failure: (any Error)?
        do { try await listener.follow(chosen.address) } catch { failure = error }
        await controller.setProblem("listen", failure.map { "\($0)" })
        // Connections from the old address lead nowhere.
        if chosen.address != present {
            access.disconnect()
            try? chosen.remember(in: table)
        }
        await controller.setUnderlay(chosen, agent: await listener.advertised.http.description)
        return failure == nil
    }

    private func choice(keeping present: IPAddress) -> Underlay? {
        guard let network = try? HostNetwork.read() else { return nil }
        return Underlay.held(present, selector, in: network) ?? (try? Underlay.choose(selector, family: present.family, in: network, mayGuess: false))
    }
}
