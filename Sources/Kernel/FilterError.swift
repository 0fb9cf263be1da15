/// What nftables refuses, in words: which change it was, and which part of the kernel is missing if one is.
import Fabric
import Glibc
import Netlink

extension KernelError {
    /// - Parameter change: the refused one; nil when it was the transaction as a whole.
    init(netfilter refusal: NetlinkAcknowledgement, _ change: NFTablesChange?, _ place: String, _ family: PacketFilter.Family = .inet) {
        let operation = (change.map { $0.operation(family) } ?? "change the nftables rules") + " of \(place)"
        self.init(refusal, operation)
        guard let missing = Self.missingModules(refusal.errno, change, family) else { return }
        code = .unsupported
        remedy = "This kernel lacks a part of nftables: load \(missing) (modprobe), or install the package with the kernel's extra modules."
    }

    /// The modules that such a refusal asks for.
    private static func missingModules(_ errno: Int32, _ change: NFTablesChange?, _ family: PacketFilter.Family) -> String? {
        switch (change, errno) {
        // The caller has seen to it that what a rule refers to is there: what is not found is an instruction.
        case (.appendRule(let rule), ENOENT), (.appendRule(let rule), EOPNOTSUPP):
            rule.expressions.contains(.masquerade) ? "nft_masq" : rule.expressions.contains(.untrack) ? "nft_ct" : "nf_tables"
        case (.createChain, ENOENT) where family == .bridge: "nf_tables_bridge"
        case (.createChain(let chain), ENOENT): chain.base?.type == "nat" ? "nft_chain_nat" : nil
        case (_, EAFNOSUPPORT): "nf_tables with the \(family) family"
        case (nil, EOPNOTSUPP), (nil, EPROTONOSUPPORT): "nf_tables"
        default: nil
        }
    }
}

extension NFTablesChange {
    fileprivate func operation(_ family: PacketFilter.Family) -> String {
        switch self {
        case .createTable(let name): "create table \(family) \(name)"
        case .deleteTable(let name): "delete table \(family) \(name)"
        case .createChain(let chain): "create chain \(chain.name)"
        case .createCounter(let counter): "create counter \(counter.name)"
        case .createSet(let set): "create set \(set.name)"
        case .addElements(let elements): "add elements to set \(elements.set)"
        case .deleteElements(let elements): "delete elements of set \(elements.set)"
        case .appendRule(let rule): "add rule '\(rule.text ?? "")' to chain \(rule.chain)"
        }
    }
}
