/// The node's right to allocate from its own blocks: until a point of CLOCK_BOOTTIME, counted from before the renewal was
/// sent, less a margin. Its end stops allocation and frees nothing. It is remembered, so that an agent that restarts
/// while the store is away still knows how long it may go on.
package import Store
import Fabric
import Glibc

package struct AllocationLease: Sendable {
    private struct Saved: Codable {
        var boot: String
        var validUntil: Double
    }
    private let table: LocalTable
    private let bootID: @Sendable () -> String
    package let term: Int
    /// Seconds of CLOCK_BOOTTIME.
    package private(set) var validUntil: Double = 0

    /// - Parameter bootID: a new one at each boot of the machine: CLOCK_BOOTTIME of another boot says nothing.
    package init(table: LocalTable, term: Int, bootID: @escaping @Sendable () -> String) throws {
        self.table = table
        self.bootID = bootID
        self.term = term
        if let value = try table.value("lease"), let saved = try? StoredJSON.decode(Saved.self, value),
            saved.boot == bootID()
        {
            validUntil = saved.validUntil
        }
    }

    /// - Parameter sent: CLOCK_BOOTTIME before the renewal went out.
    package mutating func renewed(sent: Double) throws {
        validUntil = sent + Double(term) * 0.9
        try table.put("lease", StoredJSON.encode(Saved(boot: bootID(), validUntil: validUntil)))
    }

    package func isValid(at now: Double) -> Bool { now < validUntil }
}

/// The text of a small file without trailing white space.
package func readSmallFile(_ path: String) throws -> String {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else {
        throw AgentError(
            .setup, "read \(path)", cause: String(cString: strerror(errno)), remedy: "check the file and its permissions")
    }
    defer { close(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while bytes.count < 1 << 20 {
        let count = read(file, &buffer, buffer.count)
        if count <= 0 { break }
        bytes += buffer[..<count]
    }
    while let last = bytes.last, last == 0x0a || last == 0x20 || last == 0x0d { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
}
