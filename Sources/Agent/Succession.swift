/// How agents find the store that took another's place, wherever theirs was: they are told (`POST /v1/cluster/store`), or ask others (`GET /v1/cluster`) while
/// their store does not answer. The highest epoch counts. An agent that serves a store asks now and then as well, for it is
/// the one that nobody can tell while its host is cut off: when it hears of a higher epoch its own store is over.
///
/// What is told is tried first: the cluster's store must answer there, with that epoch. Then it is remembered, and the agent begins anew.
import Addressing
import Fabric
import HTTP
import Logging
import Store
import Synchronization

/// The body of `POST /v1/cluster/store`.
struct StorePlace: Codable, Hashable, Sendable {
    /// The agent that serves it, or that moved it to `url`.
    var host: String
    var port: Int
    /// nil: an agent of version 0.2 or older, which moves its address and nothing else.
    var epoch: UInt64?
    var node: String?
    /// etcd's address, if it is there.
    var url: String?

    init(_ address: ListenAddress, epoch: UInt64, node: NodeID, url: String? = nil) {
        (host, port) = (address.address.description, Int(address.port))
        (self.epoch, self.node, self.url) = (epoch, node.description, url)
    }

    init(_ invitation: ClusterInvitation) {
        (host, port) = (invitation.storeHost, invitation.storePort)
        (epoch, node, url) = (invitation.epoch, invitation.storeNode, invitation.storeURL)
    }

    var address: HTTPAddress { .tcp(host: host, port: port) }
}

final class Succession: Sendable {
    let cluster: String
    let controller: Controller
    let keys: PeerKeys
    let table: LocalTable
    let configuration: Configuration
    let log: Logger
    private let restart: @Sendable () -> Void
    /// One at a time.
    private let isFollowing = Mutex(false)

    init(
        cluster: String, controller: Controller, keys: PeerKeys, table: LocalTable, configuration: Configuration, log: Logger,
        restart: @escaping @Sendable () -> Void
    ) {
        self.cluster = cluster
        self.controller = controller
        self.keys = keys
        self.table = table
        self.configuration = configuration
        self.log = log
        self.restart = restart
    }

    /// Follows the store to that place if it is the cluster's, of a higher epoch than the one known here.
    func follow(_ place: StorePlace) async -> Bool {
        guard let epoch = place.epoch, await epoch > controller.viewEpoch, let node = place.node, NodeID(node) != nil,
            node != controller.identity.node.description || place.url != nil
        else { return false }
        guard isFollowing.withLock({ isBusy in
            defer { isBusy = true }
            return !isBusy
        }) else { return false }
        defer { isFollowing.withLock { $0 = false } }
        do {
            guard try await identity(place, node) == StoreIdentity(cluster: cluster, epoch: epoch) else { return false }
            try remember { membership in
                membership.storeURL = place.url
                (membership.storeHost, membership.storePort) = place.url == nil ? (place.host, place.port) : (nil, nil)
                membership.storeNode = place.url == nil ? node : nil
            }
        } catch {
            log.warning("a new store was told of and cannot be followed", metadata: ["place": "\(place.address)", "error": "\(error)"])
            return false
        }
        log.notice("the cluster has a new store", metadata: ["place": "\(place.url == nil ? "\(place.address)" : "etcd")", "epoch": "\(epoch)"])
        beginAnew()
        return true
    }

    private func identity(_ place: StorePlace, _ node: String) async throws -> StoreIdentity {
        if let url = place.url { return try await StoreAccess.etcd(try EtcdLocation(parsing: url), configuration).identity() }
        return try await RemoteStore(PeerClient(place.address, keys: keys, expecting: { node }), timeout: .seconds(3)).identity()
    }

    /// The agent begins anew, after the answers that are on their way.
    func beginAnew() {
        let restart = self.restart
        Task {
            try? await Task.sleep(for: .milliseconds(200))
            restart()
        }
    }

    /// Where the store is from the next start on.
    func remember(_ change: (inout Membership) -> Void) throws {
        guard var membership = try Membership.load(table) else { return }
        change(&membership)
        membership.isMoved = true
        try membership.save(table)
    }

    /// Asks, until cancelled: for who serves the store four times a minute, else while it is away.
    func run(_ access: StoreAccess, _ announcement: StoreAnnouncement?, _ listener: PeerListener) async {
        var pause = Duration.seconds(2)
        while !Task.isCancelled {
            if !access.isServed {
                guard await controller.waitForStore(toBeAway: true, within: .seconds(60)) else {
                    pause = .seconds(2)
                    continue
                }
            }
            for invitation in await invitations(of: await controller.otherAgents().shuffled().prefix(access.isServed ? 3 : 6)) {
                if await follow(StorePlace(invitation)) { return }
            }
            if let announcement {
                // They may be of the other side of a cut that is over, and know nothing.
                let unheard = await controller.unheardAgents()
                let place = StorePlace(await listener.advertised, epoch: await controller.viewEpoch, node: controller.identity.node)
                _ = await announcement.tellAtOnce(place, unheard, rounds: 1)
            }
            if access.isServed {
                try? await Task.sleep(for: .seconds(15))
            } else if await controller.waitForStore(toBeAway: false, within: pause) {
                pause = .seconds(2)
            } else {
                pause = min(pause * 2, .seconds(30))
            }
        }
    }

    private func invitations(of agents: ArraySlice<HTTPAddress>) async -> [ClusterInvitation] {
        let keys = self.keys
        return await withTaskGroup(of: ClusterInvitation?.self) { group in
            for agent in agents { group.addTask { try? await Joining.invitation(PeerClient(agent, keys: keys), timeout: .seconds(2)) } }
            return await group.reduce(into: []) { if let invitation = $1 { $0.append(invitation) } }
        }
    }
}

extension Controller {
    func unheardAgents() -> [HTTPAddress] {
        view.unheard.filter { $0.id != me.id }.compactMap { ConfigurationValue.join($0.agent) }
    }
}
