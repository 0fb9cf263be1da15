/// How containers of a network leave for the outside, as its user chose with `--opt tulle.egress=…`.
package import Addressing

package enum Egress: Hashable, Sendable {
    /// Behind the host's own address: that of the link by which a packet leaves.
    case masquerade
    /// Not at all. Hosts that expose the network are reached all the same.
    case none
    /// Behind that address, on each host that has it; one for each family at most.
    case addresses([AddressFamily: IPAddress])

    package static let option = "tulle.egress"

    /// "masquerade", "none", or one address, or two of different families with a comma between them.
    package init?(_ text: String) {
        switch text {
        case "masquerade": self = .masquerade
        case "none": self = .none
        default:
            var addresses: [AddressFamily: IPAddress] = [:]
            for word in text.split(separator: ",", omittingEmptySubsequences: false) {
                guard let address = IPAddress(String(word)), address.bits != 0, !address.isLoopback, !address.isLinkLocal, !address.isMulticast,
                    addresses.updateValue(address, forKey: address.family) == nil
                else { return nil }
            }
            self = .addresses(addresses)
        }
    }

    package func address(_ family: AddressFamily) -> IPAddress? {
        guard case .addresses(let all) = self else { return nil }
        return all[family]
    }
}

extension NetworkObject {
    /// A choice that only a newer version understands opens no way out.
    package var egress: Egress { options[Egress.option].map { Egress($0) ?? .none } ?? .masquerade }
    /// Containers reach the outside by their host.
    package var hasWayOut: Bool { !isInternal && egress != .none }
}
