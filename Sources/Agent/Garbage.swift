/// What nobody comes back for. Docker ignores failed deletes, forgets endpoints when it is killed, and asks for pools and
/// addresses that it then does not use, so the agent collects by itself, but only on proof: of a container's death, the veth pair
/// and the engine's word together; silence of the engine is no proof of anything.
import Addressing
package import Fabric
import Logging
import Store

extension Controller {
    /// Endpoints that the agent has known for less may be missing from the engine's lists: their container is starting. By the clock that nobody sets.
    private static let startSeconds = 30.0

    /// - Parameter isMounted: whether a sandbox file is a network namespace now.
    package func sweepGarbage(isMounted: @Sendable (String) -> Bool) async {
        let now = bootSeconds()
        for pool in local.pools.values where local.holders(of: pool.id).isEmpty && now - pool.since > Self.unboundSeconds {
            attempt("free pool \(pool.id)") { try local.removePool(pool.id) }
        }
        for (network, allocations) in local.allocations {
            for (address, allocation) in allocations where now - allocation.since > Self.unboundSeconds {
                if allocation.lentTo != nil {
                    // Only by the word of the store, and when no request is left that could still be granted with it.
                    let isAsked = (view.requests[network] ?? [:]).values.contains { $0.owner == me.id && $0.from == allocation.lentTo }
                    guard isStoreReachable, distrust == nil, isRegistered, !isAsked,
                        allocation.lentTo.map(isHeard) ?? true, view.addresses[network]?[address] == nil else { continue }
                    guard let present = try? await store.list(prefix: StoreKey.address(network, address)).entries,
                        !present.contains(where: { $0.key == StoreKey.address(network, address) }),
                        local.allocations[network]?[address] == allocation
                    else { continue }
                    attempt("take back \(address)") { try local.removeAllocation(address, in: network) }
                } else if allocation.endpoint.map({ local.endpoints[$0] == nil }) ?? true {
                    giving.remove(AddressKey(network: network, address: address))
                    if allocation.isSingle, !isStoreReachable || distrust != nil { continue }
                    do { try await free(address, allocation, in: network) } catch {
                        log.warning("cannot free an address", metadata: ["address": "\(address)", "error": "\(error)"])
                    }
                }
            }
        }
        for endpoint in local.endpoints.values where !joining.contains(endpoint.id) {
            guard let sandbox = endpoint.sandbox, !endpoint.wasSeen, isMounted(sandbox) else { continue }
            var seen = endpoint
            seen.wasSeen = true
            attempt("note a sandbox") { try local.set(seen) }
            // Nothing to do, but what is desired is another: from now on the pair would be made inside.
            await reconciler.mark(.network(endpoint.network))
        }
        await giveUpEmptyBlocks(now: now)
    }

    /// Each list of the engine's live endpoints. Two lists in a row without an endpoint, or one and a sandbox that is gone, end it.
    /// - Parameter networks: those whose endpoints the list has.
    package func engineListed(
        _ live: Set<EndpointID>, of networks: Set<NetworkID>, now given: Double? = nil, isMounted: @Sendable (String) -> Bool
    ) async {
        let now = given ?? bootSeconds()
        for endpoint in local.endpoints.values where !endpoint.id.isHost {
            let since = knownSince[endpoint.id] ?? now
            knownSince[endpoint.id] = since
            // A network that Docker removed cluster-wide is on no list any more; then only a sandbox that is gone counts. One of this engine's own that the
            // engine no longer has has no endpoints, for it removes none that has.
            let isHere = terms.scopeIsGlobal || local.engineNetworks.values.contains { $0.network == endpoint.network }
            let isListed = networks.contains(endpoint.network) || !isHere
            guard isListed || view.networks[endpoint.network]?.dockerID != nil else { continue }
            guard !live.contains(endpoint.id) else {
                missing[endpoint.id] = nil
                continue
            }
            let isGone = endpoint.wasSeen && !(endpoint.sandbox.map(isMounted) ?? false)
            guard isGone || (isListed && now - since > Self.startSeconds) else { continue }
            missing[endpoint.id, default: 0] += isGone ? 2 : 1
            guard missing[endpoint.id, default: 0] >= 2 else { continue }
            missing[endpoint.id] = nil
            log.notice(
                "the engine forgot an endpoint; it is freed",
                metadata: ["endpoint": "\(endpoint.id.description.prefix(12))", "name": "\(endpoint.name ?? "-")"])
            do { try await deleteEndpoint(endpoint.id) } catch {
                log.warning("cannot free an endpoint", metadata: ["error": "\(error)"])
            }
            // Of this one the engine releases nothing.
            for address in endpoint.addresses { giving.remove(AddressKey(network: endpoint.network, address: address)) }
        }
        missing = missing.filter { local.endpoints[$0.key] != nil }
        knownSince = knownSince.filter { local.endpoints[$0.key] != nil }
    }

    func attempt(_ what: String, _ body: () throws -> Void) {
        do { try body() } catch { log.warning("cannot \(what)", metadata: ["error": "\(error)"]) }
    }

    /// Where a subnet's free blocks run short, a node gives back those that stood empty for a minute.
    private func giveUpEmptyBlocks(now: Double) async {
        guard isStoreReachable, distrust == nil, isRegistered else { return }
        for network in view.live {
            let all = view.blocks[network.id] ?? [:]
            for subnet in network.subnets {
                let space = subnet.range ?? subnet.prefix
                let owned = all.keys.filter { space.contains($0) }
                let count = space.blockCount(length: subnet.blockLength)
                let isShort = UInt128(owned.count) * 4 > count * 3
                for block in owned where all[block]?.node == me.id {
                    let key = BlockKey(network: network.id, prefix: block)
                    let isEmpty = !(local.allocations[network.id] ?? [:]).keys.contains { block.contains($0) }
                    guard isShort, isEmpty, !local.blocksGoing.contains(key) else {
                        emptySince[key] = nil
                        continue
                    }
                    let since = emptySince[key] ?? now
                    emptySince[key] = since
                    if now - since > Self.unboundSeconds { attempt("give up \(block)") { try local.setGoing(key, true) } }
                }
            }
        }
        emptySince = emptySince.filter { view.blocks[$0.key.network]?[$0.key.prefix]?.node == me.id }
        for key in local.blocksGoing {
            do { try await giveUp(key) } catch {
                // Whether it is still ours is not known: nothing is allocated from it until it is.
                log.debug("cannot give up a block yet", metadata: ["block": "\(key.prefix)", "error": "\(error)"])
            }
        }
    }

    private func giveUp(_ key: BlockKey) async throws {
        // Somebody came while it was decided.
        if (local.allocations[key.network] ?? [:]).keys.contains(where: { key.prefix.contains($0) }) {
            return try local.setGoing(key, false)
        }
        let name = StoreKey.block(key.network, key.prefix)
        let entry = try await store.list(prefix: name).entries.first { $0.key == name }
        if let entry, try StoredJSON.read(BlockObject.self, entry.key, entry.value).node == me.id {
            let transaction = StoreTransaction(
                conditions: [.unchanged(key: name, since: entry.modified)], operations: [.delete(key: name)])
            _ = try await commit(transaction, "give up block \(key.prefix)")
        }
        // Until the view shows it too, `pick` would still take it for ours.
        guard await wait(within: .seconds(5), until: { $0.view.blocks[key.network]?[key.prefix]?.node != $0.me.id }) else { return }
        try local.setGoing(key, false)
    }
}
