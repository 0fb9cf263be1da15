/// Where an `EmbeddedStore` makes its changes durable. Without one it is a store in memory.
package protocol Journal: Sendable {
    /// Makes all of the delta durable before it returns, or none of it and throws `StoreError`.
    func append(_ delta: StateDelta) async throws
    func close() async
}
