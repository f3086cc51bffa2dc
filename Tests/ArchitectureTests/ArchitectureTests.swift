import Foundation
import Testing

/// What each module may import of this package and of NIO, straight or not.
///
/// Arrows point down only.
private let allowed: [String: Set<String>] = [
    // Pure: values and documents. Numbers that are given out once need an atomic counter.
    "BuildCacheCore": ["CCrypto", "Synchronization"],
    "BuildCacheJSON": ["BuildCacheCore"],
    "BuildCacheSpec": ["BuildCacheCore", "BuildCacheJSON"],
    "BuildCacheGraph": ["BuildCacheCore", "BuildCacheJSON", "Synchronization"],
    "BuildCacheOCI": ["BuildCacheCore", "BuildCacheJSON"],
    "BuildCacheXML": ["BuildCacheCore"],
    // Bytes.
    "BuildCacheBytes": [
        "BuildCacheCore", "BuildCacheJSON", "CZlib", "CZstd", "CDeflate", "NIOCore", "NIOPosix", "Synchronization",
    ],
    "BuildCacheTransfer": [
        "BuildCacheCore", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes",
        "NIOCore", "Synchronization",
    ],
    // Backends know what is below them, and not each other.
    "BuildCacheLocal": [
        "BuildCacheCore", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes",
        "BuildCacheTransfer", "NIOCore", "Synchronization",
    ],
    "BuildCacheHTTP": [
        "BuildCacheCore", "BuildCacheJSON", "BuildCacheSpec", "BuildCacheBytes", "CPipe", "AsyncHTTPClient", "NIOCore",
        "NIOPosix", "NIOHTTP1", "NIOSSL", "Logging", "Metrics", "Tracing", "Synchronization", "Subprocess", "System",
        "SystemPackage",
    ],
    "BuildCacheRegistry": [
        "BuildCacheCore", "BuildCacheJSON", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes",
        "BuildCacheTransfer", "BuildCacheHTTP", "NIOCore", "NIOHTTP1", "NIOSSL", "Logging", "Synchronization",
    ],
    "BuildCacheS3": [
        "BuildCacheCore", "BuildCacheJSON", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes",
        "BuildCacheTransfer", "BuildCacheHTTP", "BuildCacheXML", "NIOCore", "NIOHTTP1", "NIOSSL", "Logging",
        "Synchronization",
    ],
    "BuildCacheAzure": [
        "BuildCacheCore", "BuildCacheJSON", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes",
        "BuildCacheTransfer", "BuildCacheHTTP", "BuildCacheXML", "CCrypto", "NIOCore", "NIOHTTP1", "Synchronization",
    ],
    // The second version of GitHub's service stores through Azure.
    "BuildCacheGitHubActions": [
        "BuildCacheCore", "BuildCacheJSON", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes",
        "BuildCacheTransfer", "BuildCacheHTTP", "BuildCacheAzure", "NIOCore", "NIOHTTP1", "Synchronization",
    ],
    "BuildCacheInline": [
        "BuildCacheCore", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes", "BuildCacheTransfer",
    ],
    // Caches, whatever their backends are.
    "BuildCacheClient": [
        "BuildCacheCore", "BuildCacheGraph", "BuildCacheBytes", "BuildCacheTransfer", "Logging", "Metrics",
        "Tracing", "Synchronization",
    ],
    "BuildCache": [
        "BuildCacheCore", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheBytes", "BuildCacheTransfer",
        "BuildCacheClient", "BuildCacheInline", "BuildCacheLocal", "BuildCacheRegistry", "BuildCacheS3",
        "BuildCacheAzure", "BuildCacheGitHubActions",
    ],
    "BuildCacheTesting": [
        "BuildCacheCore", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheBytes", "BuildCacheTransfer",
        "NIOCore", "Synchronization",
    ],
    "BuildCacheTestServers": [
        "BuildCacheCore", "BuildCacheJSON", "BuildCacheSpec", "BuildCacheHTTP", "BuildCacheAzure", "BuildCacheXML",
        "TestServers", "NIOHTTP1", "Synchronization", "Foundation",
    ],
]

/// The C library by its names, which every module may use.
private let cLibraries: Set<String> = ["Glibc", "Musl", "Darwin"]

@Suite("The module")
struct ArchitectureTests {
    private static let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    private static let sources = tests.deletingLastPathComponent().appending(path: "Sources")

    /// Folders with Swift in them; the others are system libraries.
    private static let modules = targets(in: sources)
    /// Tests, and the programs and helpers that only they use.
    private static let testTargets = targets(in: tests)

    private static func targets(in folder: URL) -> [String] {
        let folders = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return folders.filter { !swiftFiles(in: folder.appending(path: $0)).isEmpty }.sorted()
    }

