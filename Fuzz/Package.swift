// swift-tools-version: 6.2
import PackageDescription

// A package of its own: everything in it is built for libFuzzer. `make fuzz` builds and runs it; see `Documentation/Testing.md`.
let package = Package(
    name: "Fuzz",
    platforms: [.macOS(.v15)],
    dependencies: [.package(name: "swift-build-cache", path: "..")],
    targets: [
        .executableTarget(
            name: "fuzz", dependencies: [.product(name: "_FuzzTargets", package: "swift-build-cache")])
    ],
    swiftLanguageModes: [.v6]
)
