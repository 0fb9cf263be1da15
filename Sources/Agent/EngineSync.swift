/// Keeps this node's engine and the cluster's networks equal, through the engine's own API.
///
/// The engine's events and the cluster's view both only wake `sync`, which compares whole lists: names that the engine knows and the
/// cluster does not yet, networks that the cluster has and the engine lacks, tombstones that the engine still shows, containers that
/// ended without a word. It runs outside every plugin request: asking the engine from within one would deadlock it.
import Addressing
package import Docker
import Fabric
import Kernel
import LocalAPI
package import Logging
import Synchronization
import Telemetry

package final class EngineSync: Sendable {
    let client: any Engine
    private let isMounted: @Sendable (String) -> Bool
    private let socket: String
    let controller: Controller
    let log: Logger
    private let limiter = RepeatLimiter(interval: .seconds(30))
    private let state = Mutex(Reachability())
    private let wakeups: AsyncStream<Void>
    private let waker: AsyncStream<Void>.Continuation

    private struct Reachability {
        var isReachable = false
        var version: String?
        var networks: Int?
        /// Docker's ids of what this agent made on the engine since it started.
        var copies: Set<String> = []
        /// Containers whose names are being asked for, and those whose are known, by endpoint.
        var asking: Set<String> = []
        /// Others wait for their turn.
        var isWaiting = false
        var described: [EndpointID: EngineNetworkEndpoint] = [:]
    }

    convenience init(socket: String, controller: Controller, log: Logger) {
        self.init(EngineClient(socket: socket), socket: socket, controller: controller, log: log, isMounted: NamespaceFile.isMounted)
    }

    /// - Parameter isMounted: whether a sandbox file is a network namespace now.
    package init(
        _ client: any Engine, socket: String, controller: Controller, log: Logger, isMounted: @escaping @Sendable (String) -> Bool
    ) {
        self.client = client
        self.isMounted = isMounted
        self.socket = socket
        self.controller = controller
        self.log = log
        (wakeups, waker) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    func report() -> StatusReport.Docker {
        state.withLock { .init(socket: socket, reachable: $0.isReachable, version: $0.version, networks: $0.networks) }
    }

    /// Until cancelled.
    package func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.followEvents() }
            group.addTask { await self.followCluster() }
            group.addTask {
                for await _ in self.wakeups {
                    await self.sync()
                    // Many changes at once are one look.
                    try? await Task.sleep(for: .milliseconds(20))
                }
            }
        }
    }

    // MARK: Names, in turn (EngineSync+Names.swift)

    /// False when they are known, are being asked for, or too many questions are under way.
    func beginDescribing(_ id: EndpointID, _ endpoint: EngineNetworkEndpoint, limit: Int) -> Bool {
        state.withLock { state in
            guard state.described[id] != endpoint else { return false }
            guard state.asking.count < limit else {
                state.isWaiting = true
                return false
            }
            return state.asking.insert(id.description).inserted
        }
    }
    /// - Parameter endpoint: of which the names are known now.
    func endDescribing(_ id: EndpointID, _ endpoint: EngineNetworkEndpoint?) {
        let isNext = state.withLock { state in
            state.asking.remove(id.description)
            if let endpoint { state.described[id] = endpoint }
            guard state.isWaiting, state.asking.isEmpty else { return false }
            state.isWaiting = false
            return true
        }
        if isNext { waker.yield() }
    }

    // MARK: What wakes it

    private func followEvents() async {
        var pause = Duration.milliseconds(200)
        while !Task.isCancelled {
            do {
                let events = try await client.events()
                let version = try await client.version()
                state.withLock {
                    $0.isReachable = true
                    $0.version = version.version
                }
                await controller.setProblem("docker", nil)
                pause = .milliseconds(200)
                waker.yield()
                for try await event in events where Self.matters(event) { waker.yield() }
            } catch {
                let text = "Docker does not answer: \(error)"
                if !Task.isCancelled { await controller.setProblem("docker", text) }
            }
            state.withLock { $0.isReachable = false }
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .seconds(2))
        }
        waker.finish()
    }

    private static func matters(_ event: EngineEvent) -> Bool {
        switch event.type {
        case "network": true
        case "container": ["start", "die", "destroy", "rename"].contains(event.action)
        default: false
        }
    }

    private func followCluster() async {
        var seen = await controller.engineInterest()
        while !Task.isCancelled {
            _ = await controller.waitForEngineInterest(otherThan: seen, within: .seconds(5))
            seen = await controller.engineInterest()
            if state.withLock({ $0.isReachable }) { waker.yield() }
        }
    }

    // MARK: The comparison

    private func sync() async {
        do {
            var faults: [String: String] = [:]
            var look = try await compare(isLast: false, &faults)
            if look.isStale { look = try await compare(isLast: true, &faults) }
            await controller.setProblems(under: "engine/", faults)
            try await readEndpoints(look.networks)
        } catch {
            limiter.log(to: log, .warning, key: "sync", "cannot compare the engine's networks with the cluster's", metadata: ["error": "\(error)"])
        }
    }

    /// What was made is stale: it is learnt by a second look, as is whether the user made the same meanwhile.
    private func compare(
        isLast: Bool, _ faults: inout [String: String]
    ) async throws -> (networks: [EngineNetwork], isStale: Bool) {
        var present = try await client.networks(driver: "tulle")
        state.withLock { $0.networks = present.count }
        for network in present { faults[network.id] = await learn(network) }
        let work = await controller.engineWork(present: Set(present.map(\.id)))
        for dockerID in work.remove { await remove(dockerID) }
        present.removeAll { work.remove.contains($0.id) }
        for dockerID in twins(present) { await remove(dockerID) }
        let lacking = Set(work.create.map(\.id.description) + present.map(\.id))
        faults = faults.filter { lacking.contains($0.key) }
        if !isLast { for network in work.create { faults[network.id.description] = await create(network) } }
        return (present, !work.create.isEmpty)
    }

    /// The engine's check for duplicates is not atomic: whoever typed a network's name while its copy was made keeps his.
    private func twins(_ present: [EngineNetwork]) -> [String] {
        let copies = state.withLock {
            $0.copies.formIntersection(present.map(\.id))
            return $0.copies
        }
        return present.filter { copy in
            copies.contains(copy.id) && present.contains { $0.name == copy.name && $0.id != copy.id }
        }.map(\.id)
    }

    /// One that cannot be taken up harms no other.
    ///
    /// - Returns: what is wrong, for people.
    private func learn(_ network: EngineNetwork) async -> String? {
        do {
            try await controller.learn(
                network.id, name: network.name, labels: network.labels, isAttachable: network.isAttachable)
            return nil
        } catch {
            return "network \(network.name.prefix(64)) of this engine is not the cluster's yet: \("\(error)".prefix(300))"
        }
    }

    private func remove(_ dockerID: String) async {
        await controller.setWithdrawing(dockerID, true)
        do {
            try await client.removeNetwork(dockerID)
            log.info("removed a network from the engine", metadata: ["docker": "\(dockerID.prefix(12))"])
        } catch {
            limiter.log(to: log, .warning, key: dockerID, "cannot remove a network from the engine", metadata: ["error": "\(error)"])
        }
        await controller.setWithdrawing(dockerID, false)
    }

    /// - Returns: what is wrong, for people.
    private func create(_ network: NetworkObject) async -> String? {
        guard let name = network.name else { return nil }
        await controller.setCopying(network.id, true)
        let fault = await copy(network, name)
        await controller.setCopying(network.id, false)
        return fault
    }

    private func copy(_ network: NetworkObject, _ name: String) async -> String? {
        do {
            let others = try await client.networks(driver: nil).filter { $0.name == name }
            if let other = others.first(where: { $0.driver != "tulle" }) {
                return "network \(name) cannot be made on this engine: it has another network of that name (driver \(other.driver)); rename or remove that one"
            }
            for leftover in others where await !controller.isBound(leftover.id) {
                if let users = try await clear(leftover) { return users }
            }
            let id = try await client.createNetwork(specification(network, name))
            state.withLock { _ = $0.copies.insert(id) }
            log.notice("made the cluster's network on the engine", metadata: ["network": "\(name)"])
            return nil
        } catch {
            limiter.log(
                to: log, .warning, key: "create \(name)", "cannot make the cluster's network on the engine",
                metadata: ["network": "\(name)", "error": "\(error)"])
            return "network \(name) is not on this engine: \("\(error)".prefix(300))"
        }
    }

    /// A network that this agent never made or was told of is of another life of this host, before a reset.
    ///
    /// - Returns: why it is still there, for people.
    private func clear(_ leftover: EngineNetwork) async throws -> String? {
        let users = try await client.network(leftover.id).endpoints.values.map(\.name).sorted()
        guard users.isEmpty else {
            return "network \(leftover.name) of this engine is from before this node joined: remove its containers (\(users.joined(separator: ", "))), then it is made anew as the cluster's"
        }
        await remove(leftover.id)
        return nil
    }

    private func specification(_ network: NetworkObject, _ name: String) -> EngineNetworkSpec {
        // Exactly what the user gave: Compose refuses a network with an option that its file lacks. Name and subnet tie it to the
        // cluster's, as they tie what the user makes on another host.
        let key = network.hasOwnKey ? [DriverOption.network: network.key] : [:]
        let subnets = network.subnets.map { subnet in
            EngineIPAM.Subnet(
                subnet: subnet.prefix.description, ipRange: subnet.range?.description, gateway: subnet.gateway.description,
                auxiliaryAddresses: subnet.auxiliary.mapValues(\.description))
        }
        var specification = EngineNetworkSpec(
            name: name, driver: "tulle",
            ipam: EngineIPAM(driver: "tulle", options: network.addressOptions.merging(key) { $1 }, subnets: subnets),
            options: network.options.merging(key) { $1 }, labels: network.labels, isInternal: network.isInternal,
            isAttachable: network.isAttachable, enablesIPv6: network.subnet(of: .v6) != nil)
        specification.enablesIPv4 = network.subnet(of: .v4) != nil
        return specification
    }

    /// Names for people, and the proof of life or death of endpoints.
    private func readEndpoints(_ networks: [EngineNetwork]) async throws {
        let wanted = await controller.networksWithEndpoints()
        var live: Set<EndpointID> = []
        var read: Set<NetworkID> = []
        for network in networks {
            guard let id = wanted[network.id] else { continue }
            read.insert(id)
            for (id, endpoint) in try await client.network(network.id).endpoints {
                live.insert(EndpointID(id))
                try await controller.name(EndpointID(id), endpoint.name)
                if await controller.isKnown(EndpointID(id)) { describe(EndpointID(id), endpoint) }
            }
        }
        state.withLock { state in state.described = state.described.filter { live.contains($0.key) } }
        await controller.engineListed(live, of: read, isMounted: isMounted)
    }
}
