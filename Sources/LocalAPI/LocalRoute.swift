/// The routes of the agent's local API: HTTP/1.1 on the unix socket `tulle.sock` in the run directory, mode 0660.
///
/// Answers are JSON reports (status 200), the text of `metrics`, or an `ErrorReport` with another status. Within `/v1` fields
/// are only added, so a reader ignores those that it does not know.
package struct LocalRoute: Hashable, Sendable {
    package let method: String
    package let path: String

    /// Answers a `StatusReport`.
    package static let status = LocalRoute(method: "GET", path: "/v1/status")
    /// Answers `[NetworkReport]`.
    package static let networks = LocalRoute(method: "GET", path: "/v1/networks")
    /// Answers `[EndpointReport]`, those of all nodes.
    package static let endpoints = LocalRoute(method: "GET", path: "/v1/endpoints")
    /// Answers `[NodeReport]`.
    package static let nodes = LocalRoute(method: "GET", path: "/v1/nodes")
    /// Answers `[NameReport]`, those of all nodes.
    package static let names = LocalRoute(method: "GET", path: "/v1/names")
    /// Takes a `NameQuestion`, answers a `NameAnswerReport`.
    package static let namesAsk = LocalRoute(method: "POST", path: "/v1/names/ask")
    /// Answers `[PlanReport]`: what the reconcile loop would change now.
    package static let plan = LocalRoute(method: "GET", path: "/v1/plan")
    /// Takes an `ExposureRequest`, answers the `EndpointReport` of the host on that network.
    package static let expose = LocalRoute(method: "POST", path: "/v1/expose")
    /// Takes a `NameRequest` with the network's name or id, answers the `EndpointReport` that was.
    package static let hide = LocalRoute(method: "POST", path: "/v1/hide")
    /// Answers a `TokenReport`.
    package static let token = LocalRoute(method: "GET", path: "/v1/token")
    /// Takes a `TokenRequest`, answers a `NewTokenReport`.
    package static let tokenCreate = LocalRoute(method: "POST", path: "/v1/tokens")
    /// Answers `[JoinTokenReport]`.
    package static let tokens = LocalRoute(method: "GET", path: "/v1/tokens")
    /// Takes a `NameRequest` with the token's id, answers `[JoinTokenReport]`, those that are left.
    package static let tokenRevoke = LocalRoute(method: "POST", path: "/v1/tokens/revoke")
    /// Takes a `NameRequest` with the node's name or id, answers its `NodeReport`.
    package static let nodeRemove = LocalRoute(method: "POST", path: "/v1/nodes/remove")
    /// Begins the store anew, which lost what it had, with what the nodes know; answers a `StoreMoveReport`. Where this agent serves it, it begins anew too.
    package static let storeAccept = LocalRoute(method: "POST", path: "/v1/store/accept")
    /// Makes this node the one that signs certificates; answers an `AuthorityReport`, and the agent begins anew.
    package static let authorityTake = LocalRoute(method: "POST", path: "/v1/authority/take")
    /// Makes this node's agent serve the store, which was lost; answers a `StoreMoveReport`, and the agent begins anew.
    package static let storePromote = LocalRoute(method: "POST", path: "/v1/store/promote")
    /// Takes a `NameRequest` with etcd's address, moves the store that this agent serves there; answers a `StoreMoveReport`, and the agent begins anew.
    package static let storeMigrate = LocalRoute(method: "POST", path: "/v1/store/migrate")
    /// Answers a `StoreBackup`.
    package static let storeExport = LocalRoute(method: "GET", path: "/v1/store/export")
    /// Takes a `StoreBackup` in place of a store that was lost; answers a `StoreMoveReport`.
    package static let storeImport = LocalRoute(method: "POST", path: "/v1/store/import")
    /// Answers Prometheus text.
    package static let metrics = LocalRoute(method: "GET", path: "/metrics")

    package static let all = [
        status, networks, endpoints, nodes, names, namesAsk, plan, expose, hide, token, tokenCreate, tokens, tokenRevoke, nodeRemove, authorityTake, storeAccept,
        storePromote, storeMigrate,
        storeExport, storeImport, metrics,
    ]

    /// The socket's name in the run directory.
    package static let socketName = "tulle.sock"
}
