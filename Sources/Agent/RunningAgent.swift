/// Everything of an agent put together: the services, their tasks, and their end.
import Addressing
import Docker
import Fabric
import Glibc
import HTTP
import Kernel
import LocalAPI
import Logging
import NameService
import Store
import Synchronization
import TLS
import Telemetry

struct RunningAgent: Sendable {
    private let servers: [HTTPServer]
    private let listener: PeerListener
    private let tasks: [Task<Void, Never>]
    private let reconciler: Reconciler
    private let access: StoreAccess
    private let notifier: ServiceNotifier
    private let names: NameService
    /// Ends when the node's sign of life was taken back.
    private let goodbye: AsyncStream<Void>

    /// The resolver of an agent that has not started yet: it says goodbye if that does not succeed, for else containers would ask where nobody is, again with
    /// each try of the service manager.
    private final class EarlyNames: Sendable {
        private let started = Mutex<(names: NameService, task: Task<Void, Never>)?>(nil)
        func set(_ names: NameService, _ task: Task<Void, Never>) { started.withLock { $0 = (names, task) } }
        func end() async {
            guard let (names, task) = started.withLock({ $0 }) else { return }
            task.cancel()
            await names.endAll(isGoodbye: true)
        }
    }

    /// - Parameter restart: ends this agent and begins anew, soon.
    static func start(_ configuration: Configuration, output: LogOutput, restart: @escaping @Sendable () -> Void) async throws -> RunningAgent {
        let early = EarlyNames()
        do { return try await start(configuration, output: output, early, restart: restart) } catch {
            await early.end()
            throw error
        }
    }

