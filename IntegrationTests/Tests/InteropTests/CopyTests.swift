@testable import BuildCache
import Foundation
@testable import TestTools
import Testing

@Suite("A copy of a cache that BuildKit wrote", .fewAtOnce)
struct CopyTests {
    private let directory: TemporaryDirectory
    private var path: String { directory.path + "/copy" }

    init() throws { directory = try TemporaryDirectory() }

    @Test(
        "has the same manifest and config when nothing is changed", arguments: Fixture.standalone, CacheMode.allCases)
    func keepsDigests(_ fixture: Fixture, mode: CacheMode) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = try await importCache(fixture, scratch: scratch)
            let receipt = try await copy(
                cache, to: path, ExportOptions(mode: mode, layout: fixture.layout), scratch: scratch)
            let expected = try #require(fixture.expected.caches.first)
            let manifest = try #require(receipt.published["latest"])
            #expect(manifest.digest.description == expected.manifestDigest)
            let digest = try #require(expected.configDigest)
            let config = path + "/blobs/sha256/" + digest.dropFirst("sha256:".count)
            #expect(FileManager.default.fileExists(atPath: config))
            #expect(receipt.converted == [])
            #expect(receipt.problems == [])
            let copied = try await importCache(path, scratch: scratch)
            #expect(copied.graph == cache.graph)
        }
    }

    @Test("holds the same in each layout", arguments: Fixture.all, ManifestLayout.allCases)
    func keepsGraph(_ fixture: Fixture, layout: ManifestLayout) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = try await importCache(fixture, scratch: scratch)
            let receipt = try await copy(cache, to: path, ExportOptions(mode: .max, layout: layout), scratch: scratch)
            #expect(receipt.converted == [])
            let copied = try await importCache(path, scratch: scratch)
            #expect(try copied.graph.withDiffIDs() == cache.graph.withDiffIDs())
            #expect(Set(copied.graph.descriptors.keys) == Set(cache.graph.descriptors.keys))
            for (digest, descriptor) in copied.graph.descriptors {
                let original = try #require(cache.graph.descriptors[digest])
                #expect(descriptor.mediaType == original.mediaType.asLayer(docker: layout.usesDockerTypes))
                #expect(descriptor.size == original.size)
                #expect(descriptor.createdAt == original.createdAt)
            }
        }
    }

    @Test(
        "has the same layers inside when they are compressed anew", arguments: Fixture.standalone,
        [Compression.gzip, .zstd, .uncompressed])
    func keepsContents(_ fixture: Fixture, compression: Compression) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = try await importCache(fixture, scratch: scratch)
            let options = ExportOptions(
                mode: .max, compression: CompressionOptions(type: compression, force: true), layout: fixture.layout)
            try await copy(cache, to: path, options, scratch: scratch)
            let copied = try await importCache(path, scratch: scratch)

            // eStargz has a table of contents inside the tar: the layer as it was before is that of the gzip variant.
            var original = cache.graph
            if fixture.compression == .estargz {
                let sibling = try #require(fixture.sibling(.gzip))
                original = try await importCache(sibling, scratch: scratch).graph
            }
            #expect(try copied.graph.withDiffIDs() == original.withDiffIDs())
            for descriptor in copied.graph.descriptors.values {
                #expect(descriptor.mediaType == .layer(compression, docker: fixture.layout.usesDockerTypes))
                let bytes = try await copied.blobs.bytes(of: descriptor)
                #expect(bytes.starts(with: compression.magic))
                if compression == .uncompressed { #expect(descriptor.diffID == DiffID(descriptor.digest)) }
            }
            // What is as it should be already is not touched, bytes and all.
            if fixture.compression == compression {
                #expect(copied.graph == cache.graph)
            }
        }
    }

    @Test(
        "comes back from another compression with the same layers inside", arguments: Fixture.standalone,
        [Compression.gzip, .zstd])
    func roundTrips(_ fixture: Fixture, compression: Compression) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = try await importCache(fixture, scratch: scratch)
            func options(_ compression: Compression) -> ExportOptions {
                ExportOptions(mode: .max, compression: CompressionOptions(type: compression, force: true))
            }
            try await copy(cache, to: path + "-1", options(.uncompressed), scratch: scratch)
            let plain = try await importCache(path + "-1", scratch: scratch)
            try await copy(plain, to: path + "-2", options(compression), scratch: scratch)
            let packed = try await importCache(path + "-2", scratch: scratch)
            try await copy(packed, to: path + "-3", options(.uncompressed), scratch: scratch)
            // Uncompressed, a layer's digest is its diffID, so that this compares the bytes themselves.
            #expect(try await importCache(path + "-3", scratch: scratch).graph == plain.graph)
        }
    }
}

extension Compression {
    /// How its bytes begin; a tar begins with a name.
    fileprivate var magic: [UInt8] {
        switch self {
        case .uncompressed: []
        case .gzip, .estargz: [0x1F, 0x8B]
        case .zstd: [0x28, 0xB5, 0x2F, 0xFD]
        @unknown default: []
        }
    }
}
