/// What the consumer holds: when it lets go, the watch ends.
final class EtcdWatchHandle: Sendable {
    let watch: EtcdWatch
    private let tasks: [Task<Void, Never>]
    private let forget: @Sendable () -> Void

    init(_ watch: EtcdWatch, forget: @escaping @Sendable () -> Void) {
        self.watch = watch
        self.forget = forget
        tasks = [Task { await watch.run() }, Task { await watch.watchOver() }]
    }

    deinit {
        for task in tasks { task.cancel() }
        forget()
        let watch = self.watch
        Task { await watch.stop() }
    }
}
