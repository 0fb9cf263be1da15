/// The instances of this node's agent that registered from this state directory, the last ones. If the store's record of the node is another's, somebody
/// else runs, or ran since, with a copy of this directory (a cloned machine), or this is an old copy of it (a restored backup).
import Store

struct Lineage: Sendable {
    private static let key = "instances"
    private static let most = 64
    private let table: LocalTable
    private var instances: [String]

    init(_ table: LocalTable) throws {
        self.table = table
        instances = try table.value(Self.key).map { try StoredJSON.decode([String].self, $0) } ?? []
    }

    /// True also for a directory that nothing was noted in yet.
    func has(_ instance: String) -> Bool { instances.isEmpty || instances.contains(instance) }

    /// Before the store hears of it, and on the disk, for a node that forgot it would refuse itself.
    mutating func add(_ instance: String) throws {
        guard !instances.contains(instance) else { return }
        let new = Array((instances + [instance]).suffix(Self.most))
        try table.put(Self.key, StoredJSON.encode(new))
        try table.sync()
        instances = new
    }
}
