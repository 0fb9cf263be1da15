/// Keeps this node's certificate good and the cluster's trust up to date: asks for a first certificate (a node of version 0.1), for the next one before the
/// present ends, believes the authorities that the store names; and, where the authority is, closes the door that agents of version 0.1 used,
/// once every node has a certificate.
import Fabric
import HTTP
import Logging
import Store
import TLS
import Telemetry

actor CertificateKeeper {
    private let controller: Controller
    private let keys: PeerKeys
    private let listener: PeerListener
    private let files: StateDirectory
    private let table: LocalTable
    private let signer: Signer?
    private let log: Logger
    private var membership: Membership
    private var credentials: Credentials?

    init(_ beginning: Beginning, controller: Controller, keys: PeerKeys, listener: PeerListener, files: StateDirectory, table: LocalTable, log: Logger) {
        self.controller = controller
        self.keys = keys
        self.listener = listener
        self.files = files
        self.table = table
        self.log = log
        signer = beginning.signer
        membership = beginning.membership
        credentials = beginning.credentials
    }

    /// Until cancelled.
    func run() async {
        while !Task.isCancelled {
            var pause = Duration.seconds(60)
            let seen = await controller.trust()
            do {
                try await keep()
                await controller.setProblem("certificate", nil)
                if let due = credentials?.certificate.renewal {
                    let left = due - Int64(wallSeconds())
                    pause = left > 0 ? min(pause, .seconds(left)) : .seconds(5)
                }
            } catch {
                if await controller.isStoreReachable { await controller.setProblem("certificate", "\(error)") }
                pause = .seconds(5)
            }
            await controller.waitForTrust(otherThan: seen, within: pause)
        }
    }

    private func keep() async throws {
        if let present = credentials {
            if Int64(wallSeconds()) >= present.certificate.renewal { try await renew() }
        } else {
            try await renew()
        }
        if let tls = keys.server(log) { try await listener.secure(tls) }
        await controller.setFingerprint(credentials?.certificate.fingerprintText)
        try await followAuthorities()
        if let signer { try await controller.publish(try signer.object(controller.identity.node)) }
        try await seal()
    }

    /// By this node's own authority, or by the one that has it.
    private func renew() async throws {
        let (id, name) = await (controller.me.id, controller.me.name)
        if let signer {
            try adopt(try signer.credentials(node: id.description, name: name))
            return
        }
        let key = try PrivateKey.generate()
        let order = CertificateOrder(node: id, name: name, request: try CertificateRequest(key: key, uri: "tulle:\(id)").pem())
        guard let address = await controller.signerAddress() else { return }
        let answer = try await PeerClient(address, keys: keys).send(
            HTTPRequest("POST", CertificateOrder.path, body: try StoredJSON.encode(order)), timeout: .seconds(5))
        if answer.status == 404 { return }  // Of version 0.1 still.
        if let failure = answer.failure, answer.status != 200 { throw failure }
        let made = try StoredJSON.decode(CertificateAnswer.self, answer.body)
        try adopt(try Credentials(key, made.certificate, made.authorities, node: id))
        log.notice("this node has a new certificate", metadata: ["ends": "\(credentials?.certificate.notAfter ?? 0)"])
    }

    private func adopt(_ new: Credentials) throws {
        try new.save(files)
        credentials = new
        keys.set(try new.context(membership.cluster))
    }

    private func followAuthorities() async throws {
        guard let present = credentials else { return }
        let named = await controller.view.authorities.values.sorted { $0.fingerprint < $1.fingerprint }.compactMap {
            try? Certificate(pem: $0.certificate)
        }
        let wanted = present.trusting(named.filter { CertificateAuthority.isAuthority($0, of: membership.cluster) })
        if wanted.authorities != present.authorities { try adopt(wanted) }
    }

    private func seal() async throws {
        guard membership.isSealed != true else { return }
        if signer != nil { try await controller.sealIfAllCan() }
        guard await controller.view.cluster?.isSealed == true, credentials != nil else { return }
        membership.isSealed = true
        membership.token = nil
        // The locator may have remembered another place meanwhile.
        if let stored = try Membership.load(table) {
            (membership.storeHost, membership.storePort, membership.peers) = (stored.storeHost, stored.storePort, stored.peers)
        }
        try membership.save(table)
        keys.forgetToken()
        log.notice("every node has a certificate: the shared secret opens nothing any more")
    }
}

extension Certificate {
    /// When to ask for the next one: a third of its time is left then. Seconds since 1970.
    var renewal: Int64 {
        // It begins earlier than it was made.
        let lifetime = notAfter - notBefore - CertificateAuthority.clockSkew
        return notAfter - max(lifetime, 3) / 3
    }
}

extension PeerKeys {
    /// For this node's TCP port; nil before its first certificate.
    func server(_ log: Logger) -> HTTPServerTLS? {
        let present = present
        guard let slot = present.slot else { return nil }
        var tls = HTTPServerTLS(slot, alsoPlain: present.token != nil)
        let limiter = RepeatLimiter(interval: .seconds(60))
        tls.failed = { error, place in
            limiter.log(
                to: log, .info, key: "\(error.code)", "a connection to this agent was not secure", metadata: ["from": "\(place)", "error": "\(error)"])
        }
        return tls
    }
}

/// What, when it changes, gives `CertificateKeeper` something to do.
struct Trust: Hashable, Sendable {
    var authorities: Set<String>
    var certified: Set<NodeID>
    var nodes: Int
    var isSealed: Bool
}

extension Controller {
    func trust() -> Trust {
        Trust(
            authorities: Set(view.authorities.keys), certified: Set(view.nodes.values.filter { $0.fingerprint != nil }.map(\.id)),
            nodes: view.nodes.count, isSealed: view.cluster?.isSealed == true)
    }

    func waitForTrust(otherThan seen: Trust, within limit: Duration) async {
        _ = await wait(within: limit) { $0.trust() != seen }
    }

    func setFingerprint(_ fingerprint: String?) {
        guard me.fingerprint != fingerprint else { return }
        me.fingerprint = fingerprint
        viewChanged()
    }

    /// This node's authority, for all to know.
    func publish(_ object: AuthorityObject) async throws {
        guard isStoreReachable, distrust == nil, view.cluster != nil, view.authorities[object.fingerprint] == nil else { return }
        let key = StoreKey.authority(object.fingerprint)
        _ = try await commit(
            StoreTransaction(
                conditions: [.absent(key: key)], operations: [.put(key: key, value: try StoredJSON.encode(object), lease: nil)]),
            "publish the cluster's authority")
    }

    func sealIfAllCan() async throws {
        guard isStoreReachable, distrust == nil, let cluster = view.cluster, cluster.isSealed != true, view.nodes[me.id] != nil else { return }
        let old = view.nodes.values.filter { $0.fingerprint == nil }.map(\.name).sorted()
        setProblem(
            "old agents",
            old.isEmpty ? nil : "agents of an older version join with the shared secret still, on \(old.joined(separator: ", ")): upgrade them, or remove those nodes")
        guard old.isEmpty else { return }
        try await rewrite(StoreKey.cluster, "seal the cluster") { (old: ClusterObject) in
            guard old.isSealed != true else { return nil }
            var sealed = old
            sealed.isSealed = true
            return sealed
        }
    }
}
