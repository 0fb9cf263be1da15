/// "Did you mean": the nearest of the known names.
package enum ConfigurationHint {
    /// The known name that fewest insertions, deletions, replacements and swaps of neighbours make of `text`; nil when even that
    /// one is far: more than two changes, or more than a third of its length.
    package static func nearest(to text: String, among names: [String]) -> String? {
        let given = Array(text.utf8.prefix(65)).map(folded)
        guard given.count <= 64 else { return nil }
        let best = names.map { (name: $0, distance: distance(given, Array($0.utf8).map(folded))) }
            .min { ($0.distance, $0.name) < ($1.distance, $1.name) }
        guard let best, best.distance <= max(2, best.name.utf8.count / 3), best.distance < best.name.utf8.count else { return nil }
        return best.name
    }

    /// "; did you mean 'x'?", or nothing.
    package static func suffix(_ text: String, among names: [String]) -> String {
        nearest(to: text, among: names).map { "; did you mean '\($0)'?" } ?? ""
    }

    /// Case and the kind of dash do not count.
    private static func folded(_ byte: UInt8) -> UInt8 {
        switch byte {
        case 0x41...0x5a: byte + 0x20
        case UInt8(ascii: "_"): UInt8(ascii: "-")
        default: byte
        }
    }

    /// Optimal string alignment distance, row by row.
    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var beforeLast: [Int] = []
        var last = Array(0...right.count)
        for i in left.indices {
            var row = [i + 1]
            for j in right.indices {
                let replaced = last[j] + (left[i] == right[j] ? 0 : 1)
                var best = min(replaced, last[j + 1] + 1, row[j] + 1)
                if i > 0, j > 0, left[i] == right[j - 1], left[i - 1] == right[j] { best = min(best, beforeLast[j - 1] + 1) }
                row.append(best)
            }
            (beforeLast, last) = (last, row)
        }
        return last[right.count]
    }
}
