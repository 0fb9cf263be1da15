/// The local API on the agent's unix socket (docs/cli.md): what the command line asks.
import Addressing
import Fabric
import HTTP
import Kernel
import LocalAPI
import NameService
import Store
import Telemetry

struct LocalServer: Sendable {
    let controller: Controller
    let kernel: LinuxKernel
    let engine: EngineSync?
    let metrics: AgentMetrics
    let names: NameService
    let keys: PeerKeys
    let access: StoreAccess
    let moving: StoreMoving

    var handler: HTTPHandler {
        var router = HTTPRouter()
        on(.status, &router) { await status() }
        on(.networks, &router) { await controller.networkReports() }
        on(.endpoints, &router) { await controller.endpointReports() }
        on(.nodes, &router) { await controller.nodeReports() }
        on(.names, &router) { await controller.nameReports() }
        on(.namesAsk, &router) { (question: NameQuestion) in try await controller.ask(question) }
        on(.plan, &router) {
            try await controller.reconciler.preview().map { namespace, steps in
                PlanReport(namespace: "\(namespace)", steps: steps.map { "\($0)" })
            }
        }
        on(.expose, &router) { (request: ExposureRequest) in
            await controller.report(try await controller.expose(request.network, addresses: request.addresses))
        }
        on(.hide, &router) { (request: NameRequest) in await controller.report(try await controller.hide(request.name)) }
        on(.token, &router) {
            guard let token = keys.token else {
                throw AgentError(
                    .unknown, "show the shared secret", cause: "this cluster has none: its nodes have certificates",
                    remedy: "'tulle token create' makes a token with which hosts join")
            }
            return TokenReport(token: token.text, join: await controller.me.agent)
        }
        on(.tokenCreate, &router) { (request: TokenRequest) in
            let (token, object) = try await controller.createToken(ttl: request.ttl, uses: request.uses)
            return NewTokenReport(
                token: token.text, id: object.id, expires: Timestamp(milliseconds: Int64(object.expires) * 1000),
                join: await controller.me.agent)
        }
        on(.tokens, &router) { await controller.tokenReports() }
        on(.tokenRevoke, &router) { (request: NameRequest) in
            try await controller.revokeToken(request.name)
            return await controller.tokenReports()
        }
        on(.nodeRemove, &router) { (request: NameRequest) in
            let node = try await controller.removeNode(request.name)
            return NodeReport(
                id: node.id.description, name: node.name, address: node.underlay.description, agentAddress: node.agent, alive: false,
                version: node.version)
        }
        on(.storeAccept, &router) { try await moving.succession.exclusively("accept the store") { try await moving.accept() } }
        on(.storePromote, &router) { try await moving.succession.exclusively("promote this node's copy of the store") { try await moving.promote() } }
        on(.authorityTake, &router) { try await moving.succession.exclusively("take the certificate authority over") { try await moving.takeAuthority() } }
        on(.storeMigrate, &router) { (request: NameRequest) in
            try await moving.succession.exclusively("move the store to etcd") { try await moving.migrate(to: request.name) }
        }
        on(.storeExport, &router) { try await moving.export() }
        on(.storeImport, &router) { (backup: StoreBackup) in
            try await moving.succession.exclusively("import a store") { try await moving.import(backup) }
        }
        router.on(LocalRoute.metrics.method, LocalRoute.metrics.path) { _ in await exposition() }
        let routes = router
        return { await routes.answer($0) }
    }

    private func on<Answer: Encodable & SendableMetatype>(
        _ route: LocalRoute, _ router: inout HTTPRouter, _ answer: @escaping @Sendable () async throws -> Answer
    ) {
        router.on(route.method, route.path) { _ in
            do { return try .report(try await answer()) } catch {
                return (try? .report(ErrorReport(error: "\(error)"), status: 500)) ?? .text("\(error)", status: 500)
            }
        }
    }

    /// A route that takes a body.
    private func on<Request: Decodable & SendableMetatype, Answer: Encodable & SendableMetatype>(
        _ route: LocalRoute, _ router: inout HTTPRouter, _ answer: @escaping @Sendable (Request) async throws -> Answer
    ) {
        router.on(route.method, route.path) { request in
            do {
                let body: Request
                do { body = try LocalJSON.decode(Request.self, from: request.body) } catch {
                    return try .report(ErrorReport(error: "the body is no \(Request.self): \(error)"), status: 400)
                }
                return try .report(try await answer(body))
            } catch {
                return (try? .report(ErrorReport(error: "\(error)"), status: 500)) ?? .text("\(error)", status: 500)
            }
        }
    }

    private func status() async -> StatusReport {
        let failures = await controller.reconciler.problems.sorted { $0.key < $1.key }.compactMap { namespace, failures in
            (failures.first { !$0.isSkipped } ?? failures.first).map { $0.isUnknown ? $0.reason : "the kernel refused '\($0.step)' in \(namespace): \($0.reason); it is tried again" }
        }
        return await controller.statusReport(
            storeKind: access.kind, storeAddress: access.address ?? "this node", docker: engine?.report(),
            drift: metrics.driftRepaired, failures: failures)
    }

    private func exposition() async -> HTTPResponse {
        metrics.lookedUp(here: await names.answered, docker: await names.forwarded)
        for namespace in await controller.namespaces() {
            if let counters = try? await kernel.counters(namespace) { metrics.dropped(namespace, counters) }
        }
        return HTTPResponse(
            status: 200, fields: ["Content-Type": Metrics.contentType], body: Array(metrics.registry.exposition().utf8))
    }
}
