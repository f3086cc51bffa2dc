import BuildCacheBytes
import BuildCacheCore
import BuildCacheClient
import BuildCacheSpec
import BuildCacheTesting
import Foundation
import Testing

@Suite("A blob of a cache that was damaged and kept its size")
struct HealingTests {
    private let directory: Scratch
    private let sample: BuildCacheTesting.SampleCache

    init() throws {
        directory = try Scratch()
        sample = try .diamond()
    }

    private func cache(_ scratch: ScratchStore) throws -> LocalCache {
        try LocalCache(
            LocalOptions(dest: directory.layout), export: ExportOptions(mode: .max),
            scratch: scratch)
    }

    private func damage(_ digest: Digest) throws {
        let file = directory.layout + "/blobs/sha256/" + digest.hex
        var bytes = try #require(FileManager.default.contents(atPath: file))
        bytes[bytes.count / 2] ^= 1
        try FileManager.default.removeItem(atPath: file)
        try bytes.write(to: URL(fileURLWithPath: file))
    }

    @Test("is still there after it was read: reading changes nothing in the directory")
    func readingChangesNothing() async throws {
        try await ScratchStore.withTemporary { scratch in
            try await cache(scratch).export(sample)
            for layer in sample.layers { try damage(layer.descriptor.digest) }
            let before = directory.snapshot
            let reader = try LocalCache(LocalOptions(src: directory.layout), scratch: scratch)
            try await reader.withImport { known in
                let known = try #require(known)
                for layer in sample.layers {
                    await #expect(throws: CacheError.self) { _ = try await known.blobs.bytes(of: layer.descriptor) }
                    await #expect(throws: CacheError.self) {
                        for try await _ in try await known.blobs.openTar(of: layer.descriptor) {}
                    }
                }
            }
            let images = LocalImages(path: directory.layout)
            _ = try await images.resolve("latest")
            _ = try await images.stat(sample.layers[0].descriptor.digest)
            _ = try await reader.planPrune(Retention(maximumCount: 0))
            #expect(directory.snapshot == before)
        }
    }

    @Test("is written anew by the next export after it was read")
    func layer() async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = try cache(scratch)
            try await cache.export(sample)
            let victim = sample.layers[1].descriptor
            try damage(victim.digest)
            let known = try #require(try await cache.importCache(progress: .discarded))
            let error = await #expect(throws: CacheError.self) { _ = try await known.blobs.bytes(of: victim) }
            #expect(error?.code == .corrupted)
            let receipt = try await cache.export(sample)
            #expect(receipt.transfers.filter { $0.value == .written }.map(\.key) == [victim.digest])
            let bytes = try await known.blobs.bytes(of: victim)
            #expect(bytes == sample.layers[1].stored)
        }
    }

    @Test("is written anew by the next export if it is a document, though it was not read")
    func documents() async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = try cache(scratch)
            let documents = Set(try await cache.export(sample).transfers.keys)
                .subtracting(sample.layers.map(\.descriptor.digest))
            #expect(documents.count == 2)
            for document in documents { try damage(document) }
            let receipt = try await cache.export(sample)
            #expect(Set(receipt.transfers.filter { $0.value == .written }.map(\.key)) == documents)
            let graph = try await cache.importCache(progress: .discarded)?.graph
            #expect(graph == sample.graph)
        }
    }
}
