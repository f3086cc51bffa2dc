// swift-tools-version: 6.2
import PackageDescription

// CI asks for it; a compiler to come may warn of more, and must not break who only uses the package.
let strictness: [SwiftSetting] =
    Context.environment["BUILD_CACHE_WARNINGS_ARE_ERRORS"] == nil ? [] : [.treatAllWarnings(as: .error)]

/// Settings of every Swift target, `Documentation/Architecture.md` says why.
let settings: [SwiftSetting] =
    [
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ] + strictness

/// A Swift module of this package.
func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioConcurrencyHelpers = Target.Dependency.product(name: "NIOConcurrencyHelpers", package: "swift-nio")
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")
// Subprocess names files by it; macOS has its own.
let systemPackage = Target.Dependency.product(
    name: "SystemPackage", package: "swift-system", condition: .when(platforms: [.linux]))
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let asyncHTTPClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let tracing = Target.Dependency.product(name: "Tracing", package: "swift-distributed-tracing")

let package = Package(
    name: "swift-build-cache",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "BuildCache", targets: ["BuildCache"]),
        .library(name: "BuildCacheClient", targets: ["BuildCacheClient"]),
        .library(name: "BuildCacheRegistry", targets: ["BuildCacheRegistry"]),
        .library(name: "BuildCacheS3", targets: ["BuildCacheS3"]),
        .library(name: "BuildCacheAzure", targets: ["BuildCacheAzure"]),
        .library(name: "BuildCacheGitHubActions", targets: ["BuildCacheGitHubActions"]),
        .library(name: "BuildCacheKeys", targets: ["BuildCacheKeys"]),
        .library(name: "BuildCacheDockerfile", targets: ["BuildCacheDockerfile"]),
        .library(name: "BuildCacheSigning", targets: ["BuildCacheSigning"]),
        .library(name: "BuildCacheHTTP", targets: ["BuildCacheHTTP"]),
        .library(name: "BuildCacheTesting", targets: ["BuildCacheTesting"]),
        // For `IntegrationTests` and `Fuzz` in this repository; no part of the public surface.
        .library(name: "_TestTools", targets: ["TestTools"]),
        .library(name: "_TestServers", targets: ["TestServers", "BuildCacheTestServers"]),
        .library(name: "_FuzzTargets", targets: ["FuzzTargets"]),
    ],
    traits: [
        .trait(name: "Libdeflate", description: "Compress gzip with libdeflate, about four times as fast as zlib."),
        .default(enabledTraits: ["Libdeflate"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.81.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.29.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.29.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.5.0"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.1.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.0", traits: []),
        .package(url: "https://github.com/apple/swift-system", from: "1.5.0"),
        // `swift package generate-documentation`. Who uses the package fetches the plugin, and builds nothing of it.
        .package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.4.0"),
    ],
    targets: [
        // System libraries: a module map each, nothing else.
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"]), .brew(["zstd"])]),
        .systemLibrary(
            name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"]), .brew(["openssl@3"])]),
        .systemLibrary(
            name: "CDeflate", pkgConfig: "libdeflate", providers: [.apt(["libdeflate-dev"]), .brew(["libdeflate"])]),
        .systemLibrary(name: "CPipe"),
        .systemLibrary(name: "CFiles"),

        // Pure: values and documents, no input or output.
        module("BuildCacheCore", ["CCrypto"]),
        module("BuildCacheSpec", ["BuildCacheCore"]),
        module("BuildCacheGraph", ["BuildCacheCore"]),
        module("BuildCacheOCI", ["BuildCacheCore"]),
        // The keys that BuildKit makes of a step; a front end of its own needs no Dockerfiles.
        module("BuildCacheKeys", ["BuildCacheCore", "BuildCacheGraph", "CFiles"]),
        module("BuildCacheDockerfile", ["BuildCacheCore", "BuildCacheKeys"]),

        // Bytes: opening, hashing, converting and moving them.
        module(
            "BuildCacheBytes",
            [
                "BuildCacheCore", "CZlib", "CZstd", "CFiles",
                .target(name: "CDeflate", condition: .when(traits: ["Libdeflate"])),
                nioCore, nioPosix, nioConcurrencyHelpers,
            ]),
        // Statements, bundles, keys and the rules by which signatures are accepted.
        module("BuildCacheSigning", ["BuildCacheCore", "BuildCacheBytes", "CCrypto", nioCore]),
        // Stores, the engine over them, sessions, and what an image carries inline.
        module(
            "BuildCacheClient",
            [
                "BuildCacheCore", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes", "BuildCacheSigning", nioCore,
                logging, metrics, tracing,
            ]),
        module(
            "BuildCacheHTTP",
            [
                "BuildCacheCore", "BuildCacheBytes", "CPipe", asyncHTTPClient, nioCore, nioPosix,
                nioHTTP1, nioSSL, logging, metrics, tracing, subprocess, systemPackage,
            ]),

        // One module per network backend, and the umbrella over them.
        module(
            "BuildCacheRegistry",
            [
                "BuildCacheCore", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes", "BuildCacheClient",
                "BuildCacheSigning",
                "BuildCacheHTTP", "BuildCacheSpec", nioCore, nioHTTP1, nioSSL, logging,
            ]),
        module(
            "BuildCacheS3",
            [
                "BuildCacheCore", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes", "BuildCacheClient",
                "BuildCacheSigning",
                "BuildCacheHTTP", "BuildCacheSpec", nioCore, nioHTTP1, nioSSL, logging,
            ]),
        module(
            "BuildCacheAzure",
            [
                "BuildCacheCore", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes", "BuildCacheClient",
                "BuildCacheSigning",
                "BuildCacheHTTP", "BuildCacheSpec", "CCrypto", nioCore, nioHTTP1,
            ]),
        module(
            "BuildCacheGitHubActions",
            [
                "BuildCacheCore", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes", "BuildCacheClient",
                "BuildCacheSigning",
                "BuildCacheHTTP", "BuildCacheSpec", nioCore, nioHTTP1,
            ]),
        module(
            "BuildCache",
            [
                "BuildCacheCore", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheBytes", "BuildCacheClient",
                "BuildCacheSigning",
                "BuildCacheHTTP", "BuildCacheRegistry", "BuildCacheS3", "BuildCacheAzure", "BuildCacheGitHubActions",
            ]),
        module(
            "BuildCacheTesting",
            [
                "BuildCacheCore", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes",
                "BuildCacheSigning", "BuildCacheClient", nioCore,
            ]),

        tests("BuildCacheCoreTests", ["BuildCacheCore", "TestTools"]),
        tests("BuildCacheSpecTests", ["BuildCacheSpec", "BuildCacheCore", "TestTools"]),
        tests("BuildCacheGraphTests", ["BuildCacheGraph", "BuildCacheCore", "TestTools"]),
        tests("BuildCacheKeysTests", ["BuildCacheKeys", "BuildCacheGraph", "BuildCacheCore", "TestTools"]),
        tests(
            "BuildCacheDockerfileTests",
            ["BuildCacheDockerfile", "BuildCacheKeys", "BuildCacheGraph", "BuildCacheCore", "TestTools"]),
        tests("BuildCacheOCITests", ["BuildCacheOCI", "BuildCacheCore", "TestTools"]),
        tests(
            "BuildCacheBytesTests",
            ["BuildCacheBytes", "BuildCacheCore", "CZlib", "CFiles", "LayerProbe", "TestTools", nioCore]),
        tests("BuildCacheSigningTests", ["BuildCacheSigning", "BuildCacheCore", "TestTools"]),
        tests(
            "BuildCacheClientTests",
            [
                "BuildCacheClient", "BuildCacheSigning", "BuildCacheBytes", "BuildCacheGraph", "BuildCacheOCI",
                "BuildCacheCore",
                "BuildCacheTesting", "TestTools", nioCore,
            ]),
        tests(
            "LocalCacheTests",
            [
                "BuildCacheClient", "BuildCacheBytes", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheCore",
                "BuildCacheTesting", "ExportProbe", "TestTools", nioCore,
            ]),
        tests(
            "BuildCacheHTTPTests",
            ["BuildCacheHTTP", "BuildCacheCore", "BuildCacheBytes", "TestTools", nioCore, nioHTTP1]),
        tests("BuildCacheRegistryTests", ["BuildCacheRegistry", "BuildCacheCore", "TestTools"]),
        tests(
            "BuildCacheS3Tests",
            [
                "BuildCacheS3", "BuildCacheHTTP", "BuildCacheBytes", "BuildCacheSpec", "BuildCacheCore", "TestTools",
                nioCore, nioHTTP1,
            ]),
        tests("BuildCacheAzureTests", ["BuildCacheAzure", "BuildCacheCore", "BuildCacheSpec", "TestTools", nioHTTP1]),
        tests("BuildCacheGitHubActionsTests", ["BuildCacheGitHubActions", "BuildCacheCore", "TestTools"]),
        tests("BuildCacheTests", ["BuildCache", "BuildCacheTesting", "TestTools", nioCore]),
        // Servers that tests talk to, in this process and beside it.
        .target(
            name: "TestServers",
            dependencies: [
                "BuildCacheCore", "BuildCacheHTTP", "TestTools", asyncHTTPClient, logging, nioCore, nioPosix, nioHTTP1,
                nioSSL,
                subprocess, systemPackage,
            ],
            path: "Tests/TestServers", swiftSettings: settings),
        // Azure and GitHub in the process of a test: strict, and failing on demand.
        .target(
            name: "BuildCacheTestServers",
            dependencies: [
                "BuildCacheCore", "BuildCacheSpec", "BuildCacheHTTP", "BuildCacheAzure", "TestServers", nioHTTP1,
            ],
            path: "Tests/BuildCacheTestServers", swiftSettings: settings),
        // Programs that tests start.
        .target(
            name: "TestTools", dependencies: ["CZstd", subprocess, systemPackage], path: "Tests/TestTools",
            swiftSettings: settings),
        // A process that tests of crashes and of several writers start; no product.
        .executableTarget(
            name: "ExportProbe",
            dependencies: [
                "BuildCacheBytes", "BuildCacheCore", "BuildCacheSpec", "BuildCacheTesting",
                "BuildCacheClient",
            ],
            path: "Tests/ExportProbe", swiftSettings: settings),
        // A process that unpacks as another user, or is killed meanwhile; no product.
        .executableTarget(
            name: "LayerProbe", dependencies: ["BuildCacheBytes", "BuildCacheCore", nioCore], path: "Tests/LayerProbe",
            swiftSettings: settings),
        // The parsers of bytes from outside, for the fuzzer in `Fuzz/` and for the tests of its finds.
        .target(
            name: "FuzzTargets",
            dependencies: [
                "BuildCacheCore", "BuildCacheHTTP", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI",
                "BuildCacheBytes", "BuildCacheClient", "BuildCacheRegistry", "BuildCacheS3", "BuildCacheAzure",
                "BuildCacheGitHubActions", "BuildCacheKeys", "BuildCacheDockerfile", "BuildCacheSigning", nioCore,
            ],
            path: "Tests/FuzzTargets", swiftSettings: settings),
        tests("FuzzCorpusTests", ["FuzzTargets"]),
        tests("ArchitectureTests", []),
        tests("BackendConformanceTests", ["BuildCache", "BuildCacheTesting"]),
    ],
    swiftLanguageModes: [.v6]
)
