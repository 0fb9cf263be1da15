/// What an agent answers to others, on its TCP port, over TLS: where the store is, and the store itself where it has it; to hosts without a certificate, how
/// to join; to nodes, their next certificate. Nothing else answers without a certificate of the cluster's, or, until the cluster is
/// sealed, the secret that agents of version 0.1 share. Nodes that were removed are answered so and nothing else.
import Addressing
import Fabric
import HTTP
import Store
import TLS

struct PeerService: Sendable {
    let cluster: String
    let controller: Controller
    let access: StoreAccess
    let keys: PeerKeys
    /// Of a store that is no agent's.
    let storeURL: String?
    /// Where this node has the authority.
    let signer: Signer?
    let succession: Succession
    private let forwarding = Gate(8)

    init(
        cluster: String, controller: Controller, access: StoreAccess, keys: PeerKeys, storeURL: String?, signer: Signer?, succession: Succession
    ) {
        self.succession = succession
        self.cluster = cluster
        self.controller = controller
        self.access = access
        self.keys = keys
        self.storeURL = storeURL
        self.signer = signer
    }

    var handler: HTTPHandler {
        var router = HTTPRouter()
        router.on("GET", ClusterInvitation.path) { _ in
            guard let invitation = await invitation(), let body = try? StoredJSON.encode(invitation) else {
                return .text("cannot tell where the store is", status: 500)
            }
            return .json(body)
        }
        router.on("POST", StoreAnnouncement.path) { await announced($0) }
        router.on("POST", EtcdReach.path) { request in
            guard let wish = try? StoredJSON.decode(EtcdReach.self, request.body) else { return .text("this is no address", status: 400) }
            let failure = await EtcdReach.failure(wish.url, succession.configuration)
            return failure.map { .text($0, status: 409) } ?? .text("it answers")
        }
        router.on("GET", ReplicaState.path) { _ in await replica { .json(try StoredJSON.encode(try await controller.replicaState())) } }
        router.on("GET", ReplicaState.copyPath) { _ in await replica { .json(try StoredJSON.encode(try controller.replica.snapshot())) } }
        router.on("POST", CertificateOrder.path) { await certificate($0) }
        router.on("POST", AdmissionRequest.path) { await join($0) }
        if let store = access.embedded { StoreService(store).addRoutes(to: &router) }
        let routes = router
        let members: HTTPHandler = { await routes.answer($0) }
        let old = keys.token.map { PeerAuthenticator(token: $0).protecting(members) }
        return { await answer($0, members: members, old: old) }
    }

    private func answer(_ request: HTTPRequest, members: HTTPHandler, old: HTTPHandler?) async -> HTTPResponse {
        guard request.isSecure else {
            if let old, keys.token != nil { return await old(request) }
            return .text("this cluster takes certificates only: upgrade that agent, or join it again\n", status: 403)
        }
        guard let peer = request.peer else {
            if request.method == "POST", request.path == AdmissionRequest.path { return await join(request) }
            return .failure(
                StoreError(
                    .notAuthentic, "\(request.method) \(request.path)", cause: "no certificate of the cluster's was shown",
                    remedy: "Join the cluster first."), status: 403)
        }
        // The handshake asked; the connection may be old.
        guard peer.expires > Int64(wallSeconds()) else {
            return .failure(
                StoreError(
                    .notAuthentic, "\(request.method) \(request.path)", cause: "the certificate that this connection began with has ended",
                    remedy: "Restart that agent."), status: 403)
        }
        if await controller.isRemoved(peer.node) { return removal(request) }
        let response = await members(request)
        // It may have been removed while it waited for a change.
        return await controller.isRemoved(peer.node) ? removal(request) : response
    }

    private func removal(_ request: HTTPRequest) -> HTTPResponse {
        .failure(StoreError(.removed, "\(request.method) \(request.path)", cause: "this node was removed from the cluster"), status: 403)
    }

    private func invitation() async -> ClusterInvitation? {
        let (here, settings) = await (controller.me.agent, controller.settings)
        guard case .tcp(let host, let port)? = access.locator?.address ?? ConfigurationValue.join(here) else { return nil }
        // With etcd's password; what comes here comes over TLS.
        var invitation = ClusterInvitation(
            cluster: cluster, storeHost: host, storePort: port, vxlanPort: settings.vxlanPort, vniBase: settings.vniBase, storeURL: storeURL)
        invitation.needs = await controller.view.cluster?.needs
        invitation.epoch = await access.epoch(controller)
        invitation.storeNode = await (access.isServed ? controller.identity.node : controller.view.cluster?.storeNode)?.description
        return invitation
    }

    private func replica(_ answer: () async throws -> HTTPResponse) async -> HTTPResponse {
        do { return try await answer() } catch { return .text("the copy of the store cannot be read: \(error)\n", status: 500) }
    }