    private static func start(
        _ configuration: Configuration, output: LogOutput, _ early: EarlyNames, restart: @escaping @Sendable () -> Void
    ) async throws -> RunningAgent {
        let log = output.logger("agent")
        try AgentClock.check(log)
        let files = try StateDirectory(configuration.stateDirectory)
        let table = try LocalTable(path: files.path("agent.db"))
        let kernel = try LinuxKernel()
        let strangers = try await kernel.namespaces().filter { $0 != .host }
        guard try Membership.load(table) != nil || strangers.isEmpty else {
            throw AgentError(
                .setup, "start", cause: "this host has networks (\(strangers.sorted().map { "\($0)" }.joined(separator: ", "))) and \(files.path("agent.db")) knows nothing of them",
                remedy: "start with the --state-dir of the agent that made them; or, if it is lost, end their containers and run 'tulle reset'")
        }
        let underlay = try Underlay.choose(configuration.underlay, family: Underlay.lastFamily(table), in: HostNetwork.read())
        try underlay.remember(in: table)
        let advertised = PeerListener.advertised(configuration.listen, underlay: underlay.address)
        let beginning = try await Beginning(configuration, table: table, files: files)
        let (node, invitation) = (beginning.node, beginning.invitation)
        var membership = beginning.membership
        if invitation == nil, let join = configuration.join {
            log.notice("this node belongs to cluster \(membership.cluster) already; --join \(join) is ignored")
        }
        let keys = PeerKeys(beginning.credentials?.contexts(membership.cluster), token: try membership.secret)
        let replica = try Replica(path: files.path("replica.db"), log: log)
        let access = try await StoreAccess.open(
            &membership, configuration, keys: keys, table: table, files: files, replica: replica, me: node, log: output.logger("store"))

        let metrics = AgentMetrics()
        let limiter = RepeatLimiter(interval: .seconds(10))
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
                    to: kernelLog, .error, key: "\(namespace) \(first.reason)",
                    first.isUnknown ? "what should be here is not known" : "the kernel refused a step",
                    metadata: ["namespace": "\(namespace)", "step": "\(first.step)", "reason": "\(first.reason)"])
            })
        var me = NodeObject(
            id: node, name: configuration.nodeName, underlay: underlay.address, mtu: underlay.mtu,
            agent: advertised.http.description, version: tulleVersion,
            instance: String(UInt64.random(in: .min ... .max), radix: 16))
        me.fingerprint = beginning.credentials?.certificate.fingerprintText
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
            cluster: membership.cluster, store: access.store, table: table,
            replica: replica, reconciler: reconciler, log: log,
            hostRoutes: { (try? HostNetwork.read()).map(Underlay.foreignRoutes) ?? [] })
        // Before anything is waited for: containers that live on ask already.
        let names = try NameService(controller.names, log: output.logger("names"))
        let nameKeeper = NameKeeper(controller, names, log: output.logger("names"))
        let naming = Task { await nameKeeper.run() }
        early.set(names, naming)
        if membership.isFounding == true {
            do { try await access.found(beginning, settings: settings) } catch let error as AgentError {
                try beginning.founded(table, files, false)
                throw error
            }
            try beginning.founded(table, files, true)
        } else {
            try await access.found(beginning, settings: settings)
        }
        if membership.storeNode == nil { access.locator?.expect(await controller.view.cluster?.storeNode) }
        let succession = Succession(
            cluster: membership.cluster, controller: controller, keys: keys, table: table, configuration: configuration, log: output.logger("store"),
            restart: restart)

        let engine = configuration.dockerSocket.map { EngineSync(socket: $0, controller: controller, log: output.logger("docker")) }
        var servers: [HTTPServer] = []
        let listener: PeerListener
        do {
            listener = try await PeerListener(
                configuration.listen, underlay: underlay.address,
                tls: try keys.server(output.logger("peers")),
                handler: PeerService(
                    cluster: membership.cluster, controller: controller, access: access, keys: keys, storeURL: membership.storeURL,
                    signer: beginning.signer, succession: succession).handler)
        } catch {
            await access.close()
            throw error
        }
        do {
            let local = LocalServer(
                controller: controller, kernel: kernel, engine: engine, metrics: metrics, names: names, keys: keys,
                access: access,
                moving: StoreMoving(
                    access: access, succession: succession, files: files, listener: listener, lifetime: Int(configuration.certificateLifetime.components.seconds),
                    announcement: StoreAnnouncement(keys: keys, table: table, log: log)))
            var localLimits = HTTPLimits()
            // A backup of a large cluster.
            (localLimits.bodyBytes, localLimits.allBodiesBytes) = (128 << 20, 256 << 20)
            servers.append(
                try await HTTPServer.start(
                    on: .unix(path: configuration.localSocket), limits: localLimits, handler: local.handler))
            let driver = DockerDriver(controller: controller)
            let plugin = PluginService(network: driver, addresses: driver, log: output.logger("plugin")) { call, duration, error in
                metrics.answered(call, duration, failed: error != nil)
            }
            var pluginLimits = HTTPLimits()
            pluginLimits.socketMode = 0o600
            servers.append(
                try await HTTPServer.start(
                    on: .unix(path: configuration.pluginSocket), limits: pluginLimits,
                    handler: { await plugin.answer($0) }))
        } catch {
            await listener.stop()
            for server in servers { await server.stop() }
            await access.close()
            throw error
        }

        let notifier = ServiceNotifier()
        try? notifier.ready(status: "serving Docker's plugin requests")
        log.notice(
            "the agent serves",
            metadata: [
                "node": "\(me.name)", "underlay": "\(underlay.address)", "listen": "\(configuration.listen?.http ?? advertised.http)",
                "store": "\(access.description)", "cluster": "\(membership.cluster)",
            ])
        if let signer = beginning.signer, await controller.maySign(signer.authority.certificate.fingerprintText) {
            log.notice("others join with: tulle agent --join \(advertised.http) --token TOKEN (see 'tulle token create')")
        }
        let accept = ForwardAccept(log: log)
        let announcement = access.isServed ? StoreAnnouncement(keys: keys, table: table, log: log) : nil
        let follower = UnderlayFollower(
            selector: configuration.underlay, controller: controller, listener: listener, access: access,
            table: table, announcement: announcement)
        let keeper = CertificateKeeper(
            beginning, controller: controller, keys: keys, listener: listener, files: files, table: table, log: log)
        let (hostChanges, hostChanged) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        // What changed before the kernel was listened to.
        hostChanged.yield()
        let (goodbye, said) = AsyncStream.makeStream(of: Void.self)
        await controller.note(try HostNetwork.read())
        var tasks = [
            naming,
            Task { await reconciler.run(controller) },
            Task { await controller.follow() },
            Task {
                await controller.keepRegistered()
                said.finish()
            },
            Task { await controller.publish() },
            Task { await keeper.run() },
            Task { await watchKernel(kernel, controller, hostChanged) },
            Task { await follower.run(hostChanges) },
            Task { await tick(controller, kernel, accept) },
            Task { await watchPins(controller) },
            Task { await succession.run(access, announcement, listener) },
        ]
        if let locator = access.locator { tasks.append(Task { await locator.run(controller) }) }
        if let engine { tasks.append(Task { await engine.run() }) }
        await reconciler.markAll()
        return RunningAgent(
            servers: servers, listener: listener, tasks: tasks, reconciler: reconciler, access: access, notifier: notifier,
            names: names, goodbye: goodbye)
    }

    /// - Parameter isForGood: it does not begin anew: the service manager would end what says that it stops.
    func stop(isForGood: Bool = true) async {
        if isForGood { try? notifier.stopping() }
        for task in tasks { task.cancel() }
        // One that begins anew is back before the containers' rules forget it.
        await names.endAll(isGoodbye: isForGood)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await listener.stop() }
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
        await access.close()
    }

    // MARK: Tasks

    /// The kernel's changes mark namespaces; those of the host's links and addresses may be the underlay's.
    private static func watchKernel(_ kernel: LinuxKernel, _ controller: Controller, _ hostChanged: AsyncStream<Void>.Continuation) async {
        for await namespace in await kernel.changes() {
            await controller.reconciler.mark(namespace, .kernel)
            if namespace == .host { hostChanged.yield() }
        }
        hostChanged.finish()
    }

    /// The slow clock: garbage each second, FORWARD each third, a full sweep of the kernel each minute.
    private static func tick(_ controller: Controller, _ kernel: LinuxKernel, _ accept: ForwardAccept) async {
        var seconds = 0
        var last = ForwardAccept.Need()
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            seconds += 1
            await controller.sweepGarbage(isMounted: NamespaceFile.isMounted)
            let need = await controller.forwarding()
            if seconds % 3 == 1 || need != last { await accept.assert(need) }
            last = need
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
