// swift-tools-version: 6.2
import PackageDescription

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
        .package(name: "swift-build-cache", path: ".."),
        .package(url: "https://github.com/apple/swift-nio", from: "2.81.0"),
    ],
    targets: [
        .executableTarget(
            name: "graph-bench", dependencies: [.product(name: "BuildCache", package: "swift-build-cache")],
            swiftSettings: settings),
        .executableTarget(
            name: "export-bench",
            dependencies: [
                .product(name: "BuildCache", package: "swift-build-cache"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "s3-bench",
            dependencies: [
                .product(name: "BuildCache", package: "swift-build-cache"),
                .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
