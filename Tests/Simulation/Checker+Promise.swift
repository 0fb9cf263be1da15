/// S4: while the store is away containers start, as long as the node's lease lasts and its blocks have room.
import Addressing
import Agent
import Fabric
import Store

extension Checker {
    /// What a container's start relied on when it began; nil where nothing promises that it works.
    struct Promise {
        fileprivate var life: UInt64
        fileprivate var pauses: Int
    }

    func promise(_ host: Host, _ net: SimulatedEngine.Net, starting: Int) -> Promise? {
        guard !world.center.isUp, let life = host.life, life.state == .running, host.number != 0, !world.removed.contains(host.id) else { return nil }
        // What else may go wrong at this moment.
        guard host.kernel.refusals == 0, host.kernel.stepsToLive == nil, host.writesToLive == nil, !world.plan.faults.contains(.foreignStore) else { return nil }
        guard Self.lease(of: host) > host.bootSeconds + 20, let row = Self.network(of: net.id, at: host), row.standing == .confirmed,
            let network = host.known(NetworkObject.self, StoreKey.network(row.network)), network.state == .active, let subnet = network.subnets.first
        else { return nil }
        let taken = Set(((try? host.table.all("allocation/\(network.id)/")) ?? []).compactMap { IPAddress(String($0.key.split(separator: "/")[2])) })
        let singles = Set(host.knownKeys(StoreKey.addresses(of: network.id)).compactMap { IPAddress($0) })
        let going = Set(Self.rows(BlockKey.self, "going/", host).map(\.prefix))
        var room = 0
        for key in host.knownKeys(StoreKey.blocks(of: network.id)) {
            guard let dash = key.lastIndex(of: "-"), let block = IPPrefix(key[..<dash] + "/" + key[key.index(after: dash)...]), !going.contains(block),
                host.known(BlockObject.self, StoreKey.block(network.id, block))?.node == host.id
            else { continue }
            var next: IPAddress? = block.first
            while let address = next, block.contains(address) {
                if !Allocation.isReserved(address, in: subnet), !taken.contains(address), !singles.contains(address) { room += 1 }
                next = address.advanced(by: 1)
            }
        }
        guard room > starting + 1 else { return nil }
        promises += 1
        return Promise(life: life.number, pauses: life.pauses)
    }

    func broken(_ promise: Promise, _ host: Host, _ net: String, _ error: any Error) {
        guard let life = host.life, life.number == promise.life, life.state == .running, life.pauses == promise.pauses, !world.removed.contains(host.id),
            host.engine.networks[net]?.isHidden == false
        else { return }
        world.fail("S4", "\(host.name) started no container while the store was away and its lease lasted: \(error)")
    }
}

extension Host {
    /// What the agent last read of the store, as its disk has it.
    func known<Value: Decodable>(_ type: Value.Type, _ key: String) -> Value? {
        (try? replica.value("item/" + key)).flatMap { $0 }.flatMap { try? StoredJSON.decode(type, $0) }
    }
    /// The ends of the keys below a prefix.
    func knownKeys(_ prefix: String) -> [String] {
        ((try? replica.all("item/" + prefix)) ?? []).map { String($0.key.dropFirst("item/".count + prefix.count)) }
    }
}
