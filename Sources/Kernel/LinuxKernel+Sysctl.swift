/// Sysctls are files below /proc/sys, which shows each thread its own network namespace: they are read and written by a
/// thread that enters it, does this and ends.
import Fabric
import Glibc

extension LinuxKernel {
    /// - Parameters:
    ///   - links: whose sysctls to read; those of links that are gone are forgotten.
    ///   - all: the namespace's own too, and nothing is kept of what was read before.
    func readSysctls(of links: Set<String>, _ namespace: Namespace, all: Bool) throws(KernelError) {
        let paths = (all ? Sysctl.namespace : []) + links.flatMap(Sysctl.link)
        let values = try Thread.run(in: namespace.descriptor, "read sysctls of \(namespace.id)") {
            var values: [String: String] = [:]
            for path in paths { values[path] = SysctlFile.read(path) ?? SysctlFile.absent[path] }
            return values
        }
        let others = all ? [:] : namespace.sysctls.filter { SysctlFile.link($0.key).map { !links.contains($0) } ?? true }
        namespace.sysctls = others.merging(values) { $1 }
        if all { namespace.sysctlsAreRead = true }
    }

    /// - Returns: for each what went wrong, if anything.
    func writeSysctls(_ settings: [(path: String, value: String)], _ namespace: Namespace) -> [KernelError?] {
        do throws(KernelError) {
            let errors = try Thread.run(in: namespace.descriptor, "write sysctls of \(namespace.id)") {
                settings.map { setting -> KernelError? in
                    do throws(KernelError) {
                        if setting == RouterAdvertisements.forwarding { RouterAdvertisements.keep() }
                        try SysctlFile.write(setting.path, setting.value)
                        return nil
                    } catch {
                        return error
                    }
                }
            }
            for (setting, error) in zip(settings, errors) where error == nil {
                namespace.sysctls[setting.path] = setting.value
            }
            return errors
        } catch {
            return settings.map { _ in error }
        }
    }
}

/// A host that forwards IPv6 takes itself for a router and ignores other routers' advertisements, and with them loses its default
/// route, unless `accept_ra` of the interface is 2 (Documentation/networking/ip-sysctl.rst).
private enum RouterAdvertisements {
    static let forwarding = (path: "net/ipv6/conf/all/forwarding", value: "1")

    /// Interfaces that heed advertisements go on to do so; one that must not has 0. An interface that goes away meanwhile needs nothing.
    static func keep() {
        for link in ProcFile.names("/proc/sys/net/ipv6/conf") where link != "all" && link != "default" && !link.hasPrefix(Desired.hostPrefix) {
            let path = "net/ipv6/conf/\(link)/accept_ra"
            if SysctlFile.read(path) == "1" { try? SysctlFile.write(path, "2") }
        }
    }
}

enum SysctlFile {
    /// What it comes to where the kernel has no such file.
    static let absent = Dictionary(uniqueKeysWithValues: Sysctl.bridgeHooks.map { ($0, "0") })

    /// Without its final line feed; nil when it is not there.
    static func read(_ path: String) -> String? {
        let file = open("/proc/sys/" + path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = Glibc.read(file, &bytes, bytes.count)
        guard count > 0 else { return nil }
        return String(decoding: bytes[..<count].prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    static func write(_ path: String, _ value: String) throws(KernelError) {
        let operation = "write \(value) to the sysctl \(path)"
        guard path.hasPrefix("net/"), !path.contains("..") else {
            throw KernelError(.invalid, operation, cause: "only paths below net/ belong to a namespace")
        }
        let file = open("/proc/sys/" + path, O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { throw .last(operation) }
        defer { close(file) }
        let bytes = Array(value.utf8)
        guard Glibc.write(file, bytes, bytes.count) == bytes.count else { throw .last(operation) }
    }

    /// The link in "net/ipv4/conf/LINK/…", unless it is "all" or "default".
    static func link(_ path: String) -> String? {
        let parts = path.split(separator: "/")
        guard parts.count > 3, parts[2] == "conf", parts[3] != "all", parts[3] != "default" else { return nil }
        return String(parts[3])
    }
}
