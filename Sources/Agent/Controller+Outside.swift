/// What networks have with the world outside: which addresses the host has for them to leave by, and who may publish ports.
import Addressing
import Fabric
import Kernel

extension Controller {
    /// The host's addresses changed, or may have.
    func note(_ host: HostNetwork) async {
        let addresses = Set(
            host.interfaces.values.filter { !$0.name.hasPrefix(Desired.hostPrefix) }.flatMap(\.addresses).map(\.address))
        guard addresses != hostAddresses else { return }
        hostAddresses = addresses
        await reconciler.mark(.host)
    }

    /// What must pass the host's FORWARD.
    func forwarding() -> ForwardAccept.Need {
        let networks = Set(local.endpoints.values.map(\.network)).compactMap { view.networks[$0] }.filter(\.hasWayOut)
        var need = ForwardAccept.Need()
        need.egress = !networks.isEmpty
        need.v6 = networks.contains { $0.subnet(of: .v6) != nil }
        // Without a gateway of ours it has Docker's.
        need.publishing = local.endpoints.values.contains { endpoint in
            endpoint.isJoined && !endpoint.hasGateway && networks.contains { $0.id == endpoint.network }
        }
        return need
    }

    /// `tulle.egress` at the network's creation.
    func checkEgress(_ request: NetworkRequest, _ subnets: [Subnet], _ operation: String) throws {
        guard let text = request.options[Egress.option] else { return }
        guard let egress = Egress(text) else {
            throw AgentError(
                .invalid, operation, cause: "\(Egress.option)=\(text) is no way out",
                remedy: "say masquerade, none, or an address of the hosts, or one of IPv4 and one of IPv6 with a comma between them")
        }
        guard egress == .masquerade || !request.isInternal else {
            throw AgentError(
                .invalid, operation, cause: "\(Egress.option)=\(text) says how to leave a network that is --internal", remedy: "leave one of the two away")
        }
        guard case .addresses(let addresses) = egress else { return }
        for (family, address) in addresses {
            guard subnets.contains(where: { $0.prefix.family == family }) else {
                throw AgentError(
                    .invalid, operation, cause: "\(Egress.option) has \(address), and the network has no IPv\(family.rawValue) subnet",
                    remedy: "leave it away, or add a subnet")
            }
            guard !subnets.contains(where: { $0.prefix.contains(address) }) else {
                throw AgentError(
                    .invalid, operation, cause: "\(Egress.option) has \(address), which is within the network itself", remedy: "name an address of the hosts")
            }
        }
    }

    /// Docker publishes ports by a bridge that is a way out too: it would be one from a network that has none.
    func checkPublishing(_ network: NetworkObject, _ publishes: Bool, _ operation: String) throws {
        guard publishes, !network.isInternal, !network.hasWayOut else { return }
        throw AgentError(
            .invalid, operation,
            cause: "network \(network.displayName) has no way out (\(Egress.option)=none), and Docker would give one to a container with published ports",
            remedy: "leave -p away; or, for a second network beside one where ports are published, use --internal")
    }

    /// For `tulle status`.
    func missingSources() -> [String] {
        Set(local.endpoints.values.map(\.network)).compactMap { view.networks[$0] }.filter(\.hasWayOut).sorted { $0.displayName < $1.displayName }
            .flatMap { network in
                network.families.compactMap { family in
                    guard let address = network.egress.address(family), !hostAddresses.contains(address) else { return nil }
                    return "containers of network \(network.displayName) leave this host by its own address, for it has not \(address) (\(Egress.option)): give it that address on one of its links"
                }
            }
    }
}
