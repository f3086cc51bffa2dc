import BuildCacheBytes
import BuildCacheCore
import BuildCacheClient
import BuildCacheOCI
import BuildCacheSpec
import BuildCacheTesting
import Foundation
import TestTools
import Testing

@Suite("An export to a tag of a directory that leads to something that is not a cache")
struct OccupiedNameTests {
    private let folder: Scratch

    init() throws { folder = try Scratch() }

    /// Puts a document under a tag, with a layer and a config.
    private func put(_ document: RawDocument, as tag: String) async throws {
        let images = LocalImages(path: folder.layout)
        let layer = SampleLayer("of an image")
        let config = Array("{}".utf8)
        let blobs = MemorySource([layer.stored, config])
        try await images.put(layer.descriptor, from: blobs)
        try await images.put(Descriptor(of: config, mediaType: .ociConfig), from: blobs)
        try await images.publish(document, as: tag)
        images.close()
    }

    private static let image = ImageManifest(
        mediaType: .ociManifest, config: Descriptor(of: Array("{}".utf8), mediaType: .ociConfig),
        layers: [SampleLayer("of an image").descriptor]
    ).encode()
    private static let index = RawDocument(
        mediaType: .ociIndex, bytes: Array(#"{"schemaVersion":2,"manifests":[]}"#.utf8))
    private static let chart = ImageManifest(
        mediaType: .ociManifest,
        config: Descriptor(of: Array("{}".utf8), mediaType: "application/vnd.cncf.helm.config.v1+json"),
        layers: [SampleLayer("of an image").descriptor]
    ).encode()
    private static let other = RawDocument(mediaType: "application/octet-stream", bytes: Array("not json".utf8))

    private func cache(_ options: ExportOptions, _ scratch: ScratchStore) -> LocalCache {
        LocalCache(
            LocalOptions(dest: folder.layout, tag: "main"), export: options, scratch: scratch,
            layout: OCILayout(path: folder.layout, clock: ImmediateClock()))
    }

    @Test("is refused with the way out, merging or not, and changes nothing", arguments: [image, index, chart, other])
    func refuses(_ document: RawDocument) async throws {
        try await ScratchStore.withTemporary { scratch in
            try await put(document, as: "main")
            let before = folder.snapshot
            for policy in [WritePolicy.replace, .merge] {
                let cache = cache(ExportOptions(writePolicy: policy), scratch)
                let error = await #expect(throws: CacheError.self) { try await cache.export(.diamond()) }
                #expect(error?.code == .occupied)
                #expect(error?.message.contains("replacesOtherContent") == true)
                #expect(folder.snapshot.mapValues(\.first) == before.mapValues(\.first))
            }
        }
    }

    @Test("replaces it if the program says so", arguments: [image, index, chart, other])
    func replaces(_ document: RawDocument) async throws {
        try await ScratchStore.withTemporary { scratch in
            try await put(document, as: "main")
            let cache = cache(ExportOptions(replacesOtherContent: true), scratch)
            try await cache.export(.diamond())
            #expect(try await cache.importCache(progress: .discarded)?.graph == GraphSample.diamond().graph)
        }
    }

    @Test(
        "replaces a cache, a tag whose manifest is gone, and an index that cannot be read",
        arguments: [WritePolicy.replace, .merge])
    func heals(_ policy: WritePolicy) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = cache(ExportOptions(writePolicy: policy), scratch)
            try await cache.export(.chain(of: 1))
            let manifest = try #require(try await OCILayout(path: folder.layout).manifest(.tag("main")))
            try folder.remove("layout/blobs/sha256/" + manifest.digest.hex)
            try await cache.export(.diamond())
            #expect(try await cache.importCache(progress: .discarded)?.graph == GraphSample.diamond().graph)

            try folder.write("{", to: "layout/index.json")
            let receipt = try await cache.export(.diamond())
            #expect(receipt.problems.map(\.code) == [.corrupted])
            #expect(try await cache.importCache(progress: .discarded)?.graph == GraphSample.diamond().graph)
        }
    }
}

@Suite("Images in a directory")
struct LocalImagesTests {
    private let folder: Scratch

    init() throws { folder = try Scratch() }

    @Test("are read from a read-only directory, and a directory that does not exist is said to be so and not made")
    func readOnly() async throws {
        let error = await #expect(throws: CacheError.self) {
            _ = try await LocalImages(path: folder.path + "/singel").resolve("latest")
        }
        #expect(error?.code == .notFound)
        #expect(error?.description.contains("singel") == true)
        #expect(folder.names(in: "") == [])

        let writer = LocalImages(path: folder.layout)
        let document = RawDocument(mediaType: .ociIndex, bytes: Array(#"{"schemaVersion":2,"manifests":[]}"#.utf8))
        try await writer.publish(document, as: "latest")
        writer.close()
        let before = folder.snapshot
        let reader = LocalImages(path: folder.layout)
        let found = try #require(try await reader.resolve("latest"))
        #expect(try await reader.document(found) == document)
        #expect(try await reader.resolve("other") == nil)
        #expect(folder.snapshot == before)
    }
}
