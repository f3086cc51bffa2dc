import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheGraph
import BuildCacheOCI
import BuildCacheTesting
import Foundation
import NIOCore
import TestTools
import Testing

@Suite("An image")
struct ImageTests {
    private let folder: Scratch
    private var images: LocalImages { LocalImages(path: folder.layout) }

    init() throws {
        folder = try Scratch()
        let fixture = FixtureArchive.buildkit.appending(path: "06-platforms/inline").path
        try FileManager.default.copyItem(atPath: fixture, toPath: folder.layout)
    }

    private static let tar = SampleLayer("a file", isCompressed: false).tar

    /// A compressed layer of a small tar, with a time.
    private func layer(
        _ scratch: ScratchStore, _ type: Compression = .gzip, at time: Timestamp? = nil
    ) async throws -> StoredLayer {
        try await scratch.layer(createdAt: time, compression: CompressionOptions(type: type)) {
            BlobStream(ImageTests.tar)
        }
    }

    @Test("of an index is the one for the platform", arguments: ["amd64", "arm64"])
    func platform(_ architecture: String) async throws {
        let image = try await images.image("latest", platform: Platform(os: "linux", architecture: architecture))
        #expect(image.config.platform.architecture == architecture)
        #expect(image.layers.count == image.config.diffIDs.count && !image.layers.isEmpty)
        #expect(image.layers.map(\.diffID) == image.config.diffIDs)
        #expect(image.layers.map(\.digest) == image.manifest.layers.map(\.digest))
        #expect(Digest(of: image.documents.manifest) == image.descriptor.digest)
        for layer in image.layers { for try await _ in try await image.blobs.openTar(of: layer) {} }
        // Its own digest leads to it, whatever the platform.
        let same = try await images.image("\(image.descriptor.digest)")
        #expect(same.descriptor.digest == image.descriptor.digest)
    }

