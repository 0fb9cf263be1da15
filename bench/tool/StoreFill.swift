/// A cluster of thousands of nodes without their machines: the objects that their agents would have written (docs/store.md), put
/// into the store's file at one revision while no agent holds it.
import CSQLite

func fill(store path: String, network: String, prefix: String, count: Int) {
    var handle: OpaquePointer?
    guard sqlite3_open_v2(path, &handle, SQLITE_OPEN_READWRITE, nil) == SQLITE_OK, let store = handle else {
        die("cannot open \(path)")
    }
    func run(_ sql: String) {
        guard sqlite3_exec(store, sql, nil, nil, nil) == SQLITE_OK else { die("\(path): \(String(cString: sqlite3_errmsg(store)))") }
    }
    func put(_ key: String, _ value: String) {
        run("INSERT OR REPLACE INTO entries SELECT '\(key)', CAST('\(value)' AS BLOB), value, value, NULL FROM meta WHERE name = 'revision'")
    }
    // 10.32.0.0/13 gives blocks 10.32.0.0-26, 10.32.0.64-26 … The first 64 are left to real nodes.
    let bytes = prefix.split(whereSeparator: { $0 == "." || $0 == "/" }).compactMap { UInt32($0) }
    guard bytes.count == 5, bytes[4] <= 13 else { die("the prefix must be like 10.32.0.0/13") }
    let first = bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3]
    func dotted(_ address: UInt32) -> String {
        stride(from: 24, through: 0, by: -8).map { String(address >> UInt32($0) & 255) }.joined(separator: ".")
    }
    run("BEGIN")
    run("UPDATE meta SET value = value + 1 WHERE name = 'revision'")
    for number in 0..<UInt32(count) {
        let digits = String(number, radix: 16)
        let id = "be9c0000-0000-4000-8000-" + String(repeating: "0", count: 12 - digits.count) + digits
        let underlay = dotted(0xc612_0000 + number)  // 198.18.0.0/15 is for benchmarks (RFC 2544)
        put(
            "nodes/\(id)",
            #"{"agent":"\#(underlay):7940","id":"\#(id)","instance":"1","mtu":1500,"name":"n\#(number)","underlay":"\#(underlay)","v":1,"version":"0.1.0"}"#)
        put("blocks/\(network)/\(dotted(first + (number + 64) << 6))-26", #"{"fence":1,"node":"\#(id)","v":1}"#)
    }
    run("COMMIT")
    sqlite3_close(store)
}
