/// Everything of an agent put together: the services, their tasks, and their end.
import Addressing
import Docker
import Fabric
import Glibc
import HTTP
import Kernel
import LocalAPI
import Logging
import Store
import Telemetry

struct RunningAgent: Sendable {
    private let servers: [HTTPServer]
    private let tasks: [Task<Void, Never>]
    private let reconciler: Reconciler
    private let embedded: EmbeddedStore?
    private let notifier: ServiceNotifier
    /// Ends when the node's sign of life was taken back.
    private let goodbye: AsyncStream<Void>

    static func start(_ configuration: Configuration, output: LogOutput) async throws -> RunningAgent {
        let log = output.logger("agent")
        let files = try StateDirectory(configuration.stateDirectory)
        let table = try LocalTable(path: files.path("agent.db"))
        let node = try identity(table)
        let underlay = try Underlay.choose(configuration.underlay, in: HostNetwork.read())
        let listen = configuration.listen ?? ListenAddress(address: underlay.address, port: Configuration.defaultPort)

        // What others are told must lead here.
        let advertised = listen.address.isUnspecified ? ListenAddress(address: underlay.address, port: listen.port) : listen
        let (membership, invitation) = try await membership(configuration, table: table, files: files)
        if invitation == nil, let join = configuration.join {
            log.notice("this node belongs to cluster \(membership.cluster) already; --join \(join) is ignored")
        }
        let token = try ClusterToken(parsing: membership.token)
        var embedded: EmbeddedStore?
        let store: any Store
        if let address = membership.storeAddress {
            store = RemoteStore(PeerClient(address, token: token))
        } else {
            let opened = try await EmbeddedStore.open(
                path: files.path("store.db"), create: false, log: output.logger("store"))
            let cluster = await opened.identity().cluster
            guard cluster == membership.cluster else {
                await opened.close()
                throw AgentError(
                    .storeRefused, "open the store \(files.path("store.db"))",
                    cause: "it is another cluster's (\(cluster)), this node belongs to \(membership.cluster)",
                    remedy: "put the right file back; nothing was touched")
            }
            embedded = opened
            store = opened
        }

        let metrics = AgentMetrics()
        let limiter = RepeatLimiter(interval: .seconds(10))
        let kernel = try LinuxKernel()
        let kernelLog = output.logger("kernel")
        let reconciler = Reconciler(
            kernel, log: kernelLog,
            onDrift: { step in
                metrics.drift(step)
                limiter.log(
                    to: kernelLog, .notice, key: "\(step.namespace) \(step.kind) \(step.link ?? "")", "repaired what somebody changed",
                    metadata: ["step": "\(step)"])
            },
            onFailure: { namespace, failures in
                metrics.failed(namespace, failures.count)
                guard let first = failures.first(where: { !$0.isSkipped }) ?? failures.first else { return }
                limiter.log(
                    to: kernelLog, .error, key: "\(namespace) \(first.reason)", "the kernel refused a step",
                    metadata: ["namespace": "\(namespace)", "step": "\(first.step)", "reason": "\(first.reason)"])
            })
        let me = NodeObject(
            id: node, name: configuration.nodeName, underlay: underlay.address, mtu: underlay.mtu,
            agent: advertised.http.description, version: tulleVersion,
            instance: String(UInt64.random(in: .min ... .max), radix: 16))
        let settings = Settings(
            vxlanPort: invitation?.vxlanPort ?? configuration.vxlanPort,
            vniBase: invitation?.vniBase ?? configuration.vniBase)
        let controller = try Controller(
            identity: .init(node: node, instance: me.instance), me: me, underlay: underlay.interface,
            settings: settings,
            terms: .init(
                lease: Int(configuration.lease.components.seconds),
                forgetAfter: Int(configuration.forgetAfter.components.seconds),
                scopeIsGlobal: configuration.scope == .global),
            cluster: membership.cluster, store: store, table: table,
            replica: try Replica(path: files.path("replica.db"), log: log),
            reconciler: reconciler, log: log,
            hostRoutes: { (try? HostNetwork.read()).map(Underlay.foreignRoutes) ?? [] })
        if let embedded { try await Self.found(embedded, node: node, settings: settings) }

        let engine = configuration.dockerSocket.map { EngineSync(socket: $0, controller: controller, log: output.logger("docker")) }
        var servers: [HTTPServer] = []
        do {
            let peers = peerHandler(store: embedded, membership: membership, listen: advertised, settings: settings, token: token)
            servers.append(try await servePeers(on: listen, peers))
            let local = LocalServer(
                controller: controller, kernel: kernel, engine: engine, metrics: metrics, token: membership.token,
                listen: advertised, storeAddress: membership.storeAddress?.description)
            servers.append(
                try await HTTPServer.start(
                    on: .unix(path: configuration.localSocket), handler: local.handler))
            let driver = DockerDriver(controller: controller)
            let plugin = PluginService(network: driver, addresses: driver, log: output.logger("plugin")) { call, duration, error in
                metrics.answered(call, duration, failed: error != nil)
            }
            var pluginLimits = HTTPLimits()
            pluginLimits.socketMode = 0o600
            servers.append(
                try await HTTPServer.start(
                    on: .unix(path: "\(configuration.pluginDirectory)/tulle.sock"), limits: pluginLimits,
                    handler: { await plugin.answer($0) }))
        } catch {
            for server in servers { await server.stop() }
            await embedded?.close()
            throw error
        }

        let notifier = ServiceNotifier()
        try? notifier.ready(status: "serving Docker's plugin requests")
        log.notice(
            "the agent serves",
            metadata: [
                "node": "\(me.name)", "underlay": "\(underlay.address)", "listen": "\(listen.http)",
                "store": "\(membership.storeAddress?.description ?? "embedded")", "cluster": "\(membership.cluster)",
            ])
        if embedded != nil {
            log.notice("others join with: tulle agent --join \(advertised.http) --token TOKEN (see 'tulle token show')")
        }
        let accept = ForwardAccept(log: log)
        let (goodbye, said) = AsyncStream.makeStream(of: Void.self)
        var tasks = [
            Task { await reconciler.run(controller) },
            Task { await controller.follow() },
            Task {
                await controller.keepRegistered()
                said.finish()
            },
            Task { await controller.publish() },
            Task { await watchKernel(kernel, controller, configuration.underlay) },
            Task { await tick(controller, kernel, accept) },
            Task { await watchPins(controller) },
        ]
        if let engine { tasks.append(Task { await engine.run() }) }
        await reconciler.markAll()
        return RunningAgent(
            servers: servers, tasks: tasks, reconciler: reconciler, embedded: embedded, notifier: notifier,
            goodbye: goodbye)
    }

