import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheOCI
import BuildCacheTesting
import BuildCacheClient
import Testing

@Suite("An imported cache")
struct CacheImportTests {
    private static let layer = SampleLayer("a")

    private static func blob(_ type: MediaType, _ text: String) -> RawDocument {
        RawDocument(mediaType: type, bytes: Array(text.utf8))
    }

    /// The blobs of an image with a cache of one record and one result inside, its manifest last.
    private static func image() throws -> [RawDocument] {
        var graph = LayerGraph()
        let top = try graph.addLayer(layer.descriptor)
        let root = try graph.addRecord(.record(content: Digest(of: "source".utf8)))
        let result = CacheResult(layer: top, createdAt: Timestamp.zero)
        try graph.addRecord(
            .record(operation: Digest(of: "step".utf8), output: 0), inputs: [[Link(root)]], results: [result])
        let records = try graph.encodeInlineCache(image: [layer.descriptor])
        let config = #"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["\#(Digest(of: layer.tar))"]}}"#
        let bytes = try ImageConfig.settingInlineCache(records, in: Array(config.utf8))
        let document = RawDocument(mediaType: .ociConfig, bytes: bytes)
        return [document, ImageManifest(config: document.descriptor, layers: [layer.descriptor]).encode()]
    }

    private static func entry(_ descriptor: Descriptor) -> String { entry("\(descriptor.digest)", descriptor.size) }
    private static func entry(_ digest: String, _ size: Int64) -> String {
        #"{"mediaType":"\#(MediaType.ociManifest)","digest":"\#(digest)","size":\#(size)}"#
    }

    private static func cache(
        of manifest: RawDocument, _ blobs: [RawDocument], limits: CacheConfigLimits = CacheConfigLimits()
    ) async throws -> ImportedCache {
        let source = MemorySource((blobs + [manifest]).map(\.bytes))
        return try await ImportedCache(manifest: manifest.descriptor, from: source, layers: source, limits: limits)
    }

    static let unusable = [
        entry("sha512:" + String(repeating: "ab", count: 64), 9), entry("sha256:zz", 9), entry("md5:0", 9), "null", "7",
        entry("\(Digest(of: "gone".utf8))", -1), entry("\(Digest(of: "gone".utf8))", 9),
        entry("\(Digest(of: "large".utf8))", 65 << 20), entry("\(Digest(of: "absurd".utf8))", 1 << 62),
    ]

    @Test("of an index has the caches of all images but of the entry that cannot be used", arguments: unusable)
    func leavesOneEntryOut(_ entry: String) async throws {
        let image = try Self.image()
        let good = Self.entry(try #require(image.last).descriptor)
        for entries in [[good, entry], [entry, good]] {
            let index = Self.blob(.ociIndex, #"{"manifests":[\#(entries.joined(separator: ","))]}"#)
            let cache = try await Self.cache(of: index, image)
            #expect(cache.parts.count == 1)
            #expect(cache.graph.recordCount == 2)
            #expect(cache.problems.count == 1)
            // The same one index further down.
            let outer = Self.blob(.ociIndex, #"{"manifests":[\#(Self.entry(index.descriptor))]}"#)
            let nested = try await Self.cache(of: outer, image + [index])
            #expect(nested.parts.count == 1)
            #expect(nested.problems.count == 1)
        }
    }

    static let useless = [
        blob(.ociManifest, "<xml/>"), blob(.ociManifest, #"{"layers":[{"digest":"sha512:ab"}]}"#),
        blob(.ociManifest, #"{"config":{"digest":"sha512:\#(String(repeating: "ab", count: 64))"},"layers":[]}"#),
    ]

    @Test("of an index has the caches of all images but of the one that cannot be read", arguments: useless)
    func leavesOneImageOut(_ other: RawDocument) async throws {
        let image = try Self.image()
        let entries = [other.descriptor, try #require(image.last).descriptor].map(Self.entry).joined(separator: ",")
        let index = Self.blob(.ociIndex, #"{"manifests":[\#(entries)]}"#)
        let cache = try await Self.cache(of: index, image + [other])
        #expect(cache.parts.count == 1)
        #expect(cache.problems.count == 1)
    }

    @Test("of an index is read up to the limit for one config, all images together")
    func limitsAllImages() async throws {
        let image = try Self.image()
        let bytes = image.reduce(0) { $0 + $1.bytes.count }
        let padding = String(repeating: " ", count: bytes)
        let other = Self.blob(.ociManifest, #"{"layers":[]}"# + padding)
        for (first, second, parts) in [(image[1], other, 1), (other, image[1], 0)] {
            let entries = [first, second].map { Self.entry($0.descriptor) }.joined(separator: ",")
            let index = Self.blob(.ociIndex, #"{"manifests":[\#(entries)]}"#)
            let limits = CacheConfigLimits(maximumBytes: Int64(bytes + 100))
            let cache = try await Self.cache(of: index, image + [other], limits: limits)
            #expect(cache.parts.count == parts)
            #expect(cache.problems.count == 1)
        }
    }

    @Test("loses the results of a layer whose descriptor cannot be used, with a warning, and keeps the others")
    func leavesOneLayerOut() async throws {
        let (a, b) = (Self.layer, SampleLayer("b"))
        let config = Self.blob(
            .cacheConfig,
            #"""
            {"layers":[{"blob":"\#(a.descriptor.digest)","parent":-1},{"blob":"\#(b.descriptor.digest)","parent":-1}],
             "records":[{"digest":"\#(Digest(of: "1".utf8))","layers":[{"layer":0}]},
              {"digest":"\#(Digest(of: "2".utf8))","layers":[{"layer":1}]}]}
            """#)
        let layers = [Self.entry(a.descriptor), Self.entry("\(b.descriptor.digest)", -5)].joined(separator: ",")
        let manifest = Self.blob(
            .ociManifest,
            #"""
            {"config":{"mediaType":"\#(MediaType.cacheConfig)","digest":"\#(config.digest)","size":\#(config.bytes.count)},
             "layers":[\#(layers)]}
            """#)
        let cache = try await Self.cache(of: manifest, [config])
        #expect(try cache.graph.recordIDs.map { try cache.graph[$0].results.count } == [1, 0])
        #expect(cache.problems.count == 1)
    }
}
