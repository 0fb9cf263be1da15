/// A model of the Docker engine of one host, as far as its plugin's agent sees it: which calls come in which order, what is undone when one fails, what is
/// ignored, and what its lists show. It lives in the world, outlives agents, and asks whichever agent runs at the moment.
///
/// `docker run` is RequestAddress, CreateEndpoint, Join; `docker rm` is Leave, DeleteEndpoint, ReleaseAddress, whose failures nobody hears of.
import Addressing
import Agent
import Docker
import Fabric
import TestKit

final class SimulatedEngine: @unchecked Sendable {
    struct Net {
        var id: String
        var spec: EngineNetworkSpec
        var pools: [(id: String, prefix: IPPrefix, gateway: String)]
        var isHidden = false
    }
    struct Container {
        var name: String
        var network: String
        var endpoint: EndpointID
        var address: IPAddress
        var claim: Int
        /// Listed, and with a sandbox.
        var isJoined = false
        var isEnding = false
        var sandbox: String { "/var/run/docker/netns/\(endpoint)" }
    }

    unowned let host: Host
    private(set) var networks: [String: Net] = [:]
    private(set) var containers: [String: Container] = [:]
    private var mounted: Set<String> = []
    /// Containers being attached, by network.
    private var making: [String: Int] = [:]
    private var listeners: [(life: Life, continuation: AsyncThrowingStream<EngineEvent, any Error>.Continuation)] = []
    private var count = 0

    init(_ host: Host) { self.host = host }

    private var world: World { host.world }
    func isMounted(_ path: String) -> Bool { mounted.contains(path) }
    func network(named name: String) -> Net? { networks.values.filter { $0.spec.name == name && !$0.isHidden }.min { $0.id < $1.id } }
    /// Docker's own limits on a call to a plugin: it tries again while nobody listens, and then it waits.
    private func plugin<Value: Sendable>(_ body: @escaping @Sendable (Controller) async throws -> Value) async throws -> Value {
        for attempt in 0..<4 {
            if let agent = host.agent, host.isRunning {
                return try await Executor.shared.call(agent.life, within: .seconds(60)) { try await body(agent.controller) }
            }
            try await Task.sleep(for: .seconds(1 << attempt))
        }
        throw Lost.ended
    }

    private func fresh(_ kind: String) -> String {
        count += 1
        return "\(kind)-\(host.name)-\(count)"
    }

    // MARK: Networks

    func create(_ spec: EngineNetworkSpec) async throws -> String {
        guard network(named: spec.name) == nil else { throw DockerError(.conflict, "create", cause: "network with name \(spec.name) already exists") }
        let id = fresh("net")
        var pools: [(id: String, prefix: IPPrefix, gateway: String)] = []
        do {
            for subnet in spec.ipam.subnets {
                let options = spec.ipam.options
                let pool = try await plugin { try await $0.requestPool(prefix: subnet.subnet ?? "", range: subnet.ipRange ?? "", options: options, isV6: false) }
                pools.append((pool.id, pool.prefix, ""))
                let gateway = try await plugin { try await $0.requestGateway(pool.id, subnet.gateway ?? "") }
                pools[pools.count - 1].gateway = gateway.description
            }
            let asked = pools.map {
                NetworkRequest.Pool(addressSpace: Controller.addressSpace, prefix: $0.prefix.description, gateway: $0.gateway, auxiliary: [:])
            }
            try await plugin {
                try await $0.createNetwork(NetworkRequest(dockerID: id, options: spec.options, isInternal: spec.isInternal, pools: asked))
            }
        } catch {
            await release(pools)
            throw error
        }
        networks[id] = Net(id: id, spec: spec, pools: pools)
        tell("network", "create", id)
        return id
    }

    func remove(network id: String) async throws {
        // Endpoints are made and networks removed one after the other.
        for _ in 0..<600 where making[id] ?? 0 > 0 { try await Task.sleep(for: .milliseconds(100)) }
        guard let net = networks[id], !net.isHidden else { throw DockerError(.notFound, "remove", cause: "no such network") }
        guard !containers.values.contains(where: { $0.network == id }) else {
            throw DockerError(.conflict, "remove", cause: "network has active endpoints")
        }
        networks[id]?.isHidden = true
        // The engine forgets it even if the plugin refuses or is away.
        try? await plugin { try await $0.deleteNetwork(id) }
        await release(net.pools)
        networks[id] = nil
        tell("network", "destroy", id)
    }

    private func release(_ pools: [(id: String, prefix: IPPrefix, gateway: String)]) async {
        for pool in pools {
            if let gateway = InterfaceAddress(pool.gateway)?.address { try? await plugin { try await $0.releaseAddress(pool.id, gateway) } }
            try? await plugin { try await $0.releasePool(pool.id) }
        }
    }

    // MARK: Containers

    @discardableResult
    func run(on network: String, address wanted: IPAddress?) async throws -> Container {
        guard let net = networks[network], !net.isHidden, let pool = net.pools.first else {
            throw DockerError(.notFound, "run", cause: "no such network")
        }
        making[network, default: 0] += 1
        defer { making[network, default: 0] -= 1 }
        let promise = wanted == nil ? world.checker.promise(host, net, starting: making[network] ?? 0) : nil
        do { return try await start(net, pool.id, wanted) } catch {
            if let promise { world.checker.broken(promise, host, network, error) }
            throw error
        }
    }