    func stop() async {
        try? notifier.stopping()
        for task in tasks { task.cancel() }
        await withTaskGroup(of: Void.self) { group in
            for server in servers { group.addTask { await server.stop() } }
        }
        // The store hears that this agent has ended, if it answers soon.
        await withTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in goodbye {} }
            group.addTask { try? await Task.sleep(for: .milliseconds(800)) }
            await group.next()
            group.cancelAll()
        }
        await reconciler.stop()
        await embedded?.close()
    }

    // MARK: Beginnings

    private static func identity(_ table: LocalTable) throws -> NodeID {
        if let value = try table.value("node"), let id = NodeID(String(decoding: value, as: UTF8.self)) { return id }
        let id = NodeID(random: .random(in: .min ... .max))
        try table.put("node", Array(id.description.utf8))
        return id
    }

    /// The remembered membership, or a new one: by joining, or by making a cluster.
    private static func membership(
        _ configuration: Configuration, table: LocalTable, files: StateDirectory
    ) async throws -> (Membership, ClusterInvitation?) {
        if let known = try Membership.load(table) { return (known, nil) }
        if let join = configuration.join {
            guard let token = configuration.token else {
                throw AgentError(
                    .setup, "join the cluster at \(join)", cause: "no token was given",
                    remedy: "add --token with what 'tulle token show' prints on the first host")
            }
            let (membership, invitation) = try await Joining.ask(join, token: token)
            try membership.save(table)
            return (membership, invitation)
        }
        let store = try await EmbeddedStore.open(path: files.path("store.db"), create: true)
        let cluster = await store.identity().cluster
        let isUsed = try await store.list(prefix: "").revision > .zero
        await store.close()
        guard !isUsed else {
            throw AgentError(
                .setup, "start", cause: "\(files.path("store.db")) holds a cluster's record and agent.db beside it, with its token, is missing",
                remedy: "restore agent.db; or, to begin a new cluster, move store.db away")
        }
        let membership = Membership(
            cluster: cluster, token: ClusterToken.new().text, storeHost: nil, storePort: nil, peers: [])
        try membership.save(table)
        return (membership, nil)
    }

    /// Puts the cluster's settings into a new store.
    private static func found(_ store: EmbeddedStore, node: NodeID, settings: Settings) async throws {
        let cluster = ClusterObject(
            id: await store.identity().cluster, vxlanPort: settings.vxlanPort, vniBase: settings.vniBase, storeNode: node)
        // Only into a store that never held anything: an emptied one is for a person to judge.
        guard try await store.list(prefix: "").revision == .zero else { return }
        _ = try await store.commit(
            StoreTransaction(
                conditions: [.absent(key: StoreKey.cluster)],
                operations: [.put(key: StoreKey.cluster, value: try StoredJSON.encode(cluster), lease: nil)]))
    }

    // MARK: Between agents

    private static func servePeers(on listen: ListenAddress, _ handler: @escaping HTTPHandler) async throws -> HTTPServer {
        let failure: any Error
        do {
            return try await HTTPServer.start(on: listen.http, limits: peerLimits(), handler: handler)
        } catch {
            failure = error
        }
        guard (failure as? HTTPError)?.code == .addressInUse else { throw failure }
        throw AgentError(
            .setup, "listen on \(listen.http)", cause: "\(PortHolder.tcp(listen.port)) has the port",
            remedy: "stop that, or choose another with --listen")
    }

    private static func peerLimits() -> HTTPLimits {
        var limits = HTTPLimits()
        // A transaction as JSON, each byte escaped at worst.
        limits.bodyBytes = 4 * StoreLimits.transactionBytes
        // Each watching agent holds one, and some more for its other requests.
        limits.connections = 4_096
        return limits
    }

    /// Nothing answers without the cluster's token.
    private static func peerHandler(
        store: EmbeddedStore?, membership: Membership, listen: ListenAddress, settings: Settings, token: ClusterToken
    ) -> HTTPHandler {
        var router = HTTPRouter()
        let invitation = ClusterInvitation(
            cluster: membership.cluster, storeHost: membership.storeHost ?? listen.address.description,
            storePort: membership.storePort ?? Int(listen.port), vxlanPort: settings.vxlanPort, vniBase: settings.vniBase)
        router.on("GET", ClusterInvitation.path) { _ in
            guard let body = try? StoredJSON.encode(invitation) else { return .text("cannot encode", status: 500) }
            return .json(body)
        }
        if let store { StoreService(store).addRoutes(to: &router) }
        let routes = router
        return PeerAuthenticator(token: token).protecting { await routes.answer($0) }
    }

    // MARK: Tasks

    /// The kernel's changes mark namespaces; those of the host's links and addresses may be the underlay's.
    private static func watchKernel(_ kernel: LinuxKernel, _ controller: Controller, _ selector: UnderlaySelector?) async {
        for await namespace in await kernel.changes() {
            await controller.reconciler.mark(namespace, .kernel)
            guard namespace == .host, let network = try? HostNetwork.read(),
                let underlay = try? Underlay.choose(selector, in: network)
            else { continue }
            await controller.setUnderlay(underlay)
        }
    }

    /// The slow clock: garbage each second, FORWARD each third, a full sweep of the kernel each minute.
    private static func tick(_ controller: Controller, _ kernel: LinuxKernel, _ accept: ForwardAccept) async {
        var seconds = 0
        var last = (wanted: false, v6: false)
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            seconds += 1
            await controller.sweepGarbage(isMounted: NamespaceFile.isMounted)
            let egress = await controller.egress()
            if seconds % 3 == 1 || egress != last { await accept.assert(isWanted: egress.wanted, withV6: egress.v6) }
            last = egress
            if seconds % 60 == 0 { await controller.reconciler.sweep() }
        }
    }

    /// A pin that is taken away tells nobody, and an agent that ended then would take the network out of containers: the next look puts it
    /// back.
    private static func watchPins(_ controller: Controller) async {
        var seen: Set<NamespaceID> = []
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(400))
            let wanted = await controller.namespaces()
            seen.formIntersection(wanted)
            for namespace in wanted {
                guard let name = namespace.pinName else { continue }
                if NamespaceFile.isMounted("/run/netns/\(name)") {
                    seen.insert(namespace)
                } else if seen.remove(namespace) != nil {
                    await controller.reconciler.pinIsGone(namespace)
                }
            }
        }
    }
}

extension ListenAddress {
    var http: HTTPAddress { .tcp(host: address.description, port: Int(port)) }
}

extension Controller {
    /// Whether some network here has a way out, and whether over IPv6 too.
    func egress() -> (wanted: Bool, v6: Bool) {
        let networks = Set(local.endpoints.values.map(\.network)).compactMap { view.networks[$0] }.filter { !$0.isInternal }
        return (!networks.isEmpty, networks.contains { $0.subnet(of: .v6) != nil })
    }
}
