/// An address of an interface (RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR).
///
///     | family (1) | prefix length (1) | flags (1) | scope (1) | interface index (4) |   struct ifaddrmsg
///     | IFA_LOCAL | IFA_ADDRESS | IFA_FLAGS (32 bits) | IFA_PROTO |
///
/// On IPv4 point-to-point links IFA_ADDRESS is the other side's and IFA_LOCAL ours; else both are ours; IPv6 mostly
/// has IFA_ADDRESS alone. Source: rtnetlink(7), linux/if_addr.h.
package import Addressing
import CLinux
import Glibc

package struct AddressMessage: Hashable, Sendable {
    /// Of the interface.
    package var index: UInt32
    package var address: InterfaceAddress
    /// The other side's, if the link is point-to-point.
    package var peer: IPAddress?
    /// IFA_F_….
    package var flags: UInt32
    /// RT_SCOPE_….
    package var scope: UInt8
    /// Who made it: IFAPROT_…, 0 when not said.
    package var origin: UInt8

    package init(
        index: UInt32, address: InterfaceAddress, peer: IPAddress? = nil, flags: UInt32 = 0, scope: UInt8 = 0, origin: UInt8 = 0
    ) {
        self.index = index
        self.address = address
        self.peer = peer
        self.flags = flags
        self.scope = scope
        self.origin = origin
    }

    package func write(to writer: inout NetlinkWriter) {
        var header = ifaddrmsg()
        header.ifa_family = address.address.family.number
        header.ifa_prefixlen = UInt8(address.length)
        header.ifa_flags = UInt8(truncatingIfNeeded: flags)
        header.ifa_scope = scope
        header.ifa_index = index
        writer.append(header)
        writer.attribute(IFA_LOCAL, address: address.address)
        writer.attribute(IFA_ADDRESS, address: peer ?? address.address)
        if flags != 0 { writer.attribute(IFA_FLAGS, flags) }
        if origin != 0 { writer.attribute(IFA_PROTO, origin) }
    }

    package init(_ message: NetlinkMessage) throws(NetlinkError) {
        let header: ifaddrmsg = try message.header()
        let attributes = message.attributes(after: ifaddrmsg.self)
        let address = try attributes[IFA_ADDRESS]?.address()
        guard let local = try attributes[IFA_LOCAL]?.address() ?? address, local.family.number == header.ifa_family,
            Int(header.ifa_prefixlen) <= local.family.width
        else { throw NetlinkError(.malformed, "an address message of family \(header.ifa_family) without its address") }
        self.init(
            index: header.ifa_index, address: InterfaceAddress(local, length: Int(header.ifa_prefixlen)),
            peer: address == local ? nil : address,
            flags: try attributes[IFA_FLAGS]?.value(UInt32.self) ?? UInt32(header.ifa_flags), scope: header.ifa_scope,
            origin: try attributes[IFA_PROTO]?.value(UInt8.self) ?? 0)
    }
}

extension AddressFamily {
    /// AF_INET or AF_INET6.
    package var number: UInt8 { UInt8(self == .v4 ? AF_INET : AF_INET6) }

    package init?(number: some BinaryInteger) {
        switch Int32(truncatingIfNeeded: number) {
        case AF_INET: self = .v4
        case AF_INET6: self = .v6
        default: return nil
        }
    }
}
