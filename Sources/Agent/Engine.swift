/// What `EngineSync` asks of an engine: Docker's Engine API, or a model of it.
package import Docker

package protocol Engine: Sendable {
    func version() async throws -> EngineVersion
    /// All networks, or those of one driver; without their endpoints.
    func networks(driver: String?) async throws -> [EngineNetwork]
    func network(_ id: String) async throws -> EngineNetwork
    /// What one container is called and publishes. While its engine starts it, the answer waits.
    func container(_ id: String) async throws -> EngineContainer
    /// Makes a network and gives its id.
    func createNetwork(_ spec: EngineNetworkSpec) async throws -> String
    func removeNetwork(_ id: String) async throws
    /// What happens to networks and containers, until the engine stops or the consumer does.
    func events() async throws -> AsyncThrowingStream<EngineEvent, any Error>
}

extension EngineClient: Engine {
    package func events() async throws -> AsyncThrowingStream<EngineEvent, any Error> { try await events(since: nil) }
}
