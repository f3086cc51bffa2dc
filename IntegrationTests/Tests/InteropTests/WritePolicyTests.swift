@testable import BuildCache
@testable import BuildCacheTesting
import Foundation
@testable import TestServers
@testable import TestTools
import Testing

@Suite("An export with WritePolicy.merge")
struct WritePolicyTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func cache(_ policy: WritePolicy, _ scratch: ScratchStore) throws -> LocalCache {
        try LocalCache(
            LocalOptions(dest: directory.path + "/cache"), export: ExportOptions(mode: .max, writePolicy: policy),
            scratch: scratch)
    }

    private func stored(_ cache: some CacheBackend) async throws -> ImportedCache {
        try #require(try await cache.importCache(progress: .discarded))
    }

    @Test("keeps what is there, which an export without does not")
    func keeps() async throws {
        try await ScratchStore.withTemporary { scratch in
            let (one, two) = (try SampleCache.diamond("one"), try SampleCache.diamond("two"))
            try await cache(.merge, scratch).export(one)
            try await cache(.merge, scratch).export(two)
            var both = one.graph
            try both.merge(two.graph)
            #expect(try await stored(try cache(.merge, scratch)).graph == both)
            try await cache(.replace, scratch).export(one)
            #expect(try await stored(try cache(.merge, scratch)).graph == one.graph)
        }
    }

    @Test("writes nothing when all of it is there")
    func writesNothing() async throws {
        try await ScratchStore.withTemporary { scratch in
            let sample = try SampleCache.diamond()
            let first = try await cache(.merge, scratch).export(sample)
            let second = try await cache(.merge, scratch).export(sample)
            #expect(second.published == first.published)
            #expect(second.transfers.values.allSatisfy { $0 == .alreadyPresent })
        }
    }

    @Test("takes its own result of a record that both have: its layers are known to be there")
    func ownResultCounts() async throws {
        try await ScratchStore.withTemporary { scratch in
            func sample(_ layer: String, at second: Int64) throws -> (LayerGraph, SampleLayer) {
                var graph = LayerGraph()
                let layer = SampleLayer(layer)
                let result = CacheResult(
                    layer: try graph.addLayer(layer.descriptor), createdAt: try #require(Timestamp(seconds: second)))
                let root = try graph.addRecord(.record(content: Digest(of: "root".utf8)))
                try graph.addRecord(
                    .record(operation: Digest(of: "step".utf8), output: 0), inputs: [[Link(root)]], results: [result])
                return (graph, layer)
            }
            for (name, second) in [("newer", Int64(2)), ("own", 1)] {
                let (graph, layer) = try sample(name, at: second)
                _ = try await cache(.merge, scratch).exportCache(
                    graph, from: LayerSource(blobs: MemorySource([layer.stored])), progress: .discarded)
            }
            let graph = try await stored(try cache(.merge, scratch)).graph
            #expect(try graph.recordIDs.flatMap { try graph[$0].results }.map(\.createdAt.seconds) == [1])
        }
    }

    @Test("replaces a cache that nobody can read")
    func replacesDamaged() async throws {
        try await ScratchStore.withTemporary { scratch in
            let sample = try SampleCache.diamond()
            let receipt = try await cache(.merge, scratch).export(try SampleCache.diamond("other"))
            let manifest = try #require(receipt.published["latest"])
            let path = "\(directory.path)/cache/blobs/sha256/\(manifest.digest.hex)"
            try FileManager.default.removeItem(atPath: path)
            try Data(repeating: 0, count: Int(manifest.size)).write(to: URL(fileURLWithPath: path))
            try await cache(.merge, scratch).export(sample)
            #expect(try await stored(try cache(.merge, scratch)).graph == sample.graph)
        }
    }

    @Test("leaves an announcement, and says so, at a registry that does not delete")
    func registryWithoutDeletes() async throws {
        let registry = FakeRegistry()
        registry.manners.allowsDeletes = false
        try await withServer(registry.respond) { address in
            try await ScratchStore.withTemporary { scratch in
                let sample = try SampleCache.diamond()
                let cache = RegistryCache(
                    RegistryOptions(ref: try Reference("\(address)/cache:main")),
                    export: ExportOptions(mode: .max, writePolicy: .merge), scratch: scratch)
                let receipt = try await cache.export(sample)
                #expect(receipt.published.keys.sorted() == ["main"])
                #expect(receipt.problems.count == 1)
                #expect(receipt.problems[0].message.contains("removes no manifests"))
                #expect(try await stored(cache).graph == sample.graph)
            }
        }
    }
}
