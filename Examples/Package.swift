// swift-tools-version: 6.2
import PackageDescription

func product(_ name: String) -> Target.Dependency { .product(name: name, package: "swift-build-cache") }

/// One program per folder; `make examples` builds them all.
func example(_ name: String, _ library: [Target.Dependency] = [product("BuildCache")]) -> Target {
    .executableTarget(
        name: name,
        dependencies: library + ["ExampleSupport", .product(name: "ArgumentParser", package: "swift-argument-parser")])
}

let package = Package(
    name: "swift-build-cache-examples",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(name: "swift-build-cache", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    ],
    targets: [
        .target(
            name: "ExampleSupport",
            dependencies: [
                product("BuildCacheClient"), .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
        // Caches in directories need no more than this.
        example("quickstart", [product("BuildCacheClient")]),
        example("multiple-caches"),
        example("follow-progress"),
        example("ci-pipeline"),
        example("copy-cache"),
        example("inspect-cache"),
        example("explain-cache"),
        example("inline-cache"),
        example("prune-cache"),
        example("verify-cache"),
        example("read-file"),
        example("append-layer"),
        example("sign-cache"),
        example("min-versus-max"),
        example("layer", [product("BuildCacheClient")]),
        example("own-backend", [product("BuildCacheClient"), product("BuildCacheTesting")]),
    ]
)
