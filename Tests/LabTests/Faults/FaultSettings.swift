/// What `make faults` is told: TULLE_FAULTS=1 for all of it, TULLE_SEED, and of TULLE_FAULT, TULLE_STORE and TULLE_ROUNDS what is set.
import Glibc

enum FaultSettings {
    static let isLong = text("TULLE_FAULTS") == "1"
    /// Printed with each case, so that the case can be repeated.
    static let seed = text("TULLE_SEED").flatMap { UInt64($0) } ?? UInt64.random(in: 1...999_999)
    static let rounds = text("TULLE_ROUNDS").flatMap { Int($0) } ?? (faults == nil ? 2 : 1)
    static let store = text("TULLE_STORE").flatMap { StoreKind(rawValue: $0) }
    /// One, or two at once: A+B.
    static let faults = text("TULLE_FAULT")?.split(separator: "+").map(String.init)

    /// Told at once, also through a pipe.
    static func say(_ line: String) {
        let bytes = Array("\(line)\n".utf8)
        _ = write(1, bytes, bytes.count)
    }

    private static func text(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
}