    private func announced(_ request: HTTPRequest) async -> HTTPResponse {
        guard let place = try? StoredJSON.decode(StorePlace.self, request.body), (1...65_535).contains(place.port) else {
            return .text("this is no place of a store", status: 400)
        }
        if let epoch = place.epoch, await epoch != access.epoch(controller) {
            // From the node itself; of a store that moved to etcd, from whoever moved it.
            guard request.peer?.node == place.node else { return .text("this is another node's to tell", status: 409) }
            return await succession.follow(place) ? .text("followed") : .text("it is not followed", status: 409)
        }
        guard let locator = access.locator else { return .text("this agent does not follow another's store", status: 409) }
        let isMoved = await locator.move(to: .tcp(host: place.host, port: place.port))
        return isMoved ? .text("known") : .text("the cluster's store does not answer there", status: 409)
    }

    // MARK: Certificates

    private func join(_ request: HTTPRequest) async -> HTTPResponse {
        let operation = "join the cluster"
        return await refusing(operation) {
            guard let order = try? StoredJSON.decode(AdmissionRequest.self, request.body) else {
                throw AgentError(.invalid, operation, cause: "the request is not one to join", remedy: "see that the versions of both agents fit")
            }
            guard let signer = await activeSigner() else { return try await forward(request, order, operation) }
            guard let invitation = await invitation() else {
                throw AgentError(.setup, operation, cause: "this node does not know where the store is", remedy: "try again")
            }
            let wanted = try CertificateRequest(pem: order.request)
            try await controller.admit(order, key: wanted.publicKey.fingerprintText, operation)
            let certificate = try signer.sign(wanted, node: order.node.description, name: order.name)
            return .json(try StoredJSON.encode(
                AdmissionAnswer(invitation: invitation, certificate: try certificate.pem(), authorities: try await authorities(signer))))
        }
    }

    private func certificate(_ request: HTTPRequest) async -> HTTPResponse {
        let operation = "get a certificate"
        return await refusing(operation) {
            guard let order = try? StoredJSON.decode(CertificateOrder.self, request.body) else {
                throw AgentError(.invalid, operation, cause: "the request is not one for a certificate", remedy: "see that the versions of both agents fit")
            }
            guard let signer = await activeSigner() else {
                throw AgentError(.setup, operation, cause: "this node has no authority", remedy: "ask the node that has it")
            }
            if let peer = request.peer {
                guard peer.node == order.node.description else {
                    throw AgentError(.invalid, operation, cause: "it is for another node than the one that asks", remedy: "report this")
                }
            } else {
                // Whoever comes with the old secret is known as a member, and by nothing else.
                try await controller.checkUncertified(order.node, operation)
            }
            let certificate = try signer.sign(CertificateRequest(pem: order.request), node: order.node.description, name: order.name)
            return .json(try StoredJSON.encode(
                CertificateAnswer(certificate: try certificate.pem(), authorities: try await authorities(signer))))
        }
    }

    /// Not one that another took the place of.
    private func activeSigner() async -> Signer? {
        guard let signer, await controller.maySign(signer.authority.certificate.fingerprintText) else { return nil }
        return signer
    }

    /// The one that signs, and those whose certificates have not all ended.
    private func authorities(_ signer: Signer) async throws -> [String] {
        let own = try signer.authority.certificate.pem()
        return [own] + (await controller.believed.filter { $0 != own })
    }

    /// To the node that has the authority; the token is what counts, whoever carries it. Only once, only for who has a token by this node's own record,
    /// and a few at a time.
    private func forward(_ request: HTTPRequest, _ order: AdmissionRequest, _ operation: String) async throws -> HTTPResponse {
        guard request.peer == nil else {
            throw AgentError(
                .setup, operation, cause: "the node \(await controller.me.name), which is said to have the cluster's authority, has it not",
                remedy: "restore authority.pem there, and start its agent again")
        }
        guard let (node, address) = await controller.authorityPlace() else {
            throw AgentError(
                .setup, operation, cause: "this node does not know which one has the cluster's authority", remedy: "join by the host that made the cluster")
        }
        guard node != controller.identity.node.description else {
            throw AgentError(
                .setup, operation, cause: "this node has lost the key of the cluster's authority", remedy: "restore authority.pem there, and start its agent again")
        }
        let key = try CertificateRequest(pem: order.request).publicKey.fingerprintText
        try await controller.checkToken(proof: order.proof, for: order.node, key: key, operation)
        guard forwarding.enter() else {
            throw AgentError(.full, operation, cause: "other hosts are joining by this one", remedy: "try again in a moment, or by another host")
        }
        defer { forwarding.leave() }
        do {
            return try await PeerClient(address, keys: keys, expecting: { node }).send(
                HTTPRequest("POST", AdmissionRequest.path, body: request.body), timeout: .seconds(8), isRepeatable: false)
        } catch let error as StoreError {
            throw AgentError(
                .storeAway, operation, cause: "the node with the cluster's authority does not answer: \(error.cause)", remedy: "start its agent at \(address)")
        }
    }

