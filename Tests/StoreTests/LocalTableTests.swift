import FoundationEssentials
import Store
import Testing

@Suite(.timeLimit(.minutes(1)))
struct LocalTableTests {
    @Test("what was put is there after the table was opened again")
    func reopen() async throws {
        try await withDirectory { directory in
            let path = directory + "/state.db"
            do {
                let table = try LocalTable(path: path)
                try table.put("endpoint/2", Array("two".utf8))
                try table.put("endpoint/1", Array("one".utf8))
                try table.put("endpoint/1", Array("uno".utf8))
                try table.put("network/1", [])
                try table.put("gone", [1])
                try table.delete("gone")
                try table.delete("never there")
            }
            let table = try LocalTable(path: path, create: false)
            #expect(try table.all("endpoint/").map(\.key) == ["endpoint/1", "endpoint/2"])
            #expect(try table.value("endpoint/1") == Array("uno".utf8))
            #expect(try table.value("network/1") == [])
            #expect(try table.value("gone") == nil)
            #expect(try table.all().count == 3)
        }
    }

    @Test("a table that was not closed keeps what was put: the process may die at any time")
    func killed() async throws {
        try await withDirectory { directory in
            let path = directory + "/state.db"
            let table = try LocalTable(path: path)
            for number in 0..<100 { try table.put("k\(number)", [UInt8(number)]) }
            for suffix in ["", "-wal"] {
                try FileManager.default.copyItem(atPath: path + suffix, toPath: directory + "/copy" + suffix)
            }
            #expect(try LocalTable(path: directory + "/copy", create: false).all("k").count == 100)
            try table.put("later", [])
        }
    }

    @Test("a list of changes is applied in order")
    func apply() async throws {
        try await withDirectory { directory in
            let table = try LocalTable(path: directory + "/state.db")
            try table.put("old", [1])
            try table.apply([
                .put(key: "a", value: [1]), .delete(key: "old"), .put(key: "b", value: [2]), .put(key: "a", value: [3]),
            ])
            #expect(try table.all().map(\.key) == ["a", "b"])
            #expect(try table.value("a") == [3])
            try table.apply([])
        }
    }

    @Test("keys of a prefix are found whatever characters they have")
    func prefixes() async throws {
        try await withDirectory { directory in
            let table = try LocalTable(path: directory + "/state.db")
            for key in ["a%b/1", "a_b/1", "aXb/1", "a%b", "A%b/1"] { try table.put(key, []) }
            #expect(try table.all("a%b").map(\.key) == ["a%b", "a%b/1"])
            #expect(try table.all("a_").map(\.key) == ["a_b/1"])
        }
    }

    @Test("many threads may use it at once")
    func threads() async throws {
        try await withDirectory { directory in
            let table = try LocalTable(path: directory + "/state.db")
            try await withThrowingTaskGroup(of: Void.self) { group in
                for task in 0..<8 {
                    group.addTask { for number in 0..<50 { try table.put("\(task)/\(number)", [1]) } }
                }
                try await group.waitForAll()
            }
            #expect(try table.all().count == 400)
        }
    }

    @Test("a table that is missing or held by another says so")
    func errors() async throws {
        try await withDirectory { directory in
            let path = directory + "/state.db"
            await expectError(.missing) { _ = try LocalTable(path: path, create: false) }
            let table = try LocalTable(path: path)
            await expectError(.locked) { _ = try LocalTable(path: path) }
            try table.put("a", [])
        }
    }
}
