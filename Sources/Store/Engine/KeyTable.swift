/// Entries by key, and the keys in order, so that everything below a prefix is found by two binary searches.
///
/// Keys are ASCII, so the order of strings is the order of their bytes. Inserting a key moves 16 bytes for each key
/// behind it: 20 µs at 100,000 keys.
struct KeyTable: Sendable {
    private(set) var keys: [String] = []
    private var entries: [String: StoreEntry] = [:]

    var count: Int { keys.count }

    subscript(key: String) -> StoreEntry? { entries[key] }

    /// Takes entries that are sorted by key, without repetition.
    init(sorted: [StoreEntry] = []) {
        keys = sorted.map(\.key)
        entries.reserveCapacity(sorted.count)
        for entry in sorted { entries[entry.key] = entry }
    }

    mutating func put(_ entry: StoreEntry) {
        if entries.updateValue(entry, forKey: entry.key) == nil { keys.insert(entry.key, at: position(of: entry.key)) }
    }

    mutating func remove(_ key: String) {
        if entries.removeValue(forKey: key) != nil { keys.remove(at: position(of: key)) }
    }

    /// The keys below a prefix, sorted.
    func keys(below prefix: String) -> ArraySlice<String> {
        let start = position(of: prefix)
        var end = keys.count
        var low = start
        while low < end {
            let middle = (low + end) / 2
            if keys[middle].hasPrefix(prefix) { low = middle + 1 } else { end = middle }
        }
        return keys[start..<end]
    }

    /// The entries below a prefix, sorted by key.
    func entries(below prefix: String) -> [StoreEntry] { keys(below: prefix).compactMap { entries[$0] } }

    /// All entries, in no order.
    var unsorted: Dictionary<String, StoreEntry>.Values { entries.values }

    /// The index of the first key that is not before this one.
    private func position(of key: String) -> Int {
        var low = 0
        var high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if keys[middle] < key { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
