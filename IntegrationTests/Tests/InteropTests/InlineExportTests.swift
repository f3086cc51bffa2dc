@testable import BuildCacheClient
@testable import BuildCache
import Foundation
@testable import TestTools
import Testing

@Suite("An image with a cache inside", .fewAtOnce)
struct InlineExportTests {
    private static let images = Fixture.all.filter(\.isInline)
    /// Those whose build also went to a cache of its own: the same layers in both.
    private static let imagesAndCaches = images.flatMap { image in
        Fixture.standalone.filter { $0.folder == image.folder && $0.mode == .min && image.name.hasSuffix("/inline") }
            .map { (image, $0) }
    }

    @Test("gets the records that BuildKit wrote, from the records that were in it", arguments: images)
    func fromItself(_ fixture: Fixture) async throws {
        try await ScratchStore.withTemporary { scratch in
            for part in try await importCache(fixture, scratch: scratch).parts {
                let image = try Image(part.manifest, of: fixture)
                #expect(try text(part.graph.encodeInlineCache(image: image.layers)) == text(image.config.inlineCache))
            }
        }
    }

    @Test("gets the records that BuildKit wrote, from the other cache of its build", arguments: imagesAndCaches)
    func fromAnother(_ fixture: Fixture, _ other: Fixture) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = try await importCache(other, scratch: scratch)
            for part in try await importCache(fixture, scratch: scratch).parts {
                let image = try Image(part.manifest, of: fixture)
                var diffIDs: [Digest: DiffID] = [:]
                for (layer, diffID) in try await cache.blobs.diffIDs(
                    of: cache.graph.layersToCompare(withImage: image.layers), limit: DecompressionLimit())
                {
                    diffIDs[layer.digest] = try diffID.get()
                }
                let written = try cache.graph.encodeInlineCache(image: image.layers, diffIDs: diffIDs)
                if other.compression == .estargz {
                    // Its table of contents makes it another tar: none of the image's layers.
                    #expect(written == nil)
                } else if fixture.folder == "03-link-merge" {
                    // Two of its records have one digest, and BuildKit leaves their order to chance.
                    let graph = try LayerGraph(decodingConfig: try #require(written), layers: .image(image.layers))
                    #expect(graph == part.graph)
                } else {
                    #expect(text(written) == text(image.config.inlineCache))
                }
            }
        }
    }

    @Test("has BuildKit's own config when what BuildKit put in is taken out and put in again", arguments: images)
    func embeds(_ fixture: Fixture) async throws {
        try await ScratchStore.withTemporary { scratch in
            let cache = try await importCache(fixture, scratch: scratch)
            for part in cache.parts {
                let image = try Image(part.manifest, of: fixture)
                let source = LayerSource(blobs: cache.blobs, images: [try image.withoutCache()])
                let backend = try CacheSpec.parse("type=inline", for: .export)[0].makeExporter(
                    scratch: scratch)
                let receipt = try await backend.exportCache(part.graph, from: source, progress: .discarded)
                let embedded = try #require(receipt.images.first)
                #expect(embedded.config.bytes == image.configBytes)
                #expect(embedded.config.descriptor == image.manifest.config)
                #expect(embedded.manifest.bytes == image.manifest.encode().bytes)
                #expect(embedded.convertedLayers == [])
            }
        }
    }

    @Test(
        "reads the same when its layers were converted on the way", arguments: images,
        [Compression.zstd, .uncompressed])
    func converts(_ fixture: Fixture, compression: Compression) async throws {
        let directory = try TemporaryDirectory()
        try await ScratchStore.withTemporary { scratch in
            let cache = try await importCache(fixture, scratch: scratch)
            let layout = OCILayout(path: directory.path)
            for part in cache.parts {
                let image = try Image(part.manifest, of: fixture)
                let options = CompressionOptions(type: compression, force: true)
                let source = LayerSource(blobs: cache.blobs, images: [image.documents])
                let receipt = try await InlineCache(compression: options, scratch: scratch)
                    .exportCache(part.graph, from: source, progress: .discarded)
                let embedded = try #require(receipt.images.first)
                for layer in embedded.convertedLayers { try await layout.put(layer, from: embedded.blobs) }
                try await layout.put(embedded.config.descriptor, from: DocumentSource(embedded.config))
                try await layout.put(embedded.manifest.descriptor, from: DocumentSource(embedded.manifest))
                let copy = try await importCache(
                    directory.path, digest: embedded.manifest.digest, scratch: scratch)
                #expect(try copy.graph.withDiffIDs() == part.graph.withDiffIDs())
            }
        }
    }

    @Test("is replaced by one with the cache of another build inside, whole index and all", arguments: images)
    func embedsInPlace(_ fixture: Fixture) async throws {
        let directory = try TemporaryDirectory()
        try FileManager.default.copyItem(atPath: fixture.path, toPath: directory.path + "/image")
        try await ScratchStore.withTemporary { scratch in
            let cache = try await importCache(fixture, scratch: scratch)
            let name = fixture.isTaggedLatest ? "latest" : try #require(fixture.expected.caches[0].manifestDigest)
            let spec = try CacheSpec.parse("type=local,src=\(directory.path)/image", for: .import)[0]
            let (store, _) = try await spec.openImages()
            // First without any cache, then with its own again.
            try await InlineCache(scratch: scratch).embed(LayerGraph(), into: name, as: "bare", in: store)
            let options = LocalOptions(src: directory.path + "/image", tag: "bare")
            let empty = try await LocalCache(options, scratch: scratch).importCache(progress: .discarded)
            #expect(try #require(empty).parts.isEmpty)

            let receipt = try await InlineCache(scratch: scratch).embed(
                cache.graph, into: "bare", as: "full", in: store)
            #expect(receipt.images.count == fixture.expected.caches.count)
            let full = LocalOptions(src: directory.path + "/image", tag: "full")
            let copy = try #require(try await LocalCache(full, scratch: scratch).importCache(progress: .discarded))
            #expect(copy.graph == cache.graph)
        }
    }

    @Test("is refused where it is none")
    func refusesOthers() async throws {
        try await ScratchStore.withTemporary { scratch in
            let backend = InlineCache(scratch: scratch)
            func code(_ images: [ImageDocuments]) async -> CacheError.Code? {
                let error = await #expect(throws: CacheError.self) {
                    try await backend.exportCache(
                        LayerGraph(), from: LayerSource(blobs: NoBlobs(), images: images), progress: .discarded)
                }
                return error?.code
            }
            #expect(await code([]) == .invalidSpec)
            #expect(await code([ImageDocuments(manifest: [], config: [])]) == .corrupted)
            let config = RawDocument(mediaType: .ociConfig, bytes: Array(#"{"rootfs":{"diff_ids":[]}}"#.utf8))
            let manifest = ImageManifest(config: config.descriptor, layers: []).encode()
            #expect(await code([ImageDocuments(manifest: manifest.bytes, config: Array("{}".utf8))]) == .corrupted)
            // That of an image, and no result fits: it stays as it is.
            let documents = ImageDocuments(manifest: manifest.bytes, config: config.bytes)
            let receipt = try await backend.exportCache(
                LayerGraph(), from: LayerSource(blobs: NoBlobs(), images: [documents]), progress: .discarded)
            #expect(receipt.problems.count == 1)
            #expect(receipt.images.first?.manifest.bytes == manifest.bytes)
            #expect(receipt.images.first?.config.bytes == config.bytes)
        }
    }

    private func text(_ json: [UInt8]?) -> String? { json.map { String(decoding: $0, as: UTF8.self) } }
}

