// swift-tools-version: 6.2
import PackageDescription

// Tests that need servers, other tools or Docker, in a package of their own, so that the root builds and tests without them. `make test` runs both.

let settings: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ] + (Context.environment["BUILD_CACHE_WARNINGS_ARE_ERRORS"] == nil ? [] : [.treatAllWarnings(as: .error)])

func own(_ name: String) -> Target.Dependency { .product(name: name, package: "swift-build-cache") }
func nio(_ name: String) -> Target.Dependency { .product(name: name, package: "swift-nio") }

// The whole library, its checks of backends, and what tests start and ask. These tests look at what modules keep to themselves, so that they are
// built for testing only: `@testable`.
let library = [
    own("BuildCache"), own("BuildCacheTesting"), own("_TestTools"), own("_TestServers"), nio("NIOCore"),
    nio("NIOHTTP1"),
]

func tests(_ name: String, _ more: [Target.Dependency] = []) -> Target {
    .testTarget(
        name: name, dependencies: library + more, swiftSettings: settings)
}

let package = Package(
    name: "swift-build-cache-integration-tests",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(name: "swift-build-cache", path: ".."),
        .package(url: "https://github.com/apple/swift-nio", from: "2.81.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.29.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.29.0"),
    ],
    targets: [
        // A process that tests of parallel jobs start.
        .executableTarget(name: "MergeProbe", dependencies: library, swiftSettings: settings),
        // A process in which servers misbehave, and caches are asked of them.
        .executableTarget(name: "HostileProbe", dependencies: library, swiftSettings: settings),
        tests(
            "HTTPTests",
            [
                nio("NIOPosix"), .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
            ]),
        tests("RegistryTests"),
        tests("S3Tests"),
        tests("AzureTests"),
        tests("GitHubActionsTests"),
        tests("ClientTests"),
        tests("HostileServerTests", ["HostileProbe"]),
        tests("InteropTests", ["MergeProbe"]),
    ],
    swiftLanguageModes: [.v6]
)
