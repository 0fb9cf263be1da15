/// From a setting's text to its value; nil when it is not allowed. Every text is taken, however long or odd.
import Addressing
import HTTP
import Store
import Logging
import Telemetry

enum ConfigurationValue {
    static func nodeName(_ text: String) -> String? {
        guard (1...64).contains(text.utf8.count), let first = text.utf8.first, first.isLetterOrDigit,
            text.utf8.allSatisfy({ $0.isLetterOrDigit || ".-_".utf8.contains($0) })
        else { return nil }
        return text
    }

    /// Without trailing slashes; "/" itself is no place for our files.
    static func path(_ text: String) -> String? {
        var path = text[...]
        while path.hasSuffix("/") { path.removeLast() }
        guard path.hasPrefix("/"), path.utf8.count <= 4000, text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else { return nil }
        return String(path)
    }

    /// A unix socket's path is at most 107 bytes, and "/tulle.sock" follows.
    static func socketDirectory(_ text: String) -> String? {
        path(text).flatMap { $0.utf8.count <= 96 ? $0 : nil }
    }

    enum DockerSocket {
        case path(String), none
        var path: String? { if case .path(let path) = self { path } else { nil } }
    }
    static func dockerSocket(_ text: String) -> DockerSocket? {
        if text == "none" { return DockerSocket.none }
        guard let path = path(text), path.utf8.count <= 107 else { return nil }
        return .path(path)
    }

    static func underlay(_ text: String) -> UnderlaySelector? {
        if let address = IPAddress(text) { return .address(address) }
        if let prefix = InterfaceAddress(text)?.prefix { return .prefix(prefix) }
        // IFNAMSIZ is 16 with the final NUL; a name of digits and dots is a mistyped address.
        guard (1...15).contains(text.utf8.count), text != ".", text != "..",
            text.utf8.allSatisfy({ (0x21...0x7e).contains($0) && !"/:".utf8.contains($0) }),
            text.utf8.contains(where: { !$0.isDigit && $0 != UInt8(ascii: ".") })
        else { return nil }
        return .interface(text)
    }

    static func listen(_ text: String) -> ListenAddress? {
        guard let (host, port) = split(text), let port, let address = IPAddress(host) else { return nil }
        return ListenAddress(address: address, port: port)
    }

    static func join(_ text: String) -> HTTPAddress? {
        guard let (host, port) = split(text), IPAddress(host) != nil || isDomainName(host) else { return nil }
        return .tcp(host: String(host), port: Int(port ?? Configuration.defaultPort))
    }

    /// "host", "host:1", "[v6]:1", "[v6]" or a bare "v6".
    private static func split(_ text: String) -> (host: Substring, port: UInt16?)? {
        guard text.utf8.count <= 300 else { return nil }
        if text.hasPrefix("[") {
            guard let end = text.firstIndex(of: "]") else { return nil }
            let host = text[text.index(after: text.startIndex)..<end], rest = text[text.index(after: end)...]
            guard host.contains(":") else { return nil }
            if rest.isEmpty { return (host, nil) }
            guard rest.hasPrefix(":"), let port = port(rest.dropFirst()) else { return nil }
            return (host, port)
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        if parts.count != 2 { return (text[...], nil) }
        guard let port = port(parts[1]) else { return nil }
        return (parts[0], port)
    }

    private static func isDomainName(_ text: Substring) -> Bool {
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        guard text.utf8.count <= 253, let last = labels.last, !last.utf8.allSatisfy(\.isDigit) else { return false }
        return labels.allSatisfy { label in
            (1...63).contains(label.utf8.count) && !label.hasPrefix("-") && !label.hasSuffix("-")
                && label.utf8.allSatisfy { $0.isLetterOrDigit || "-_".utf8.contains($0) }
        }
    }

    static func token(_ text: String) -> String? {
        (16...256).contains(text.utf8.count) && text.utf8.allSatisfy { (0x21...0x7e).contains($0) } ? text : nil
    }

    static func store(_ text: String) -> StoreChoice? {
        if text == "embedded" { return .embedded }
        return (try? EtcdLocation(parsing: text)).map { _ in .etcd(text) }
    }

    static func logLevel(_ text: String) -> Logger.Level? { Logger.Level(rawValue: text) }
    static func logFormat(_ text: String) -> LogFormat? { LogFormat(rawValue: text) }

    private static func port(_ text: Substring) -> UInt16? {
        guard !text.isEmpty, text.utf8.allSatisfy(\.isDigit), let port = UInt16(text), port > 0 else { return nil }
        return port
    }

    static func vxlanPort(_ text: String) -> UInt16? {
        port(text[...]).flatMap { $0 == 4789 || $0 == 8472 ? nil : $0 }
    }

    /// The VNIs from the base to 0xffffff are the networks'; at least 65,536 are left.
    static func vniBase(_ text: String) -> UInt32? {
        let isHex = text.hasPrefix("0x") || text.hasPrefix("0X")
        let digits = isHex ? text.dropFirst(2) : text[...]
        guard digits.utf8.allSatisfy(\.isLetterOrDigit), let number = UInt32(digits, radix: isHex ? 16 : 10),
            (1...0xff0000).contains(number)
        else { return nil }
        return number
    }

    /// Numbers with units, the largest unit first, each at most once: "7d", "1h30m", "90s"; at least a second.
    static func duration(_ text: String, upToDays days: Int64) -> Duration? {
        let units: [(name: String, seconds: Int64)] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)]
        var rest = text[...], open = units[...], seconds: Int64 = 0
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            rest = rest.dropFirst(digits.count)
            let unit = rest.prefix { $0.isASCII && $0.isLetter }
            rest = rest.dropFirst(unit.count)
            guard (1...9).contains(digits.utf8.count), let number = Int64(digits),
                let index = open.firstIndex(where: { $0.name == unit })
            else { return nil }
            seconds += number * open[index].seconds
            open = open[(index + 1)...]
        }
        return (1...days * 86_400).contains(seconds) ? .seconds(seconds) : nil
    }
}

extension UInt8 {
    fileprivate var isDigit: Bool { (0x30...0x39).contains(self) }
    fileprivate var isLetterOrDigit: Bool { isDigit || (0x41...0x5a).contains(self) || (0x61...0x7a).contains(self) }
}
