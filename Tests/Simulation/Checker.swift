/// Who has which address: every answer that an engine got, held against all others at that moment (S1), and against the right to give it (S4).
import Addressing
import Agent
import Fabric
import Store

final class Checker: @unchecked Sendable {
    struct Claim {
        var network: NetworkID
        var address: IPAddress
        var host: Int
        var container: String
        var since: Double
        /// A container's endpoint has it; until then the agent may take it back after a minute.
        var isBound = false
    }
    private struct Place: Hashable {
        var network: NetworkID
        var address: IPAddress
    }
    private struct SavedLease: Decodable {
        var boot: String
        var validUntil: Double
    }

    private unowned let world: World
    private var claims: [Int: Claim] = [:]
    private var byPlace: [Place: Set<Int>] = [:]
    private var lastClaim = 0
    /// How often addresses were given, for the summary.
    private(set) var allocations = 0

    init(_ world: World) { self.world = world }

    // MARK: What hosts have on their disks

    static func network(of dockerID: String, at host: Host) -> BoundNetwork? {
        guard let value = try? host.table.value("engine/\(dockerID)") else { return nil }
        return try? StoredJSON.decode(BoundNetwork.self, value)
    }

    /// Until when (CLOCK_BOOTTIME) the host may give addresses, by its own record.
    static func lease(of host: Host) -> Double {
        guard let value = try? host.table.value("lease"), let lease = try? StoredJSON.decode(SavedLease.self, value),
            lease.boot == "boot \(host.boot)"
        else { return 0 }
        return lease.validUntil
    }

    // MARK: Claims

    /// The host's clock when an address was asked for.
    func rightToAllocate(_ host: Host) -> (boot: UInt64, seconds: Double) { (host.boot, host.bootSeconds) }

    func allocated(
        _ address: IPAddress, on dockerID: String, at host: Host, for container: String, right asked: (boot: UInt64, seconds: Double)
    ) -> Int {
        lastClaim += 1
        allocations += 1
        world.trace("\(host.name): \(container) gets \(address) on \(dockerID)")
        guard let network = Self.network(of: dockerID, at: host)?.network else {
            // The network went while the address was asked for: no endpoint comes on it any more.
            return lastClaim
        }
        if host.boot == asked.boot, Self.lease(of: host) < asked.seconds {
            world.fail("S4", "\(host.name) gave \(address) without a lease, which ended \(asked.seconds - Self.lease(of: host)) s before it was asked")
        }
        let place = Place(network: network, address: address)
        let claim = Claim(network: network, address: address, host: host.number, container: container, since: Executor.shared.seconds)
        claims[lastClaim] = claim
        byPlace[place, default: []].insert(lastClaim)
        check(place, claim, lastClaim)
        return lastClaim
    }

    func bound(_ id: Int) {
        guard var claim = claims[id] else { return }
        claim.isBound = true
        claims[id] = claim
        check(Place(network: claim.network, address: claim.address), claim, id)
    }

    func ended(_ id: Int) {
        guard let claim = claims.removeValue(forKey: id) else { return }
        byPlace[Place(network: claim.network, address: claim.address)]?.remove(id)
    }

    private func isRemoved(_ host: Int) -> Bool { world.removed.contains(world.hosts[host].id) }

    private func check(_ place: Place, _ claim: Claim, _ id: Int) {
        guard !isRemoved(claim.host) else { return }
        for other in (byPlace[place] ?? []).sorted() where other != id {
            guard let before = claims[other], !isRemoved(before.host) else { continue }
            // One that no endpoint came for in time is free again.
            guard before.isBound || Executor.shared.seconds - before.since < 55 else { continue }
            world.fail(
                "S1", "\(place.address) of network \(place.network.short) is \(claim.container)'s on h\(claim.host) and \(before.container)'s on h\(before.host)")
        }
    }
}
