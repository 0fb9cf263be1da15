import FoundationEssentials
import Store
import Synchronization
import Testing

/// A process that is killed leaves its files as they are at that instruction. So the files are copied before each step of
/// writing, and every copy is opened as the next process would find it.
@Suite(.timeLimit(.minutes(2)))
struct CrashTests {
    @Test("killed at any step, a store has all that was acknowledged, and of the rest all or nothing")
    func kill() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            let recorder = CrashRecorder(path: path)
            let store = try await EmbeddedStore.open(path: path, create: true, hook: { step in recorder.copy(at: step) })
            var states = [try await store.list(prefix: "")]
            for round in 0..<12 {
                let lease = round % 4 == 1 ? try await store.grantLease(seconds: 60) : nil
                // The grant changes no entry, so it is part of the same expectation.
                try await store.write(
                    StoreTransaction(operations: [
                        .put(key: "counter", value: Array("\(round)".utf8), lease: nil),
                        .put(key: "k\(round)", value: Array(String(repeating: "v", count: round * 700).utf8), lease: lease),
                        .delete(key: "k\(round - 3)"),
                    ]))
                states.append(try await store.list(prefix: ""))
                recorder.acknowledged.withLock { $0 = states.count - 1 }
            }
            await store.close()

            let crashes = recorder.crashes.withLock { $0 }
            var applied = 0
            var dropped = 0
            for crash in crashes {
                let found = try await EmbeddedStore.open(path: crash.path, create: false)
                let snapshot = try await found.list(prefix: "")
                let allowed = states[crash.acknowledged...min(crash.acknowledged + 1, states.count - 1)]
                let match = allowed.firstIndex { $0.revision == snapshot.revision && $0.entries == snapshot.entries }
                #expect(match != nil, "killed at \(crash.step) after \(crash.acknowledged)")
                if match == crash.acknowledged { dropped += 1 } else { applied += 1 }
                // A later process can go on writing.
                #expect(try await found.write(.put("later")) == Revision(snapshot.revision.number + 1))
                await found.close()
            }
            #expect(crashes.count > 60 && applied >= 12 && dropped > 40, "\(crashes.count) \(applied) \(dropped)")
        }
    }

    @Test("killed while its first file is made, a store is made by the next start")
    func killedAtCreation() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            #expect(FileManager.default.createFile(atPath: path, contents: Data()))
            let store = try await EmbeddedStore.open(path: path, create: true)
            try await store.write(.put("a"))
            await store.close()
        }
    }
}

private final class CrashRecorder: Sendable {
    struct Crash {
        var path: String
        var step: SQLiteJournal.Step
        var acknowledged: Int
    }

    let acknowledged = Mutex(0)
    let crashes = Mutex<[Crash]>([])
    private let path: String

    init(path: String) { self.path = path }

    /// Copies the database and its log; in this locking mode there are no other files.
    func copy(at step: SQLiteJournal.Step) {
        crashes.withLock { crashes in
            let copy = "\(path).\(crashes.count)"
            for suffix in ["", "-wal"] where FileManager.default.fileExists(atPath: path + suffix) {
                do {
                    try FileManager.default.copyItem(atPath: path + suffix, toPath: copy + suffix)
                } catch {
                    Issue.record(error)
                }
            }
            crashes.append(Crash(path: copy, step: step, acknowledged: acknowledged.withLock { $0 }))
        }
    }
}