    private func start(_ net: Net, _ pool: String, _ wanted: IPAddress?) async throws -> Container {
        let network = net.id
        let name = fresh("c"), endpoint = EndpointID(fresh("ep"))
        let right = world.checker.rightToAllocate(host)
        let given = try await plugin { try await $0.requestAddress(pool, wanted) }.address
        let claim = world.checker.allocated(given, on: network, at: host, for: name, right: right)
        containers[name] = Container(name: name, network: network, endpoint: endpoint, address: given, claim: claim)
        do {
            _ = try await plugin {
                try await $0.createEndpoint(EndpointRequest(dockerID: network, id: endpoint, addresses: ["\(given)/32"], mac: ""))
            }
            guard let container = containers[name], !container.isEnding else { throw Lost.ended }
            world.checker.bound(claim)
            mounted.insert(container.sandbox)
            _ = try await plugin { try await $0.join(endpoint, sandbox: container.sandbox, publishes: false) }
            guard containers[name]?.isEnding == false else { throw Lost.ended }
            containers[name]?.isJoined = true
            tell("container", "start", name)
            return container
        } catch {
            await end(name)
            throw error
        }
    }

    func end(_ name: String) async {
        guard let container = containers[name], !container.isEnding else { return }
        containers[name]?.isEnding = true
        mounted.remove(container.sandbox)
        // From here on the address may be given to others.
        world.checker.ended(container.claim)
        guard let pool = networks[container.network]?.pools.first else { return containers[name] = nil }
        try? await plugin { try await $0.leave(container.endpoint) }
        try? await plugin { try await $0.deleteEndpoint(container.endpoint) }
        try? await plugin { try await $0.releaseAddress(pool.id, container.address) }
        containers[name] = nil
        tell("container", "destroy", name)
    }

    /// Its containers ended with the machine's power, and nobody says so to the plugin.
    func machineStarted() {
        for container in containers.values.sorted(by: { $0.name < $1.name }) { world.checker.ended(container.claim) }
        containers = [:]
        mounted = []
    }

    // MARK: What the agent's `EngineSync` sees

    func listed(_ net: Net) -> EngineNetwork {
        EngineNetwork(
            id: net.id, name: net.spec.name, driver: "tulle", scope: "local", created: "", isInternal: net.spec.isInternal, labels: net.spec.labels,
            options: net.spec.options, ipam: net.spec.ipam)
    }
    func list() -> [EngineNetwork] { networks.values.filter { !$0.isHidden }.sorted { $0.id < $1.id }.map(listed) }
    func inspect(_ id: String) throws -> EngineNetwork {
        guard let net = networks[id], !net.isHidden else { throw DockerError(.notFound, "inspect", cause: "no such network") }
        var result = listed(net)
        for container in containers.values where container.network == id && container.isJoined && !container.isEnding {
            result.endpoints[container.endpoint.description] = EngineNetworkEndpoint(
                containerID: container.name, name: container.name, macAddress: "", ipv4Address: "\(container.address)/32", ipv6Address: "")
        }
        return result
    }
    func inspect(container name: String) throws -> EngineContainer {
        guard let container = containers[name] else { throw DockerError(.notFound, "inspect", cause: "no such container") }
        let attachment = EngineContainer.Attachment(endpointID: container.endpoint.description, aliases: ["service-\(name.prefix(1))"])
        return EngineContainer(id: name, name: name, hostname: name, attachments: [networks[container.network]?.spec.name ?? "": attachment])
    }
    func listen(_ life: Life, _ continuation: AsyncThrowingStream<EngineEvent, any Error>.Continuation) { listeners.append((life, continuation)) }
    func agentStarted() { listeners.removeAll { $0.life.isOver } }

    private func tell(_ type: String, _ action: String, _ id: String) {
        let event = EngineEvent(type: type, action: action, id: id, name: id, time: Int64(Executor.shared.now))
        for (life, continuation) in listeners where !life.isOver { _ = Executor.shared.within(life) { continuation.yield(event) } }
    }
}

/// The engine's socket as one run of the agent sees it.
struct EngineLink: Engine {
    let engine: SimulatedEngine
    let life: Life

    func version() async throws -> EngineVersion {
        try await Executor.shared.cross(life) { EngineVersion(version: "28.5.2", api: "1.51", minimumAPI: "1.24") }
    }
    func networks(driver: String?) async throws -> [EngineNetwork] { try await Executor.shared.cross(life) { engine.list() } }
    func network(_ id: String) async throws -> EngineNetwork { try await Executor.shared.cross(life) { try engine.inspect(id) } }
    func container(_ id: String) async throws -> EngineContainer { try await Executor.shared.cross(life) { try engine.inspect(container: id) } }
    func createNetwork(_ spec: EngineNetworkSpec) async throws -> String { try await Executor.shared.cross(life) { try await engine.create(spec) } }
    func removeNetwork(_ id: String) async throws { try await Executor.shared.cross(life) { try await engine.remove(network: id) } }
    func events() async throws -> AsyncThrowingStream<EngineEvent, any Error> {
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: EngineEvent.self)
        engine.listen(life, continuation)
        return stream
    }
}