/// An image of a fixture.
private struct Image {
    let manifest: ImageManifest
    let configBytes: [UInt8]
    let config: ImageConfig
    /// With their diffIDs.
    let layers: [Descriptor]

    init(_ descriptor: Descriptor?, of fixture: Fixture) throws {
        let manifest = try fixture.blob(try #require(descriptor).digest)
        guard case .image(let image) = try Document(decoding: manifest) else { throw NoImage() }
        self.manifest = image
        configBytes = try fixture.blob(try #require(image.config).digest)
        config = try ImageConfig(decoding: configBytes)
        layers = try #require(config.cacheLayers(of: image))
    }

    var documents: ImageDocuments { ImageDocuments(manifest: manifest.encode().bytes, config: configBytes) }

    /// The image as it was before BuildKit put the cache in.
    func withoutCache() throws -> ImageDocuments {
        let bytes = try ImageConfig.settingInlineCache(nil, in: configBytes)
        var manifest = manifest
        let mediaType = try #require(manifest.config).mediaType
        manifest.config = RawDocument(mediaType: mediaType, bytes: bytes).descriptor
        return ImageDocuments(manifest: manifest.encode().bytes, config: bytes)
    }

    struct NoImage: Error {}
}

/// Has nothing.
private struct NoBlobs: BlobSource {
    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        throw CacheError(.notFound, "there are no blobs")
    }
}

extension Fixture {
    fileprivate func blob(_ digest: Digest) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(path)/blobs/sha256/\(digest.hex)")))
    }
}
