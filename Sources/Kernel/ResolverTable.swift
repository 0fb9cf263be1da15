/// The nftables table in a container's namespace that brings its questions to the name service instead of Docker's resolver.
///
///     table inet tulle_dns {
///         set alive { type ipv4_addr; flags dynamic,timeout; size 16; }        # holds 127.0.0.11 while somebody says that he is there
///         chain signs { type filter hook output priority 0;
///             ip saddr 127.0.0.12 ip daddr 127.0.0.11 udp dport 9  update @alive { ip daddr timeout 2s } drop
///             ip saddr 127.0.0.12 ip daddr 127.0.0.11 udp dport 10 delete @alive { ip daddr } drop }
///         chain out { type nat hook output priority -101;                      # Docker's own rules are at -100
///             ip saddr 127.0.0.12 accept                                       # our questions go on to Docker's
///             ip daddr @alive udp dport 53 dnat ip to 127.0.0.12:UDP
///             ip daddr @alive tcp dport 53 dnat ip to 127.0.0.12:TCP } }
///
/// A container's question to 127.0.0.11 port 53 is the first packet of a connection, so it meets `out` and comes to our socket; conntrack gives
/// the answer the source that was asked. A sign of life is one datagram from 127.0.0.12 to 127.0.0.11 port 9: it renews the element and goes nowhere, so that
/// hundreds of containers cost hundreds of `sendto` a second and no transaction. Without signs the element is gone after two seconds, and what begins
/// then meets Docker's rules, as if we had never been there. The same to port 10 says goodbye.
///
/// What a connection was translated to holds as long as the connection: a client that keeps one socket for all its questions is ours or
/// Docker's by its first one.
import CLinux
import Glibc
import Netlink

package enum ResolverTable {
    package static let name = "tulle_dns"
    /// After the last sign of life.
    package static let aliveMilliseconds: UInt64 = 2_000
    /// Where the signs go: "discard" and a neighbour of it that nobody has.
    package static let lifePort: UInt16 = 9, endPort: UInt16 = 10

    /// Docker's resolver in every container (libnetwork), and ours beside it.
    package static let docker: [UInt8] = [127, 0, 0, 11], ours: [UInt8] = [127, 0, 0, 12]
    /// Of Docker's rules in the nat table less one (NF_IP_PRI_NAT_DST is -100).
    private static let priority: Int32 = -101

    /// Makes the table anew, in one transaction; the set is empty then.
    static func replace(udp: UInt16, tcp: UInt16, _ socket: NetlinkSocket) throws(KernelError) {
        let set = NFTablesSet(
            table: name, name: "alive", keyType: 7, keyLength: 4, flags: NFT_SET_EVAL.rawValue | NFT_SET_TIMEOUT.rawValue, size: 16)
        let signs = NFTablesChain.Base(type: "filter", hook: NF_INET_LOCAL_OUT.rawValue, priority: 0)
        let out = NFTablesChain.Base(type: "nat", hook: NF_INET_LOCAL_OUT.rawValue, priority: priority)
        let changes: [NFTablesChange] = [
            .createTable(name), .deleteTable(name), .createTable(name), .createSet(set),
            .createChain(NFTablesChain(table: name, name: "signs", base: signs)),
            .appendRule(rule("signs", sign(lifePort, .renew, milliseconds: aliveMilliseconds))),
            .appendRule(rule("signs", sign(endPort, .remove, milliseconds: 0))),
            .createChain(NFTablesChain(table: name, name: "out", base: out)),
            .appendRule(rule("out", isV4 + [.payload(.network, offset: 12, count: 4, into: first), .compare(first, .equal, ours), .verdict(.accept)])),
            .appendRule(rule("out", redirect(UInt8(IPPROTO_UDP), to: udp))),
            .appendRule(rule("out", redirect(UInt8(IPPROTO_TCP), to: tcp))),
        ]
        try commit(changes, socket)
    }

    static func remove(_ socket: NetlinkSocket) throws(KernelError) { try commit([.createTable(name), .deleteTable(name)], socket) }

    private static func commit(_ changes: [NFTablesChange], _ socket: NetlinkSocket) throws(KernelError) {
        var batch = socket.batch()
        batch.add(transaction: changes)
        for (index, answer) in try socket.submit(batch).enumerated() where answer.errno != 0 && answer.errno != ECANCELED {
            throw KernelError(netfilter: answer, changes.indices.contains(index - 1) ? changes[index - 1] : nil, socket.name)
        }
    }

    // MARK: Rules

    private static let first = NFTablesRegister(0), second = NFTablesRegister(1)
    private static var isV4: [NFTablesExpression] { [.meta(.networkProtocol, into: first), .compare(first, .equal, [UInt8(NFPROTO_IPV4)])] }

    private static func rule(_ chain: String, _ expressions: [NFTablesExpression]) -> NFTablesRule {
        NFTablesRule(table: name, chain: chain, expressions: expressions)
    }

    private static func port(_ kind: UInt8, _ number: UInt16) -> [NFTablesExpression] {
        [
            .meta(.transportProtocol, into: first), .compare(first, .equal, [kind]),
            .payload(.transport, offset: 2, count: 2, into: first), .compare(first, .equal, bytes(number)),
        ]
    }

    private static func sign(_ number: UInt16, _ change: NFTablesExpression.SetChange, milliseconds: UInt64) -> [NFTablesExpression] {
        // Source and destination stand side by side in the header (RFC 791 section 3.1).
        isV4 + [.payload(.network, offset: 12, count: 8, into: first), .compare(first, .equal, ours + docker)] + port(UInt8(IPPROTO_UDP), number) + [
            .payload(.network, offset: 16, count: 4, into: first), .update(change, set: "alive", key: first, milliseconds: milliseconds),
            .verdict(.drop),
        ]
    }

    private static func redirect(_ kind: UInt8, to number: UInt16) -> [NFTablesExpression] {
        isV4 + [.payload(.network, offset: 16, count: 4, into: first), .lookup(first, set: "alive", isInverted: false)] + port(kind, 53) + [
            .load(ours, into: first), .load(bytes(number), into: second), .redirect(address: first, port: second),
        ]
    }

    private static func bytes(_ port: UInt16) -> [UInt8] { [UInt8(port >> 8), UInt8(port & 0xff)] }
}
