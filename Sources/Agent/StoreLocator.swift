/// Where the store is, when another agent serves it: remembered, and found again when that agent's address has changed.
///
/// The store's agent tells every node its new address (`POST /v1/cluster/store`). A node that was away then asks the others
/// (`GET /v1/cluster`) while its store does not answer. What is told is tried before it is believed: the cluster's store must answer there.
import Addressing
import Fabric
import HTTP
import Logging
import Store
import Synchronization

final class StoreLocator: Sendable {
    private struct State {
        var membership: Membership
        var client: PeerClient
        /// The host that is remembered in the table.
        var known: String?
    }

    private let state: Mutex<State>
    /// The node that serves the store, as the record says; nil: not known yet.
    private let expected = SharedText()
    private let keys: PeerKeys
    private let table: LocalTable
    private let log: Logger

    /// nil if this node's agent serves the store itself.
    init?(_ membership: Membership, keys: PeerKeys, table: LocalTable, log: Logger) {
        guard let address = membership.storeAddress else { return nil }
        expected.withLock { $0 = membership.storeNode }
        let expected = expected
        state = Mutex(State(membership: membership, client: PeerClient(address, keys: keys, expecting: { expected.withLock { $0 } }), known: membership.storeHost))
        self.keys = keys
        self.table = table
        self.log = log
    }

    /// Nobody but that node is believed to serve the store.
    func expect(_ node: NodeID?) {
        guard let node else { return }
        expected.withLock { $0 = node.description }
    }

    var client: PeerClient { state.withLock { $0.client } }
    var address: HTTPAddress { client.address }

    /// - Returns: whether the cluster's store is there.
    func move(to address: HTTPAddress) async -> Bool {
        guard address != self.address else { return true }
        let expected = expected
        let client = PeerClient(address, keys: keys, expecting: { expected.withLock { $0 } })
        let identity = try? await RemoteStore(timeout: .seconds(2)) { client }.identity()
        let isMoved = state.withLock { state in
            guard let identity, identity.cluster == state.membership.cluster, case .tcp(let host, let port) = address else { return false }
            (state.membership.storeHost, state.membership.storePort) = (host, port)
            state.client.disconnect()
            state.client = client
            do {
                // The rest of it may have changed.
                var stored = try Membership.load(table) ?? state.membership
                // A command moved the store elsewhere at this moment.
                guard stored.storeURL == nil, stored.storeHost == state.known else { return true }
                state.known = host
                (stored.storeHost, stored.storePort) = (host, port)
                try stored.save(table)
            } catch {
                log.error("cannot remember where the store is", metadata: ["store": "\(address)", "error": "\(error)"])
            }
            return true
        }
        if isMoved { log.notice("the cluster's store has moved", metadata: ["store": "\(address)"]) }
        return isMoved
    }

    /// Asks a few of the nodes, and the one that was joined, where the store is by now.
    func search(among nodes: [HTTPAddress]) async {
        let joined = state.withLock { $0.membership.peers.compactMap(ConfigurationValue.join) }
        for peer in Set(joined + nodes.shuffled().prefix(6)) {
            guard let invitation = try? await Joining.invitation(PeerClient(peer, keys: keys), timeout: .seconds(2)),
                invitation.storeURL == nil, invitation.storeAddress != address
            else { continue }
            if await move(to: invitation.storeAddress) { return }
        }
    }

    /// Looks for the store each time that it does not answer, less and less often, until cancelled.
    func run(_ controller: Controller) async {
        var pause = Duration.seconds(1)
        while !Task.isCancelled {
            guard await controller.waitForStore(toBeAway: true, within: .seconds(60)) else {
                pause = .seconds(1)
                continue
            }
            if await controller.waitForStore(toBeAway: false, within: pause) {
                pause = .seconds(1)
                continue
            }
            await search(among: controller.otherAgents())
            pause = min(pause * 2, .seconds(30))
        }
    }
}

/// A text that several hold and one changes.
final class SharedText: Sendable {
    private let value = Mutex<String?>(nil)
    func withLock<Result>(_ body: (inout String?) -> Result) -> Result where Result: Sendable { value.withLock { body(&$0) } }
}

/// The other direction: this agent serves the store, and tells where; or the one that moved it elsewhere does.
struct StoreAnnouncement: Sendable {
    static let path = "/v1/cluster/store"
    private static let key = "announced"
    let keys: PeerKeys
    let table: LocalTable
    let log: Logger

    /// Tells every node, unless that was told before. Who does not answer in a few rounds will ask.
    func tell(_ place: StorePlace, to nodes: [HTTPAddress]) async {
        let text = try? StoredJSON.encode(place)
        guard let text, (try? table.value(Self.key)) != text else { return }
        let left = await tellAtOnce(place, nodes, rounds: 4)
        if !left.isEmpty {
            log.info("some nodes were not told where the store is now; they will ask", metadata: ["nodes": "\(left.count)"])
        }
        do { try table.put(Self.key, text) } catch {
            log.error("cannot remember what was announced", metadata: ["error": "\(error)"])
        }
    }

    /// - Returns: those that did not take it.
    func tellAtOnce(_ place: StorePlace, _ nodes: [HTTPAddress], rounds: Int) async -> [HTTPAddress] {
        var left = nodes
        for round in 0..<rounds where !left.isEmpty && !Task.isCancelled {
            if round > 0 { try? await Task.sleep(for: .seconds(1)) }
            left = await unreached(place, left)
        }
        return left
    }

    private func unreached(_ place: StorePlace, _ nodes: [HTTPAddress]) async -> [HTTPAddress] {
        guard let body = try? StoredJSON.encode(place) else { return [] }
        return await withTaskGroup(of: HTTPAddress?.self) { group in
            var rest = nodes[...]
            var failed: [HTTPAddress] = []
            func start() {
                guard let node = rest.popFirst() else { return }
                group.addTask {
                    let request = HTTPRequest("POST", Self.path, body: body)
                    let answer = try? await PeerClient(node, keys: keys).send(request, timeout: .seconds(2))
                    return answer?.status == 200 ? nil : node
                }
            }
            for _ in 0..<16 { start() }
            while let result = await group.next() {
                if let result { failed.append(result) }
                start()
            }
            return failed
        }
    }
}

extension Controller {
    func waitForStore(toBeAway isAway: Bool, within limit: Duration) async -> Bool {
        await wait(within: limit) { isAway ? !$0.isStoreReachable && $0.storeFailure != nil : $0.isStoreReachable }
    }

    /// Where the other nodes' agents listen, as they said.
    func otherAgents() -> [HTTPAddress] {
        view.nodes.values.filter { $0.id != me.id }.compactMap { ConfigurationValue.join($0.agent) }
    }
}
