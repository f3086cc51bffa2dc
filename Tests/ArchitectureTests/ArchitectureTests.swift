import Foundation
import Testing

/// The arrows between modules that `Package.swift` must not grow.
///
/// That a module imports only its declared dependencies is the compiler's check:
/// `swift build --explicit-target-dependency-import-check error`, in `make unit`.
@Suite("The manifest")
struct ArchitectureTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// The dependencies of each module, as the manifest spells them.
    private static func modules() throws -> [String: Set<String>] {
        let manifest = try String(contentsOf: root.appending(path: "Package.swift"), encoding: .utf8)
        var modules: [String: Set<String>] = [:]
        for match in manifest.matches(of: /\bmodule\(\s*"(\w+)",\s*\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]\)/) {
            modules[String(match.1)] = Set(match.2.matches(of: /\w+/).map { String($0.0) })
        }
        return modules
    }

    /// The modules that a module reaches over any number of arrows.
    private static func closure(of module: String, in modules: [String: Set<String>]) -> Set<String> {
        var reached: Set<String> = []
        var rest = modules[module] ?? []
        while let next = rest.popFirst() {
            guard reached.insert(next).inserted else { continue }
            rest.formUnion(modules[next] ?? [])
        }
        return reached
    }

    @Test("has a module for each folder of Swift under Sources")
    func isComplete() throws {
        let sources = Self.root.appending(path: "Sources")
        let folders = try FileManager.default.contentsOfDirectory(atPath: sources.path).filter { folder in
            let files = FileManager.default.enumerator(atPath: sources.appending(path: folder).path)
            return files?.contains { ($0 as? String)?.hasSuffix(".swift") == true } == true
        }
        #expect(try Self.modules().keys.sorted() == folders.sorted())
    }

    @Test(
        "keeps modules of values and documents pure: no input or output, no NIO, no network",
        arguments: ["BuildCacheCore", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI"])
    func pureModules(_ module: String) throws {
        let modules = try Self.modules()
        #expect(modules[module]?.isSubset(of: ["BuildCacheCore", "CCrypto"]) == true)
    }

    @Test(
        "keeps keys and Dockerfiles light: neither NIO nor a compressor",
        arguments: ["BuildCacheKeys", "BuildCacheDockerfile"])
    func lightModules(_ module: String) throws {
        let modules = try Self.modules()
        let light: Set = ["BuildCacheCore", "BuildCacheGraph", "BuildCacheKeys", "CCrypto", "CFiles"]
        #expect(modules[module] != nil)
        #expect(Self.closure(of: module, in: modules).isSubset(of: light))
    }

    @Test(
        "keeps a module out of another's reach",
        arguments: [
            // The engine and the transport take options as values; only backends and the umbrella know their texts.
            ("BuildCacheClient", "BuildCacheSpec"), ("BuildCacheHTTP", "BuildCacheSpec"),
            ("BuildCacheHTTP", "BuildCacheClient"), ("BuildCacheClient", "BuildCacheHTTP"),
            // A cache in a directory needs no TLS.
            ("BuildCacheClient", "nioSSL"),
            // Signatures are bytes: where they lie and how they travel is the stores' concern.
            ("BuildCacheSigning", "BuildCacheClient"), ("BuildCacheSigning", "BuildCacheHTTP"),
            // The second version of GitHub's service stores blobs at Azure, without Azure's identities.
            ("BuildCacheGitHubActions", "BuildCacheAzure"),
            ("BuildCacheTesting", "BuildCacheHTTP"),
        ])
    func separation(_ module: String, _ other: String) throws {
        let modules = try Self.modules()
        #expect(modules[module] != nil)
        #expect(!Self.closure(of: module, in: modules).contains(other))
    }

    @Test("lets no backend depend on another")
    func backends() throws {
        let backends: Set = [
            "BuildCacheRegistry", "BuildCacheS3", "BuildCacheAzure", "BuildCacheGitHubActions",
        ]
        let modules = try Self.modules()
        for backend in backends { #expect(Self.closure(of: backend, in: modules).isDisjoint(with: backends)) }
    }
}
