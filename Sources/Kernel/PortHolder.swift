/// Who has a port: for the text of an error, so it takes its time and never fails.
import Glibc

package enum PortHolder {
    /// "dnsmasq (process 812)", or words for a holder that is no process of this host's; of the calling thread's network namespace.
    static func udp(_ port: UInt16) -> String { holder("udp", port) }
    package static func tcp(_ port: UInt16) -> String { holder("tcp", port) }

    private static func holder(_ transport: String, _ port: UInt16) -> String {
        let inodes = Set(["", "6"].flatMap { sockets("/proc/thread-self/net/\(transport)\($0)", port: port) })
        guard !inodes.isEmpty else { return "somebody unknown" }
        return process(holding: Set(inodes.map { "socket:[\($0)]" })) ?? "the kernel itself (a tunnel device) or a process out of sight"
    }

    /// The inodes in a table of proc(5): the second word of a line is ADDRESS:PORT in hexadecimal, the tenth the inode.
    private static func sockets(_ table: String, port: UInt16) -> [String] {
        ProcFile.lines(table).compactMap { line in
            let words = line.split(separator: " ")
            guard words.count > 9, let end = words[1].split(separator: ":").last, UInt16(end, radix: 16) == port else { return nil }
            return String(words[9])
        }
    }

    private static func process(holding links: Set<String>) -> String? {
        for process in ProcFile.names("/proc") where Int32(process) != nil {
            let descriptors = "/proc/\(process)/fd"
            guard ProcFile.names(descriptors).contains(where: { links.contains(target("\(descriptors)/\($0)")) }) else { continue }
            return "\(ProcFile.lines("/proc/\(process)/comm").first ?? "a program") (process \(process))"
        }
        return nil
    }

    private static func target(_ link: String) -> String {
        var room = [CChar](repeating: 0, count: 256)
        let count = readlink(link, &room, room.count)
        return String(decoding: room.prefix(max(count, 0)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}
