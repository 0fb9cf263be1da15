/// What an agent answers to others, on its TCP port: where the store is, and the store itself where it has it. Nothing answers without the
/// cluster's token.
import Fabric
import HTTP
import Store

struct PeerService: Sendable {
    let cluster: String
    let controller: Controller
    let access: StoreAccess
    let token: ClusterToken

    var handler: HTTPHandler {
        var router = HTTPRouter()
        router.on("GET", ClusterInvitation.path) { _ in await invitation() }
        router.on("POST", StoreAnnouncement.path) { await announced($0) }
        if let store = access.embedded { StoreService(store).addRoutes(to: &router) }
        let routes = router
        return PeerAuthenticator(token: token).protecting { await routes.answer($0) }
    }

    private func invitation() async -> HTTPResponse {
        let (here, settings) = await (controller.me.agent, controller.settings)
        guard case .tcp(let host, let port)? = access.locator?.address ?? ConfigurationValue.join(here),
            let body = try? StoredJSON.encode(
                ClusterInvitation(
                    cluster: cluster, storeHost: host, storePort: port, vxlanPort: settings.vxlanPort, vniBase: settings.vniBase))
        else { return .text("cannot tell where the store is", status: 500) }
        return .json(body)
    }

    private func announced(_ request: HTTPRequest) async -> HTTPResponse {
        guard let place = try? StoredJSON.decode(StorePlace.self, request.body), (1...65_535).contains(place.port) else {
            return .text("this is no place of a store", status: 400)
        }
        guard let locator = access.locator else { return .text("this agent does not follow another's store", status: 409) }
        let isMoved = await locator.move(to: .tcp(host: place.host, port: place.port))
        return isMoved ? .text("known") : .text("the cluster's store does not answer there", status: 409)
    }
}