    private static func swiftFiles(in folder: URL) -> [URL] {
        let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
        var found: [URL] = []
        while let file = files?.nextObject() as? URL { if file.pathExtension == "swift" { found.append(file) } }
        return found
    }

    /// The modules that a file imports: of `package import struct A.B` it is `A`.
    private static func imports(in source: String) -> [String] {
        source.split(whereSeparator: \.isNewline).compactMap { line in
            let words = line.split(separator: " ").filter { !$0.hasPrefix("@") }
            guard let keyword = words.firstIndex(of: "import"),
                words[..<keyword].allSatisfy({
                    ["public", "package", "internal", "fileprivate", "private"].contains($0)
                })
            else { return nil }
            let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
            let name = words[(keyword + 1)...].first { !kinds.contains($0) }
            return name?.split(separator: ".").first.map { String($0) }
        }
    }

    @Test("is in the table of what may import what")
    func isKnown() {
        #expect(Self.modules == allowed.keys.sorted())
    }

    @Test("imports only what lies below it", arguments: modules)
    func importsDownwards(_ module: String) throws {
        let permitted = (allowed[module] ?? []).union(cLibraries)
        var found: Set<String> = []
        for file in Self.swiftFiles(in: Self.sources.appending(path: module)) {
            let imports = Self.imports(in: try String(contentsOf: file, encoding: .utf8))
            let forbidden = imports.filter { !permitted.contains($0) }
            #expect(forbidden == [], "\(file.lastPathComponent)")
            found.formUnion(imports)
        }
        // Below is below: what a module may import may not import it.
        for lower in found {
            #expect(!(allowed[lower] ?? []).contains(module), "\(module) and \(lower) import each other")
        }
        // A module that reads no imports at all would pass anything.
        #expect(!found.isEmpty)
    }

    @Test("may import nothing that it does not need, and depends on exactly that in the manifest", arguments: modules)
    func importsAll(_ module: String) throws {
        var found: Set<String> = []
        for file in Self.swiftFiles(in: Self.sources.appending(path: module)) {
            found.formUnion(Self.imports(in: try String(contentsOf: file, encoding: .utf8)))
        }
        #expect((allowed[module] ?? []).subtracting(found) == [])
        // What comes with the compiler or the system is no dependency.
        found.subtract(cLibraries.union(["Synchronization", "System", "Foundation"]))
        #expect(try Self.dependencies(of: module) == found)
    }

    @Test(
        "of a test imports only modules that the manifest names, so that a first build finds them",
        arguments: testTargets)
    func importsDeclared(_ target: String) throws {
        var found: Set<String> = []
        for file in Self.swiftFiles(in: Self.tests.appending(path: target)) {
            found.formUnion(Self.imports(in: try String(contentsOf: file, encoding: .utf8)))
        }
        // A folder without imports would pass anything.
        #expect(!found.isEmpty)
        let ours = found.intersection(Self.modules + Self.testTargets)
        #expect(ours.subtracting(try Self.dependencies(of: target)) == [])
    }

    /// The dependencies of a target as Package.swift spells them, products by the names of their modules.
    private static func dependencies(of module: String) throws -> Set<String> {
        let manifest = try String(
            contentsOf: tests.deletingLastPathComponent().appending(path: "Package.swift"), encoding: .utf8)
        var products: [Substring: String] = [:]
        for match in manifest.matches(of: /let (\w+) = Target\.Dependency\.product\(\s*name: "(\w+)"/) {
            products[match.1] = String(match.2)
        }
        let call = try Regex(
            "(?:module\\(|tests\\(|name:)\\s*\"\(module)\",\\s*(?:dependencies:\\s*)?\\[([^\\[\\]]*(?:\\[[^\\[\\]]*\\][^\\[\\]]*)*)\\]"
        )
        let list = try #require(manifest.firstMatch(of: call)?[1].substring, "\(module) is not in Package.swift")
        return Set(
            list.matches(of: /"(\w+)"|\w+/).compactMap { match in match.1.map { String($0) } ?? products[match.0] }
        ).subtracting(["Libdeflate"])
    }

    @Test("is pure if it holds values and documents: no NIO, no Foundation, no files")
    func pureModules() {
        for module in [
            "BuildCacheCore", "BuildCacheJSON", "BuildCacheSpec", "BuildCacheGraph", "BuildCacheOCI", "BuildCacheXML",
        ] {
            let permitted = allowed[module] ?? []
            #expect(permitted.subtracting(["CCrypto", "Synchronization"]).allSatisfy { $0.hasPrefix("BuildCache") })
            #expect(
                permitted.isDisjoint(with: ["BuildCacheBytes", "BuildCacheTransfer", "BuildCacheLocal", "BuildCache"]))
        }
    }
}
