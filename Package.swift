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
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")
// Subprocess names files by it; macOS has its own.
let systemPackage = Target.Dependency.product(
    name: "SystemPackage", package: "swift-system", condition: .when(platforms: [.linux]))
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")

let package = Package(
    name: "swift-build-cache",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "BuildCache", targets: ["BuildCache"]),
        .library(name: "BuildCacheInline", targets: ["BuildCacheInline"]),
        .library(name: "BuildCacheLocal", targets: ["BuildCacheLocal"]),
        .library(name: "BuildCacheTesting", targets: ["BuildCacheTesting"]),
    ],
    traits: [
        .trait(name: "Libdeflate", description: "Compress gzip with libdeflate, about four times as fast as zlib."),
        .default(enabledTraits: ["Libdeflate"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.81.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.0", traits: []),
        .package(url: "https://github.com/apple/swift-system", from: "1.5.0"),
    ],
    targets: [
        // System libraries: a module map each, nothing else.
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"]), .brew(["zstd"])]),
        .systemLibrary(
            name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"]), .brew(["openssl@3"])]),
        .systemLibrary(
            name: "CDeflate", pkgConfig: "libdeflate", providers: [.apt(["libdeflate-dev"]), .brew(["libdeflate"])]),

        // Pure: values and documents, no input or output.
        module("BuildCacheCore", ["CCrypto"]),
        module("BuildCacheJSON", ["BuildCacheCore"]),
        module("BuildCacheSpec", ["BuildCacheCore", "BuildCacheJSON"]),
        module("BuildCacheGraph", ["BuildCacheCore", "BuildCacheJSON"]),
        module("BuildCacheOCI", ["BuildCacheCore", "BuildCacheJSON"]),

        // Bytes: opening, hashing, converting and moving them.
        module(
            "BuildCacheBytes",
            [
                "BuildCacheCore", "BuildCacheJSON", "CZlib", "CZstd",
                .target(name: "CDeflate", condition: .when(traits: ["Libdeflate"])),
                nioCore, nioPosix,
            ]),
        module(
            "BuildCacheTransfer",
            [
                "BuildCacheCore", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes", "BuildCacheSpec", nioCore,
                logging,
            ]),

        // One module per backend, and the umbrella over them.
        module(
            "BuildCacheLocal",
            [
                "BuildCacheCore", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes", "BuildCacheTransfer",
                "BuildCacheJSON", "BuildCacheSpec", nioCore, nioPosix, logging,
            ]),
        module(
            "BuildCacheInline",
            [
                "BuildCacheCore", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes", "BuildCacheTransfer",
            ]),
        module(
            "BuildCache",
            [
                "BuildCacheCore", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes",
                "BuildCacheTransfer", "BuildCacheInline", "BuildCacheLocal", nioCore, logging,
            ]),
        module(
            "BuildCacheTesting",
            [
                "BuildCacheCore", "BuildCacheGraph", "BuildCacheBytes", "BuildCacheTransfer", nioCore,
            ]),

        tests("BuildCacheCoreTests", ["BuildCacheCore"]),
        tests("BuildCacheJSONTests", ["BuildCacheJSON", "BuildCacheCore"]),
        tests("BuildCacheSpecTests", ["BuildCacheSpec", "BuildCacheCore"]),
        tests("BuildCacheGraphTests", ["BuildCacheGraph", "BuildCacheCore"]),
        tests("BuildCacheOCITests", ["BuildCacheOCI", "BuildCacheCore", "BuildCacheJSON"]),
        tests("BuildCacheBytesTests", ["BuildCacheBytes", "BuildCacheCore", "CZlib", "TestTools", nioCore]),
        tests("BuildCacheTests", ["BuildCache", nioCore]),
        tests(
            "BuildCacheLocalTests",
            [
                "BuildCacheLocal", "BuildCacheTransfer", "BuildCacheBytes", "BuildCacheGraph", "BuildCacheOCI",
                "BuildCacheSpec", "BuildCacheCore", "BuildCacheTesting", "ExportProbe", "TestTools", nioCore, nioPosix,
            ]),
        // Programs that tests start; no product.
        .target(
            name: "TestTools", dependencies: [subprocess, systemPackage], path: "Tests/TestTools",
            swiftSettings: settings),
        // A process that tests of crashes and of several writers start; no product.
        .executableTarget(
            name: "ExportProbe",
            dependencies: [
                "BuildCacheBytes", "BuildCacheCore", "BuildCacheLocal", "BuildCacheSpec", "BuildCacheTesting",
                "BuildCacheTransfer",
            ],
            path: "Tests/ExportProbe", swiftSettings: settings),
        tests("ArchitectureTests", []),
        tests("InteropTests", ["BuildCache", "TestTools", nioCore]),
        tests("BackendConformanceTests", ["BuildCache", "BuildCacheTesting"]),
    ],
    swiftLanguageModes: [.v6]
)