    @Test("for this machine is the default, and for one that the index lacks an error that names the others")
    func defaultPlatform() async throws {
        if ["amd64", "arm64"].contains(Platform.current.architecture) {
            let image = try await images.image("latest")
            #expect(image.config.platform.architecture == Platform.current.architecture)
        }
        let error = await #expect(throws: CacheError.self) {
            try await images.image("latest", platform: Platform(os: "linux", architecture: "s390x"))
        }
        #expect(error?.code == .notFound)
        #expect(error?.message.contains("linux/amd64, linux/arm64") == true)
        let missing = await #expect(throws: CacheError.self) { try await images.image("nope") }
        #expect(missing?.code == .notFound && missing?.context.subject == "nope")
    }

    @Test("that is not in an index must be for the platform that is asked for, if one is")
    func single() async throws {
        let arm = try await images.image("latest", platform: Platform(os: "linux", architecture: "arm64"))
        let name = "\(arm.descriptor.digest)"
        #expect(
            try await images.image(name, platform: Platform(os: "linux", architecture: "aarch64")).layers == arm.layers)
        await #expect(throws: CacheError.self) {
            try await images.image(name, platform: Platform(os: "linux", architecture: "amd64"))
        }
    }

    @Test("is chosen by the variant that fits best, in nested indexes and without a platform in the entry, too")
    func variants() async throws {
        var digests: [String: Digest] = [:]
        func publish(_ variant: String?) async throws -> Descriptor {
            let config = ImageConfig(platform: Platform(os: "linux", architecture: "arm", variant: variant))
            let document = RawDocument(mediaType: .ociConfig, bytes: try config.encode())
            try await images.put(document)
            let manifest = ImageManifest(config: document.descriptor, layers: []).encode()
            try await images.publish(manifest, as: nil)
            digests[variant ?? ""] = manifest.digest
            return manifest.descriptor
        }
        var entries: [Descriptor] = []
        for variant in ["v5", "v7", "v6"] {
            // Older builders leave the variant out of the config.
            var entry = try await publish(variant == "v5" ? nil : variant)
            entry.platform = Platform(os: "linux", architecture: "arm", variant: variant)
            entries.append(entry)
        }
        let inner = ImageIndex(manifests: [try await publish("v8")]).encode()
        try await images.publish(inner, as: nil)
        let index = ImageIndex(manifests: entries + [inner.descriptor]).encode()
        try await images.publish(index, as: "arm")
        for (wanted, expected) in [("v5", ""), ("v6", "v6"), (nil, "v7"), ("7", "v7"), ("v8", "v7")]
            as [(String?, String)]
        {
            let platform = Platform(os: "linux", architecture: "arm", variant: wanted)
            let image = try await images.image("arm", platform: platform)
            #expect(image.descriptor.digest == digests[expected], "\(platform)")
        }
        try await images.publish(inner, as: "inner")
        let nested = try await images.image(
            "inner", platform: Platform(os: "linux", architecture: "arm", variant: "v8"))
        #expect(nested.descriptor.digest == digests["v8"])
        await #expect(throws: CacheError.self) {
            try await images.image("arm", platform: Platform(os: "linux", architecture: "arm", variant: "v4"))
        }
        #expect(index.digest != inner.digest)
    }

    @Test("with a layer more is published whole, and keeps the rest of its config", arguments: Compression.allCases)
    func appending(_ type: Compression) async throws {
        try await ScratchStore.withTemporary { scratch in
            let base = try await images.image("latest", platform: Platform(os: "linux", architecture: "amd64"))
            let time = try Timestamp("2026-05-06T07:08:09Z")
            let layer = try await layer(scratch, type, at: time)
            #expect(layer.descriptor.diffID != nil)
            let image = try base.appending(layer, createdBy: "COPY a /")
            #expect(image.layers.dropLast() == base.layers[...])
            #expect(image.layers.last?.diffID == layer.descriptor.diffID)
            #expect(image.layers.last?.createdAt == time)
            #expect(image.config.created == time)
            #expect(image.config.history.last == ImageConfig.History(created: time, createdBy: "COPY a /"))
            #expect(image.config.inlineCache == base.config.inlineCache)
            let isDocker = image.manifest.mediaType == .dockerManifest
            #expect(image.manifest.layers.last?.mediaType == .layer(type, docker: isDocker))
            #expect(image.manifest.layers.last?.annotations[Annotation.uncompressed] == nil)

            // Into another layout: base layers go along.
            let other = LocalImages(path: folder.path + "/other")
            let log = ProgressLog()
            let root = try await other.publish(image, as: "app", progress: log.sink)
            #expect(root == image.descriptor)
            let read = try await other.image("app")
            #expect(read.documents == image.documents)
            for layer in read.layers { for try await _ in try await other.openTar(of: layer) {} }
            #expect(log.events.contains(.published(name: "app", root.digest)))
            #expect(log.events.count { if case .finished = $0 { true } else { false } } == image.layers.count)
            // Again: nothing is read.
            let again = ProgressLog()
            try await other.publish(image, as: "app", progress: again.sink)
            #expect(!again.events.contains { if case .started = $0 { true } else { false } })
            // Into the layout of the base, twice.
            let twice = try image.appending(try await self.layer(scratch, .uncompressed))
            try await images.publish(twice, as: "twice")
            #expect(try await images.image("twice").layers.count == base.layers.count + 2)
        }
    }

    @Test("with a layer more has its base's layers in a cache, and takes an inline cache")
    func inline() async throws {
        try await ScratchStore.withTemporary { scratch in
            let base = try await images.image("latest", platform: Platform(os: "linux", architecture: "amd64"))
            let layer = try await layer(scratch, at: .zero)
            var graph = LayerGraph()
            var top: LayerID?
            for known in base.layers + [layer.descriptor] { top = try graph.addLayer(known, on: top) }
            let root = try graph.addRecord(.record(content: Digest(of: "source".utf8)))
            let result = CacheResult(layer: try #require(top), createdAt: .zero)
            try graph.addRecord(
                .record(operation: Digest(of: "step".utf8), output: 0), inputs: [[Link(root)]], results: [result])
            try await images.publish(base.appending(layer, createdBy: "step"), as: "app")
            try await InlineCache(scratch: scratch).embed(graph, into: "app", in: images)
            let cache = try LocalCache(LocalOptions(src: folder.layout, tag: "app"), scratch: scratch)
            let known = try #require(try await cache.importCache(progress: .discarded))
            #expect(known.graph.recordCount == 2)
            #expect(known.graph.descriptors.count == base.layers.count + 1)
            #expect(try await cache.verify(.everyByte).isSound)
        }
    }

    @Test("with a history that lacks steps gets them before one more is added")
    func shortHistory() async throws {
        try await ScratchStore.withTemporary { scratch in
            var config = ImageConfig(platform: .current)
            let first = try await layer(scratch, .uncompressed)
            config.diffIDs = [try #require(first.descriptor.diffID)]
            let bytes = try config.encode()
            let document = RawDocument(mediaType: .dockerConfig, bytes: bytes)
            let manifest = ImageManifest(
                mediaType: .dockerManifest, config: document.descriptor, layers: [first.descriptor]
            ).encode()
            let image = try Image(ImageDocuments(manifest: manifest.bytes, config: bytes), blobs: first.source)
            let longer = try image.appending(try await layer(scratch, .zstd), createdBy: "second")
            #expect(longer.config.history.map(\.createdBy) == ["unknown", "second"])
            #expect(longer.manifest.layers[1].mediaType == .layer(.zstd, docker: true))
            #expect(longer.layers[1].annotations[Annotation.description] == "second")
        }
    }

    @Test("refuses a layer without a diffID, documents of two images, and a cache in its place")
    func refusals() async throws {
        try await ScratchStore.withTemporary { scratch in
            let base = try await images.image("latest", platform: Platform(os: "linux", architecture: "amd64"))
            let other = try await images.image("latest", platform: Platform(os: "linux", architecture: "arm64"))
            var layer = try await layer(scratch)
            layer.descriptor.annotations = [:]
            let error = #expect(throws: CacheError.self) { try base.appending(layer) }
            #expect(error?.code == .invalidSpec)
            let mixed = ImageDocuments(manifest: base.documents.manifest, config: other.documents.config)
            #expect(throws: CacheError.self) { try Image(mixed, blobs: images) }

            try await folder.cache("cache", scratch).export(try .diamond())
            let cache = await #expect(throws: CacheError.self) { try await images.image("cache") }
            #expect(cache?.code == .corrupted)
        }
    }

    @Test("keeps its name if a layer cannot be stored")
    func publishesLast() async throws {
        try await ScratchStore.withTemporary { scratch in
            let base = try await images.image("latest", platform: Platform(os: "linux", architecture: "amd64"))
            let before = folder.bytes(of: "layout/index.json")
            var lost = try await layer(scratch)
            lost.source = MemorySource([])
            await #expect(throws: (any Error).self) {
                try await images.publish(base.appending(lost), as: "latest")
            }
            #expect(folder.bytes(of: "layout/index.json") == before)
        }
    }
}

@Suite("A stream")
struct StreamDigestTests {
    @Test("is hashed to its end, and verified as a descriptor")
    func hash() async throws {
        let bytes = [UInt8](repeating: 7, count: 3_000_000)
        #expect(try await Digest(of: BlobStream(bytes)) == Digest(of: bytes))
        let descriptor = Descriptor(mediaType: "", digest: Digest(of: bytes), size: Int64(bytes.count))
        for try await _ in BlobStream(bytes).verified(as: descriptor) {}
        let error = await #expect(throws: CacheError.self) {
            for try await _ in BlobStream(Array(bytes.dropLast())).verified(as: descriptor) {}
        }
        #expect(error?.code == .corrupted)
    }
}
