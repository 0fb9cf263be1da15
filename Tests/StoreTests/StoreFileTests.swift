import FoundationEssentials
import Glibc
@testable import Store
import Testing

/// Files that are not what they should be: each gets an error that says so, and stays as it is.
@Suite(.timeLimit(.minutes(2)))
struct StoreFileTests {
    @Test("without permission to create, a missing or empty file is an error and is not filled")
    func missing() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            await expectError(.missing) { _ = try await EmbeddedStore.open(path: path, create: false) }
            #expect(!FileManager.default.fileExists(atPath: path))
            #expect(FileManager.default.createFile(atPath: path, contents: Data()))
            await expectError(.missing) { _ = try await EmbeddedStore.open(path: path, create: false) }
            let untouched = try contents(path)
            #expect(untouched.isEmpty)
            await expectError(.missing) {
                _ = try await EmbeddedStore.open(path: directory + "/no/such/store.db", create: true)
            }
        }
    }

    @Test("a file that is gone while its log remains is not made anew")
    func logWithoutFile() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            #expect(FileManager.default.createFile(atPath: path + "-wal", contents: Data([1, 2, 3])))
            await expectError(.corrupt) { _ = try await EmbeddedStore.open(path: path, create: true) }
            #expect(!FileManager.default.fileExists(atPath: path))
        }
    }

    @Test("a new file can be read by its owner only")
    func mode() async throws {
        try await withDirectory { directory in
            try await makeStore(directory + "/store.db")
            var status = stat()
            #expect(stat(directory + "/store.db", &status) == 0 && status.st_mode & 0o777 == 0o600)
        }
    }

    @Test("another program's file, a text and a directory are refused and left alone")
    func foreign() async throws {
        try await withDirectory { directory in
            let text = directory + "/text"
            #expect(FileManager.default.createFile(atPath: text, contents: Data(repeating: 0x61, count: 5_000)))
            let short = directory + "/short"
            #expect(FileManager.default.createFile(atPath: short, contents: Data("hello".utf8)))
            let table = directory + "/table"
            try LocalTable(path: table).put("a", [1])
            for path in [text, short, table] {
                let before = try contents(path)
                await expectError(.foreign) { _ = try await EmbeddedStore.open(path: path, create: true) }
                #expect(try contents(path) == before)
            }
            await expectError(.foreign) { _ = try await EmbeddedStore.open(path: directory, create: true) }
            let store = directory + "/store.db"
            try await makeStore(store)
            await expectError(.foreign) { _ = try LocalTable(path: store) }
        }
    }

    @Test("a newer format is refused with both numbers, and left alone together with its log")
    func newerFormat() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            try await makeStore(path)
            let copy = directory + "/copy.db"
            do {
                let database = try Database(existing: path)
                try database.setMeta("format", .integer(7))
                // As a killed process leaves it: what was written last is in the log only.
                for suffix in ["", "-wal"] {
                    try FileManager.default.copyItem(atPath: path + suffix, toPath: copy + suffix)
                }
            }
            let before = try [contents(copy), contents(copy + "-wal")]
            let error = await expectError(.newerFormat) { _ = try await EmbeddedStore.open(path: copy, create: true) }
            #expect(error?.cause.contains("7") == true)
            let after = try [contents(copy), contents(copy + "-wal")]
            #expect(after == before)
        }
    }

    @Test("an index that does not fit its table is a damaged file, though every entry can be read")
    func damagedIndex() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            try await makeStore(path)
            let root = try Database(existing: path)
                .value("SELECT rootpage FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'entries'")
            let page = try #require(root.flatMap { Int($0) })
            var bytes = try contents(path)
            // The cells of an index page fill it from its end; this is a digit of a key.
            let digit = try #require(bytes[..<(page * 4_096)].lastIndex { (0x30...0x39).contains($0) })
            bytes[digit] ^= 1
            try Data(bytes).write(to: URL(filePath: path))
            await expectError(.corrupt) { _ = try await EmbeddedStore.open(path: path, create: true) }
        }
    }

    @Test("contents that contradict each other are a damaged file", arguments: [
        "UPDATE meta SET value = 0 WHERE name = 'revision'", "DELETE FROM meta WHERE name = 'cluster'",
        "UPDATE entries SET lease = 77", "UPDATE entries SET created = modified + 1", "DELETE FROM meta", "DROP TABLE entries",
        "DROP TABLE meta",
    ])
    func contradiction(_ change: String) async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            try await makeStore(path)
            try Database(existing: path).execute(change)
            do {
                let store = try await EmbeddedStore.open(path: path, create: true)
                await store.close()
                Issue.record("it was opened")
            } catch let error as StoreError {
                #expect(error.code == .corrupt || change.hasPrefix("DROP"), "\(error)")
            }
        }
    }

    @Test("a truncated file is refused and left alone", arguments: [100, 600, 4_096, 8_192, 20_000])
    func truncated(_ length: Int) async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            try await makeStore(path)
            let whole = try contents(path)
            #expect(whole.count > 20_000)
            #expect(truncate(path, length) == 0)
            do {
                let store = try await EmbeddedStore.open(path: path, create: true)
                await store.close()
                Issue.record("a truncated file was opened")
            } catch let error as StoreError {
                #expect([.corrupt, .foreign].contains(error.code), "\(error)")
            }
            #expect(try contents(path) == Array(whole.prefix(length)))
        }
    }

    @Test("a file with overwritten parts is refused, or read in full; it never traps and is not written to", arguments: 0..<40)
    func overwritten(_ seed: Int) async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            try await makeStore(path)
            var random = SeededRandom(UInt64(seed))
            var bytes = try contents(path)
            let start = Int.random(in: 0..<bytes.count - 64, using: &random)
            for index in start..<start + 64 { bytes[index] = UInt8.random(in: .min ... .max, using: &random) }
            try Data(bytes).write(to: URL(filePath: path))
            do {
                let store = try await EmbeddedStore.open(path: path, create: false)
                // Damage within a value shows nowhere but there.
                #expect(try await store.list(prefix: "").entries.count == 50)
                await store.close()
            } catch let error as StoreError {
                #expect([.corrupt, .foreign, .newerFormat].contains(error.code), "\(error)")
                #expect(try contents(path) == bytes)
            }
        }
    }

    @Test("a second opener in the same process is refused")
    func lockedHere() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            let store = try await EmbeddedStore.open(path: path, create: true)
            await expectError(.locked) { _ = try await EmbeddedStore.open(path: path, create: true) }
            try await store.write(.put("a"))
            await store.close()
            let next = try await EmbeddedStore.open(path: path, create: false)
            await next.close()
        }
    }

    @Test("a file that another process holds is refused", .enabled(if: access(OtherProcess.perl, X_OK) == 0, "perl is missing"))
    func lockedElsewhere() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            try await makeStore(path)
            let other = try OtherProcess(locking: path)
            await expectError(.locked) { _ = try await EmbeddedStore.open(path: path, create: false) }
            other.end()
            let store = try await EmbeddedStore.open(path: path, create: false)
            await store.close()
        }
    }

    @Test("a file that may not be written is refused", .enabled(if: geteuid() != 0, "root may write everything"))
    func permission() async throws {
        try await withDirectory { directory in
            let path = directory + "/store.db"
            try await makeStore(path)
            #expect(chmod(path, 0o400) == 0)
            await expectError(.permission) { _ = try await EmbeddedStore.open(path: path, create: false) }
            #expect(chmod(path, 0o600) == 0 && chmod(directory, 0o500) == 0)
            await expectError(.permission) { _ = try await EmbeddedStore.open(path: path, create: false) }
            await expectError(.permission) { _ = try await EmbeddedStore.open(path: directory + "/new", create: true) }
            #expect(chmod(directory, 0o700) == 0)
        }
    }
}

