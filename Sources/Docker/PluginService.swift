package import HTTP
package import Logging

/// Answers the engine's calls on our plugin socket.
///
/// A call such as `POST /NetworkDriver.Join` comes in; its body becomes a JSON tree, the tree a typed request, the driver is asked,
/// and its answer goes back as JSON. Whatever goes wrong on the way, a field of the wrong type or the driver's own error,
/// becomes `{"Err": text}` (network) or `{"Error": text}` (addresses) with status 200, as the engine expects: it shows the
/// text to its user. The engine waits as long as it takes, and repeats no call that was answered.
package struct PluginService: Sendable {
    /// A call's name, how long it took, and the error's text.
    package typealias Observer = @Sendable (_ call: String, _ duration: Duration, _ error: String?) -> Void

    private static let mediaType = "application/vnd.docker.plugins.v1.2+json"
    /// Bytes of the longest field; the engine itself allows no longer names, addresses and options that we know of.
    private static let textLimit = 4096

    private let network: any NetworkDriver
    private let addresses: any AddressDriver
    private let log: Logger
    private let observe: Observer

    package init(
        network: any NetworkDriver, addresses: any AddressDriver, log: Logger, observe: @escaping Observer = { _, _, _ in }
    ) {
        self.network = network
        self.addresses = addresses
        self.log = log
        self.observe = observe
    }

    package func answer(_ request: HTTPRequest) async -> HTTPResponse {
        let call = String(request.path.drop { $0 == "/" })
        guard request.method == "POST" else {
            return respond(["Err": .text("\(request.method) \(request.path): plugin calls are made with POST")], status: 405)
        }
        let begin = ContinuousClock.now
        // A task of its own, which the connection's end does not cancel: when dockerd is killed in the middle of a call, half a
        // Leave would leave more behind than a whole one.
        let work = Task { try await perform(call, request.body) }
        do {
            guard let answer = try await work.value else {
                return respond(["Err": .text("\(call.prefix(100)): the plugin protocol has no such call")], status: 404)
            }
            report(call, since: begin, error: nil)
            return respond(answer)
        } catch {
            let text = String(String(describing: error).prefix(2000))
            report(call, since: begin, error: text)
            return respond([call.hasPrefix("IpamDriver.") ? "Error" : "Err": .text(text)])
        }
    }

    private func report(_ call: String, since begin: ContinuousClock.Instant, error: String?) {
        let duration = ContinuousClock.now - begin
        observe(call, duration, error)
        if let error {
            log.warning("a plugin call was refused", metadata: ["call": "\(call)", "error": "\(error)"])
        } else {
            log.debug("a plugin call was answered", metadata: ["call": "\(call)", "duration": "\(duration)"])
        }
    }

    private func respond(_ body: JSONValue, status: Int = 200) -> HTTPResponse {
        HTTPResponse(status: status, fields: ["Content-Type": PluginService.mediaType], body: body.serialized())
    }

    /// nil when there is no such call.
    private func perform(_ call: String, _ body: [UInt8]) async throws -> JSONValue? {
        switch call.prefix(while: { $0 != "." }) {
        case "Plugin" where call == "Plugin.Activate": return ["Implements": ["NetworkDriver", "IpamDriver"]]
        case "NetworkDriver": return try await performNetwork(call, body)
        case "IpamDriver": return try await performAddresses(call, body)
        default: return nil
        }
    }

    private func performNetwork(_ call: String, _ body: [UInt8]) async throws -> JSONValue? {
        func fields() throws -> FieldReader { try read(body, of: call) }
        switch call {
        case "NetworkDriver.GetCapabilities": return await network.capabilities().json
        case "NetworkDriver.CreateNetwork": try await network.createNetwork(CreateNetworkRequest(fields()))
        case "NetworkDriver.DeleteNetwork": try await network.deleteNetwork(id: fields().identifier("NetworkID"))
        case "NetworkDriver.CreateEndpoint": return try await network.createEndpoint(CreateEndpointRequest(fields())).json
        case "NetworkDriver.DeleteEndpoint": try await network.deleteEndpoint(EndpointKey(fields()))
        case "NetworkDriver.EndpointOperInfo": return ["Value": .texts(try await network.endpointInfo(EndpointKey(fields())))]
        case "NetworkDriver.Join": return try await network.join(JoinRequest(fields())).json
        case "NetworkDriver.Leave": try await network.leave(EndpointKey(fields()))
        case "NetworkDriver.ProgramExternalConnectivity":
            try await network.programExternalConnectivity(ExternalConnectivityRequest(fields()))
        case "NetworkDriver.RevokeExternalConnectivity": try await network.revokeExternalConnectivity(EndpointKey(fields()))
        case "NetworkDriver.AllocateNetwork":
            return ["Options": .texts(try await network.allocateNetwork(AllocateNetworkRequest(fields())))]
        case "NetworkDriver.FreeNetwork": try await network.freeNetwork(id: fields().identifier("NetworkID"))
        case "NetworkDriver.DiscoverNew": try await network.discoverNew(Discovery(fields()))
        case "NetworkDriver.DiscoverDelete": try await network.discoverDelete(Discovery(fields()))
        default: return nil
        }
        return [:]
    }

    private func performAddresses(_ call: String, _ body: [UInt8]) async throws -> JSONValue? {
        func fields() throws -> FieldReader { try read(body, of: call) }
        switch call {
        case "IpamDriver.GetCapabilities": return await addresses.capabilities().json
        case "IpamDriver.GetDefaultAddressSpaces": return await addresses.defaultAddressSpaces().json
        case "IpamDriver.RequestPool": return try await addresses.requestPool(PoolRequest(fields())).json
        case "IpamDriver.ReleasePool": try await addresses.releasePool(id: fields().requiredText("PoolID"))
        case "IpamDriver.RequestAddress": return try await addresses.requestAddress(AddressRequest(fields())).json
        case "IpamDriver.ReleaseAddress":
            let fields = try fields()
            try await addresses.releaseAddress(poolID: fields.requiredText("PoolID"), address: fields.requiredText("Address"))
        default: return nil
        }
        return [:]
    }

    /// The body's fields.
    private func read(_ body: [UInt8], of call: String) throws(DockerError) -> FieldReader {
        guard !body.isEmpty else {
            // The engine has read the body once for the attempt that broke off, and has none for the next.
            throw DockerError(
                .brokenOff, call, cause: "the agent was restarted during this request and Docker repeated it without its contents")
        }
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue(parsing: body)
        } catch {
            throw DockerError(.badRequest, call, cause: "the body is not JSON (\(error))")
        }
        return try FieldReader(value, code: .badRequest, operation: call, textLimit: PluginService.textLimit)
    }
}
