@testable import Agent
import Addressing
import Fabric
import Store
import Synchronization
import Testing

/// What a node held is freed, and what others took since is not.
@Suite("a node's end") struct LeavingTests {
    /// Does something once, before the first commit that deletes.
    private struct Interrupted: Store {
        let store: EmbeddedStore
        let hook: @Sendable () async throws -> Void
        let isDone = Shared()
        final class Shared: Sendable { let value = Mutex(false) }

        func commit(_ transaction: StoreTransaction) async throws -> StoreOutcome {
            let isFirst = isDone.value.withLock { done in
                defer { done = true }
                return !done
            }
            if isFirst { try await hook() }
            return try await store.commit(transaction)
        }
        func identity() async throws -> StoreIdentity { await store.identity() }
        func list(prefix: String) async throws -> StoreSnapshot { try await store.list(prefix: prefix) }
        func watch(prefix: String, after: Revision) async -> AsyncThrowingStream<StoreEvent, any Error> { await store.watch(prefix: prefix, after: after) }
        func grantLease(seconds: Int) async throws -> LeaseID { try await store.grantLease(seconds: seconds) }
        func renewLease(_ lease: LeaseID) async throws { try await store.renewLease(lease) }
        func revokeLease(_ lease: LeaseID) async throws { try await store.revokeLease(lease) }
    }

    private let network = NetworkID(random: 1), gone = NodeID(random: 2), heir = NodeID(random: 3)

    private func block(_ number: UInt32) -> IPPrefix { IPPrefix(containing: IPAddress(v4: 0x0a20_0000 + number * 64), length: 26) }
    private func put(_ key: String, _ value: some Codable) throws -> StoreOperation { .put(key: key, value: try StoredJSON.encode(value), lease: nil) }

    /// 130 blocks and 10 addresses of the one node, and some of the other.
    private func filled() async throws -> EmbeddedStore {
        let store = EmbeddedStore.inMemory()
        var operations: [StoreOperation] = []
        for number in 0..<UInt32(130) { operations.append(try put(StoreKey.block(network, block(number)), BlockObject(node: gone, fence: 1))) }
        for number in 200..<UInt32(205) { operations.append(try put(StoreKey.block(network, block(number)), BlockObject(node: heir, fence: 1))) }
        for number in 0..<UInt32(10) {
            operations.append(try put(StoreKey.address(network, IPAddress(v4: 0x0a30_0000 + number)), AddressObject(node: number < 8 ? gone : heir)))
        }
        operations.append(try put(StoreKey.lease(gone), LeaseObject(node: gone, count: 1, term: 600)))
        _ = try await store.commit(StoreTransaction(operations: operations))
        return store
    }

    @Test("everything that it held is freed, and nothing of others")
    func all() async throws {
        let store = try await filled()
        _ = try await Leaving.clear(store, after: [gone])
        let left = try await store.list(prefix: "").entries
        #expect(left.count == 7)
        #expect(left.allSatisfy { String(decoding: $0.value, as: UTF8.self).contains(heir.description) })
    }

    @Test("a block and an address that another took in the midst of it stay that one's")
    func taken() async throws {
        let store = try await filled()
        let key = StoreKey.block(network, block(7)), address = StoreKey.address(network, IPAddress(v4: 0x0a30_0003))
        let theirs = [try put(key, BlockObject(node: heir, fence: 2)), try put(address, AddressObject(node: heir))]
        // Another cleaner was faster, and the heir after it.
        let interrupted = Interrupted(store: store) {
            _ = try await store.commit(StoreTransaction(operations: [.delete(key: key), .delete(key: address)]))
            _ = try await store.commit(StoreTransaction(operations: theirs))
        }
        _ = try await Leaving.clear(interrupted, after: [gone])
        let left = try await store.list(prefix: "").entries
        #expect(left.count == 9)
        #expect(left.contains { $0.key == key } && left.contains { $0.key == address })
        #expect(left.allSatisfy { String(decoding: $0.value, as: UTF8.self).contains(heir.description) })
    }
}
