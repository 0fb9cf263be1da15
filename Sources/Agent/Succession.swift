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
    /// Another node's agent serves it.
    func isElsewhere(than me: NodeID) -> Bool { node.map { NodeID($0) != nil && $0 != me.description } ?? false }
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
    private let following = Gate(1)
    private let moving = Gate(1)

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

    /// Two commands at once would each undo what the other needs.
    func exclusively<Result>(_ operation: String, _ body: () async throws -> Result) async throws -> Result {
        guard moving.enter() else {
            throw AgentError(.conflict, operation, cause: "another such command runs on this node", remedy: "wait for its end")
        }
        defer { moving.leave() }
        return try await body()
    }

    /// Follows the store to that place if it is the cluster's, of a higher epoch than the one known here.
    func follow(_ place: StorePlace) async -> Bool {
        guard let epoch = place.epoch, epoch <= NewStore.mostEpoch, await epoch > controller.viewEpoch,
            place.url != nil || place.isElsewhere(than: controller.identity.node)
        else { return false }
        // Followed already; what this node holds is being brought there.
        if let present = try? Membership.load(table), present.isMoved == true, present.names(place) { return true }
        guard following.enter() else { return false }
        defer { following.leave() }
        do {
            guard try await Self.identity(place, keys, configuration) == StoreIdentity(cluster: cluster, epoch: epoch) else { return false }
            try remember { $0.follow(place) }
        } catch {
            log.warning("a new store was told of and cannot be followed", metadata: ["place": "\(place.address)", "error": "\(error)"])
            return false
        }
        log.notice("the cluster has a new store", metadata: ["place": "\(place.url == nil ? "\(place.address)" : "etcd")", "epoch": "\(epoch)"])
        beginAnew()
        return true
    }

    static func identity(_ place: StorePlace, _ keys: PeerKeys, _ configuration: Configuration) async throws -> StoreIdentity {
        if let url = place.url { return try await StoreAccess.etcd(try EtcdLocation(parsing: url), configuration).identity() }
        return try await RemoteStore(PeerClient(place.address, keys: keys, expecting: { place.node }), timeout: .seconds(3)).identity()
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
        membership.moved(from: configuration)
        try membership.save(table)
    }

    /// Asks, until cancelled: for who serves the store four times a minute; else while it is away, and every other minute one node: an etcd
    /// that is back may have been replaced.
    func run(_ access: StoreAccess, _ announcement: StoreAnnouncement?, _ listener: PeerListener) async {
        var pause = Duration.seconds(2)
        while !Task.isCancelled {
            let isAway = access.isServed ? true : await controller.waitForStore(toBeAway: true, within: .seconds(120))
            for invitation in await invitations(of: await controller.otherAgents().shuffled().prefix(access.isServed ? 3 : isAway ? 6 : 1), access) {
                if await follow(StorePlace(invitation)) { return }
            }
            guard isAway else {
                pause = .seconds(2)
                continue
            }
            if let announcement {
                // They may be of the other side of a cut that is over, and know nothing.
                let unheard = await controller.unheardAgents()
                let place = StorePlace(await listener.advertised, epoch: await access.epoch(controller), node: controller.identity.node)
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

    private func invitations(of agents: ArraySlice<HTTPAddress>, _ access: StoreAccess) async -> [ClusterInvitation] {
        let (keys, controller) = (self.keys, self.controller)
        return await withTaskGroup(of: ClusterInvitation?.self) { group in
            for agent in agents {
                group.addTask {
                    do { return try await Joining.invitation(PeerClient(agent, keys: keys), timeout: .seconds(2)) } catch {
                        // Whose store is its own hears it from nobody else.
                        if let error = error as? StoreError, error.code == .removed {
                            await controller.learnRemoval()
                            await access.embedded?.freeze("this node was removed from the cluster")
                        }
                        return nil
                    }
                }
            }
            return await group.reduce(into: []) { if let invitation = $1 { $0.append(invitation) } }
        }
    }
}

extension Controller {
    func unheardAgents() -> [HTTPAddress] {
        view.unheard.filter { $0.id != me.id }.compactMap { ConfigurationValue.join($0.agent) }
    }
}
