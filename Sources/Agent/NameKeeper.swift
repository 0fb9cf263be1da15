/// Which containers the name service serves: all of this node that are on a network of the cluster, from their first moment to their last.
///
/// Docker tells the path of a container's namespace in Join, and mounts it there some milliseconds after Join was answered; a file system event tells
/// of the plain file and not of the mount, so the path is looked at every few milliseconds until it is a namespace, and then the sockets are opened in it
/// (`ResolverSockets`): the container's program starts a tenth of a second later. With Leave, or when the path is a namespace no more, they are closed:
/// they would keep a dead container's namespace alive. An agent that starts finds its containers by the same way.
import Fabric
import Kernel
import Logging
import NameService
import Telemetry

struct NameKeeper: Sendable {
    let book: NameBook
    let service: NameService
    let log: Logger
    private let repeats = RepeatLimiter(interval: .seconds(30))

    init(_ controller: Controller, _ service: NameService, log: Logger) {
        book = controller.names
        self.service = service
        self.log = log
    }

    /// A look at a path costs some microseconds.
    private static let look = Duration.milliseconds(4)
    /// A start that takes longer is looked at once a second.
    private static let patience = Duration.seconds(20)

    /// Runs until cancelled.
    func run() async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await service.run() }
            group.addTask {
                while !Task.isCancelled {
                    try? await Task.sleep(for: .seconds(1))
                    book.wake()
                }
            }
            group.addTask { await follow() }
        }
    }

    private func follow() async {
        /// Paths that are no namespaces yet, and since when they are wanted.
        var awaited: [String: ContinuousClock.Instant] = [:]
        /// Paths that could not be served, and when to try again.
        var refused: [String: ContinuousClock.Instant] = [:]
        for await _ in book.changes {
            var sweep = ContinuousClock.now
            repeat {
                let wanted = book.look(\.sandboxes)
                let served = await service.served
                // They were all ended for good, perhaps.
                guard !Task.isCancelled else { return }
                for path in served.subtracting(wanted) { await release(path) }
                awaited = awaited.filter { wanted.contains($0.key) }
                refused = refused.filter { wanted.contains($0.key) }
                var ready: [String] = []
                for path in wanted.subtracting(served) where refused[path].map({ $0 <= .now }) ?? true {
                    if NamespaceFile.isMounted(path) {
                        awaited[path] = nil
                        ready.append(path)
                    } else if awaited[path] == nil {
                        awaited[path] = .now
                    }
                }
                for path in await serve(ready) { refused[path] = .now + Self.pause }
                // Those that live need no look at each turn.
                if sweep <= .now {
                    for path in served.intersection(wanted) where !NamespaceFile.isMounted(path) { await service.end(path) }
                    sweep = .now + .seconds(1)
                }
                guard awaited.values.contains(where: { .now - $0 < Self.patience }), !Task.isCancelled else { break }
                try? await Task.sleep(for: Self.look)
            } while true
        }
    }

    /// At an agent's start there may be hundreds.
    private static let atOnce = 8
    /// After a container that could not be served.
    private static let pause = Duration.seconds(5)

    /// - Returns: those that could not be served.
    private func serve(_ paths: [String]) async -> [String] {
        await withTaskGroup(of: String?.self) { group in
            var failed: [String] = []
            for (index, path) in paths.enumerated() {
                if index >= Self.atOnce, let path = await group.next() ?? nil { failed.append(path) }
                group.addTask { await serve(path) ? nil : path }
            }
            for await path in group { if let path { failed.append(path) } }
            return failed
        }
    }

    private func serve(_ path: String) async -> Bool {
        do {
            let sockets = try await ResolverSockets.open(in: path)
            try await service.serve(path, sockets)
            return true
        } catch {
            // Docker's resolver answers meanwhile; the next look tries again.
            repeats.log(to: log, .warning, key: "\(error)", "a container's names are Docker's alone", metadata: ["error": "\(error)"])
            return false
        }
    }

    /// It left all our networks, and may live on.
    private func release(_ path: String) async {
        await service.end(path)
        guard NamespaceFile.isMounted(path) else { return }
        do { try await ResolverSockets.removeTable(in: path) } catch {
            log.debug("cannot remove a container's table", metadata: ["error": "\(error)"])
        }
    }
}