/// A closed store of some pages.
private func makeStore(_ path: String) async throws {
    let store = try await EmbeddedStore.open(path: path, create: true)
    for number in 0..<50 { try await store.write(.put("k\(number)", String(repeating: "v", count: 600))) }
    await store.close()
}

private func contents(_ path: String) throws -> [UInt8] { Array(try Data(contentsOf: URL(filePath: path))) }

/// A process that holds SQLite's lock bytes (at 0x40000000, sqlite.org/src file os.h) on a file until it is ended.
private struct OtherProcess {
    static let perl = "/usr/bin/perl"
    private static let script = """
        use Fcntl; open(F, "+<", $ARGV[0]) or die; \
        my $lock = pack("s s x4 q q l x4", F_WRLCK, 0, 0x40000000, 512, 0); fcntl(F, F_SETLK, $lock) or die; \
        syswrite(STDOUT, "x"); sysread(STDIN, my $end, 1);
        """
    private let input: Int32
    private let process: pid_t

    init(locking path: String) throws {
        var toChild: [Int32] = [0, 0]
        var fromChild: [Int32] = [0, 0]
        try #require(pipe(&toChild) == 0 && pipe(&fromChild) == 0)
        for descriptor in [toChild[1], fromChild[0]] { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, toChild[0], 0)
        posix_spawn_file_actions_adddup2(&actions, fromChild[1], 1)
        var arguments = [Self.perl, "-e", Self.script, path].map { $0.withCString { strdup($0) } } + [nil]
        var child = pid_t()
        let result = posix_spawn(&child, Self.perl, &actions, nil, &arguments, environ)
        for argument in arguments { free(argument) }
        posix_spawn_file_actions_destroy(&actions)
        close(toChild[0])
        close(fromChild[1])
        try #require(result == 0)
        process = child
        input = toChild[1]
        var byte: UInt8 = 0
        let count = read(fromChild[0], &byte, 1)
        close(fromChild[0])
        try #require(count == 1, "the other process could not lock the file")
    }

    func end() {
        close(input)
        waitpid(process, nil, 0)
    }
}
