/// The names that this node knows, for whoever changes them and whoever answers from them: the controller puts in what the store and the engine tell,
/// the name service looks up, on threads of their own.
package import Fabric
import Synchronization

package final class NameBook: Sendable {
    private let table: Mutex<NameTable>
    private let news: AsyncStream<Void>.Continuation
    /// This node's endpoints have changed; many changes at once are one. For one reader.
    package let changes: AsyncStream<Void>

    package init(me: NodeID) {
        table = Mutex(NameTable(me: me))
        (changes, news) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    package func look<Value: Sendable>(_ body: (NameTable) -> Value) -> Value { table.withLock { body($0) } }

    package func set(_ object: ClusterView.Object) { table.withLock { $0.set(object) } }
    /// Only the controller writes: a large view is taken in beside those who look.
    package func replace(_ view: ClusterView, isHeard: Bool) {
        var fresh = table.withLock { $0 }
        fresh.replace(view, isHeard: isHeard)
        let new = fresh
        _ = table.withLock { table in
            let old = table
            table = new
            return old
        }
    }
    package func set(local endpoints: [EndpointID: LocalEndpoint]) {
        if table.withLock({ $0.set(local: endpoints) }) { news.yield() }
    }
    /// The reader looks again, although nothing has changed.
    package func wake() { news.yield() }
}
