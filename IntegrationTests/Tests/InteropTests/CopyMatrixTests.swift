@testable import BuildCache
@testable import BuildCacheClient
@testable import BuildCacheS3
@testable import BuildCacheTestServers
import Foundation
@testable import TestServers
@testable import TestTools
import Testing

/// The caches of one build, each of which BuildKit wrote in another way.
struct FixtureBuild: Sendable, CustomTestStringConvertible {
    let testDescription: String
    var layouts: [Fixture] { some(Fixture.all.filter { $0.folder == testDescription }) }
    var services: [ServiceFixture] {
        some(ServiceFixture.all.filter { $0.name.hasPrefix(testDescription + "/") })
    }

    /// All with `BUILD_CACHE_MATRIX=all`, as `make nightly` has it, else every fourth: other builds have other forms as their fourth.
    private func some<Value>(_ all: [Value]) -> [Value] {
        guard ProcessInfo.processInfo.environment["BUILD_CACHE_MATRIX"] != "all" else { return all }
        let first = testDescription.utf8.reduce(0) { $0 + Int($1) } % 4
        return all.enumerated().filter { $0.offset % 4 == first }.map(\.element)
    }

    static let all = Set(Fixture.all.map(\.folder)).sorted().map { FixtureBuild(testDescription: $0) }
}

@Suite("A cache that BuildKit wrote, copied from every backend to every backend", .serialized)
struct CopyMatrixTests {
    @Test("is the same at the end, the diffIDs of its layers too", arguments: FixtureBuild.all)
    func matrix(_ build: FixtureBuild) async throws {
        try await withS3 { s3 in
            _ = try await build.layouts.mapConcurrently(limit: 4) { fixture in
                try await Backends.run(s3: s3) { backends in
                    let original = try await importCache(fixture, scratch: backends.scratch)
                    try await copy(original, fixture.name, between: backends)
                }
            }
            _ = try await build.services.mapConcurrently(limit: 4) { fixture in
                try await Backends.run(s3: s3) { backends in
                    try await backends.withCache(of: fixture) { try await copy($0, fixture.name, between: backends) }
                }
            }
        }
    }

    /// Stores a cache in every backend, copies each of these to every backend, and compares what is there then.
    private func copy(_ original: ImportedCache, _ fixture: String, between backends: Backends) async throws {
        try await backends.makeImage(of: original)
        // Stores without manifests keep less of a layer than a descriptor may say: what is in it counts.
        let everything = try original.graph.withDiffIDs()
        // An image holds what its own layers are results of, and all other backends hold everything.
        try await backends.put(original, .inline, "\(fixture)-reference")
        let inImage = try await backends.get(.inline, "\(fixture)-reference").graph.withDiffIDs()
        let hasLayers = !inImage.layerIDs.isEmpty
        #expect(hasLayers, "\(fixture)")
        for source in backends.kinds {
            try await backends.put(original, source, "\(fixture)-\(source)")
            let first = try await backends.get(source, "\(fixture)-\(source)")
            let stored = try first.graph.withDiffIDs()
            let isWhole = stored == (source == .inline ? inImage : everything)
            #expect(isWhole, "\(fixture) at \(source)")
            for destination in backends.kinds {
                let name = "\(fixture)-\(source)-\(destination)"
                try await backends.put(first, destination, name)
                let copy = try await backends.get(destination, name)
                #expect(copy.problems == [], "\(name)")
                let isSame = try copy.graph.withDiffIDs() == (destination == .inline ? inImage : stored)
                #expect(isSame, "\(name)")
            }
        }
    }
}
