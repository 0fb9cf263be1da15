// swift-tools-version: 6.2
// Tulle: containers on many Docker hosts share one network.
// The layers and what each target may know are in docs/DESIGN.md, section 5.
import PackageDescription

let swift: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let log = Target.Dependency.product(name: "Logging", package: "swift-log")
let nio: [Target.Dependency] = [
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "NIOHTTP1", package: "swift-nio"),
]

func target(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: swift)
}
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name + "Tests", dependencies: dependencies, swiftSettings: swift)
}

let package = Package(
    name: "tulle",
    products: [.executable(name: "tulle", targets: ["tulle"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
    ],
    targets: [
        // System libraries and constants (C).
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(name: "CYaml", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
        .systemLibrary(name: "CCrypto", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .target(name: "CLinux", cSettings: [.define("_GNU_SOURCE")]),
        // Values and codecs.
        target("Addressing", []),
        target("Netlink", ["CLinux", "Addressing"]),
        target("DNS", ["Addressing"]),
        // Core.
        target("Fabric", ["Addressing", "DNS"]),
        // Edges.
        target("Kernel", ["CLinux", "Addressing", "Netlink", "Fabric"]),
        target("TLS", ["CCrypto", .product(name: "NIOCore", package: "swift-nio")]),
        target("HTTP", nio + ["TLS"]),
        target("Store", ["CSQLite", "CCrypto", "HTTP", "TLS", "DNS", log]),
        target("Docker", ["HTTP", "Addressing", log]),
        target("Telemetry", ["CLinux", log]),
        target("LocalAPI", ["HTTP"]),
        target("NameService", ["CLinux", "DNS", "Fabric", "Kernel", log]),
        // Wiring and program.
        target("Agent", [
            "Addressing", "DNS", "Fabric", "Kernel", "NameService", "Netlink", "TLS", "HTTP", "Store", "Docker", "Telemetry", "LocalAPI", "CYaml", "CLinux",
            log,
        ]),
        .executableTarget(
            name: "tulle",
            dependencies: [
                "Agent", "LocalAPI", "HTTP",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: swift),
        // Tests.
        .target(name: "TestKit", dependencies: ["Fabric", "Addressing", "HTTP"], path: "Tests/TestKit", swiftSettings: swift),
        .target(name: "CSimulation", path: "Tests/CSimulation"),
        // A whole cluster in one process, its time and its accidents made of a number (docs/DESIGN.md, section 7).
        .executableTarget(
            name: "simulation",
            dependencies: ["CSimulation", "TestKit", "Agent", "Docker", "Store", "Fabric", "Addressing", log],
            path: "Tests/Simulation", swiftSettings: swift),
        tests("Addressing", ["Addressing"]),
        tests("Netlink", ["Netlink", "Addressing", "CLinux"]),
        tests("DNS", ["DNS", "Addressing", "TestKit"]),
        tests("Fabric", ["Fabric", "Addressing", "DNS", "TestKit"]),
        tests("NameService", ["NameService", "DNS", "Fabric", "Addressing", "Kernel", "TestKit"]),
        tests("Kernel", ["Kernel", "Fabric", "Netlink", "Addressing", "CLinux", "TestKit"]),
        tests(
            "TLS",
            [
                "TLS", "TestKit", "CCrypto", .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
            ]),
        tests("HTTP", ["HTTP", "TLS", "TestKit"] + nio),
        tests("Store", ["Store", "HTTP", "TLS", "TestKit"]),
        tests("Docker", ["Docker", "HTTP"]),
        tests("Telemetry", ["Telemetry", log]),
        tests("Agent", ["Agent", "TestKit", "Fabric", "Addressing", "DNS", "NameService", "Store", "HTTP", "TLS", "Docker", "LocalAPI"]),
        tests("tulle", ["tulle", "Agent", "LocalAPI", "HTTP"]),
        tests("Simulation", ["simulation", "TestKit"]),
        tests("Lab", ["LocalAPI", "HTTP", "Addressing", "DNS", "TestKit", "Agent", "Fabric", "Store", "TLS", "CSQLite"]),
    ]
)
