// swift-tools-version: 6.2
import PackageDescription

// Set to anything, it measures zlib in the place of libdeflate.
let usesZlib = Context.environment["BUILD_CACHE_BENCHMARK_ZLIB"] != nil

let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

// A package of its own, so that nobody who embeds the library builds it. `Documentation/Performance.md` says what it measures.
let package = Package(
    name: "Benchmarks",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(name: "swift-build-cache", path: "..", traits: usesZlib ? [] : [.defaults]),
        .package(url: "https://github.com/apple/swift-nio", from: "2.81.0"),
    ],
    targets: [
        .executableTarget(
            name: "graph-bench", dependencies: [.product(name: "BuildCache", package: "swift-build-cache")],
            swiftSettings: settings),
        .executableTarget(
            name: "session-bench", dependencies: [.product(name: "BuildCache", package: "swift-build-cache")],
            swiftSettings: settings),
        .executableTarget(
            name: "export-bench",
            dependencies: [
                "BenchSupport",
                .product(name: "BuildCache", package: "swift-build-cache"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "layer-bench", dependencies: [.product(name: "BuildCache", package: "swift-build-cache")],
            swiftSettings: settings),
        .executableTarget(
            name: "compression-bench",
            dependencies: [
                "BenchSupport",
                .product(name: "BuildCache", package: "swift-build-cache"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: settings + (usesZlib ? [] : [.define("Libdeflate")])),
        .target(
            name: "BenchSupport",
            dependencies: [
                .product(name: "BuildCache", package: "swift-build-cache"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "s3-bench",
            dependencies: ["BenchSupport", .product(name: "BuildCache", package: "swift-build-cache")],
            swiftSettings: settings),
        .executableTarget(
            name: "azure-bench",
            dependencies: [
                "BenchSupport",
                .product(name: "BuildCache", package: "swift-build-cache"),
                .product(name: "_TestServers", package: "swift-build-cache"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "registry-bench",
            dependencies: [
                .product(name: "BuildCache", package: "swift-build-cache"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "scan-bench", dependencies: [.product(name: "BuildCacheKeys", package: "swift-build-cache")],
            swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
