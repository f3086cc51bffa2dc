// swift-tools-version: 6.2
import PackageDescription

/// One program per folder; `make examples` builds them all.
func example(_ name: String, _ more: [Target.Dependency] = []) -> Target {
    .executableTarget(
        name: name,
        dependencies: [
            "ExampleSupport", .product(name: "BuildCache", package: "swift-build-cache"),
            .product(name: "ArgumentParser", package: "swift-argument-parser"),
        ] + more)
}

let package = Package(
    name: "swift-build-cache-examples",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(name: "swift-build-cache", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    ],
    targets: [
        .target(name: "ExampleSupport", dependencies: [.product(name: "BuildCache", package: "swift-build-cache")]),
        example("quickstart"),
        example("multiple-caches"),
        example("follow-progress"),
        example("ci-pipeline"),
        example("copy-cache"),
        example("inspect-cache"),
        example("explain-cache"),
        example("inline-cache"),
        example("prune-cache"),
        example("min-versus-max"),
        example("own-backend", [.product(name: "BuildCacheTesting", package: "swift-build-cache")]),
    ]
)