    private func refusing(_ operation: String, _ body: () async throws -> HTTPResponse) async -> HTTPResponse {
        do { return try await body() } catch {
            let refusal = switch error {
            case let error as AgentError:
                StoreError(.init(rawValue: error.code.rawValue), operation, cause: error.cause, remedy: error.remedy)
            case let error as TLSError: StoreError(.invalid, operation, cause: error.cause, remedy: error.remedy)
            default: StoreError(.inputOutput, operation, cause: "\(error)")
            }
            return .failure(refusal, status: 403)
        }
    }
}

extension Controller {
    /// The node that has the authority, and where it listens.
    func authorityPlace() -> (node: String, address: HTTPAddress)? {
        guard let node = view.authority.flatMap({ view.nodes[$0.node] }), let address = ConfigurationValue.join(node.agent) else { return nil }
        return (node.id.description, address)
    }

    /// Whether that host may join; takes a use of its token.
    ///
    /// - Parameter key: the fingerprint of the key that it proves to have.
    func admit(_ order: AdmissionRequest, key: String, _ operation: String) async throws {
        // Who has no token learns nothing.
        try await checkToken(proof: order.proof, for: order.node, key: key, operation)
        let now = wallSeconds()
        guard (now - Joining.clockSkew...now + Joining.clockSkew).contains(order.time) else {
            throw AgentError(
                .setup, operation, cause: "the clocks differ: the joining host's says \(order.time), \(me.name)'s says \(now) (seconds since 1970)",
                remedy: "set them, as by NTP: certificates depend on them")
        }
        guard ConfigurationValue.nodeName(order.name) != nil else {
            throw AgentError(.invalid, operation, cause: "the name is none", remedy: "give --node-name letters, digits, '.', '-' and '_'")
        }
        let (level, needed) = (order.level ?? 1, view.cluster?.needs ?? 1)
        guard level >= needed else {
            throw AgentError(
                .setup, operation, cause: "the cluster needs agents of level \(needed), and this one has \(level)",
                remedy: "install the version of tulle there that the cluster has")
        }
        // With the key that it had before it is the same one, whose certificate has ended.
        let isSame = view.nodes[order.node].map { $0.fingerprint == key } ?? false
        guard isSame || (view.nodes[order.node] == nil && view.removed[order.node] == nil) else {
            throw AgentError(
                .conflict, operation, cause: "node \(order.node) is known to the cluster already: this machine is a copy of it, or its state is an old one",
                remedy: "run 'tulle reset' there and join again")
        }
        if let other = view.nodes.values.first(where: { $0.name == order.name && $0.id != order.node }) {
            throw AgentError(
                .conflict, operation, cause: "the name \(order.name) is taken by node \(other.id) at \(other.agent)",
                remedy: "join with another --node-name; or, if that node is gone for good, run 'tulle node remove \(order.name)' first")
        }
        // All hosts get in by this agent, so that of two that come with one name at once the second is told here.
        let moment = bootSeconds()
        // From its registration on it is the record that counts.
        arriving = arriving.filter { moment - $0.value.since < Self.arrival && view.nodes[$0.value.node] == nil && view.removed[$0.value.node] == nil }
        if let other = arriving[order.name], other.node != order.node {
            throw AgentError(
                .conflict, operation, cause: "the name \(order.name) is taken by node \(other.node), which joins at this moment",
                remedy: "join with another --node-name; or, if that host never came, try again in \(Int(Self.arrival)) s")
        }
        arriving[order.name] = (order.node, moment)
        do { try await spendToken(proof: order.proof, for: order.node, key: key, operation) } catch {
            arriving[order.name] = nil
            throw error
        }
    }

    /// How long a name is kept for a host that was let in and has not registered yet, in seconds.
    private static let arrival = 60.0

    /// - Parameter node: a UUID.
    func isRemoved(_ node: String) -> Bool { NodeID(node).map { view.removed[$0] != nil } ?? true }

    /// A member of version 0.1 that has no certificate yet.
    func checkUncertified(_ node: NodeID, _ operation: String) throws {
        guard view.removed[node] == nil else { throw Self.removedError(operation) }
        guard let known = view.nodes[node], known.fingerprint == nil else {
            throw AgentError(
                .conflict, operation, cause: "node \(node) is not one that waits for its first certificate",
                remedy: "join with a token of 'tulle token create'")
        }
    }
}
