import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheOCI
import BuildCacheSpec
import BuildCacheTesting
import BuildCacheTransfer
import Testing

@Suite("A cache config that stands alone")
struct BareExportTests {
    @Test("gives back the graph that was exported, and the layers' descriptors")
    func roundTrip() async throws {
        let sample = try SampleCache.diamond()
        let (export, store) = try await self.export(sample.graph, sample.source)
        let config = try #require(export.config)
        var cache = try ImportedCache(configs: [("a", config.bytes)], layers: store, limits: CacheConfigLimits())
        try await cache.removeMissing(from: store)
        #expect(cache.graph == sample.graph)
        #expect(cache.parts.first?.manifest == config.descriptor)
        #expect(cache.problems == [])
    }

    @Test("settles with another writer that has a different result of the same step: neither writes for ever")
    func mergesSettle() async throws {
        func step(_ content: String) throws -> (graph: LayerGraph, source: LayerSource) {
            var graph = LayerGraph()
            let layer = SampleLayer(content)
            let root = try graph.addRecord(.record(content: Digest(of: "source".utf8)))
            let result = CacheResult(layer: try graph.addLayer(layer.descriptor), createdAt: .zero)
            try graph.addRecord(
                .record(operation: Digest(of: "step".utf8), output: 0), inputs: [[Link(root)]], results: [result])
            return (graph, LayerSource(blobs: MemorySource([layer.stored])))
        }
        let (one, two) = (try step("one"), try step("two"))
        let (first, _) = try await export(one.graph, one.source)
        let (second, _) = try await export(two.graph, two.source)
        let stored = try #require(first.config).bytes
        let over = try #require(try second.config(mergedWith: stored)).bytes
        #expect(over != stored)
        // The first one looks again and finds that nothing of it is missing, though the step has another layer now.
        #expect(try first.config(mergedWith: over, isNewer: true)?.bytes == over)
        #expect(try second.config(mergedWith: over, isNewer: true)?.bytes == over)
    }

    @Test("says what each name leads to")
    func names() async throws {
        let sample = try SampleCache.diamond()
        var (export, _) = try await self.export(sample.graph, sample.source)
        let log = ProgressLog()
        export.published(as: "a", log.sink)
        let config = try #require(export.config)
        #expect(export.receipt.published == ["a": config.descriptor])
        #expect(log.events == [.published(name: "a", config.digest)])
    }

    @Test("is not written without layers")
    func withoutLayers() async throws {
        let (export, _) = try await self.export(try SampleCache.withoutLayers().graph, SampleCache.diamond().source)
        #expect(export.config == nil)
        #expect(export.receipt.problems.count == 1)
    }

    @Test("finds out the diffID of a layer that nobody noted")
    func diffIDs() async throws {
        let layers = [SampleLayer("a"), SampleLayer("b", isCompressed: false)]
        let (export, _) = try await self.export(
            try undescribed(layers), LayerSource(blobs: MemorySource(layers.map(\.stored))))
        let config = try #require(export.config)
        let cache = try ImportedCache(
            configs: [("a", config.bytes)], layers: MemoryStore(), limits: CacheConfigLimits())
        for layer in layers {
            #expect(
                cache.graph.descriptors[layer.descriptor.digest]?.diffID == layer.descriptor.diffID)
        }
        #expect(export.receipt.problems == [])
    }

    @Test("counts bytes up to the largest number, whatever sizes a stranger's cache states")
    func absurdSizes() async throws {
        var graph = LayerGraph()
        let root = try graph.addRecord(.record(content: Digest(of: "root".utf8)))
        for name in ["a", "b"] {
            let digest = Digest(of: name.utf8)
            let layer = Descriptor(
                mediaType: .layer(.gzip), digest: digest, size: .max,
                annotations: [Annotation.uncompressed: digest.description])
            let result = CacheResult(layer: try graph.addLayer(layer), createdAt: Timestamp.zero)
            try graph.addRecord(
                .record(operation: digest, output: 0), inputs: [[Link(root)]], results: [result])
        }
        let exported = graph
        // As if the store had both layers, so that nobody reads them.
        let export = try await ScratchStore.withTemporary { scratch in
            try await BareExport(
                exported, from: LayerSource(blobs: MemorySource([])), options: ExportOptions(mode: .max),
                scratch: scratch, limits: CacheConfigLimits(), limit: 1, progress: .discarded
            ) { _, _ in .alreadyPresent }
        }
        #expect(export.receipt.bytesSaved == .max)
        #expect(export.receipt.bytesWritten == 0)
    }

    @Test("leaves out a layer whose diffID nobody noted and nobody can find out")
    func lostDiffID() async throws {
        let layers = [SampleLayer("a"), SampleLayer("b")]
        let source = LayerSource(blobs: MemorySource([layers[0].stored]))
        // As if the store had both layers, so that nobody reads them.
        let export = try await ScratchStore.withTemporary { scratch in
            try await BareExport(
                try undescribed(layers), from: source, options: ExportOptions(mode: .max), scratch: scratch,
                limits: CacheConfigLimits(), limit: 1, progress: .discarded
            ) { _, _ in .alreadyPresent }
        }
        let config = try #require(export.config)
        let cache = try ImportedCache(
            configs: [("a", config.bytes)], layers: MemoryStore(), limits: CacheConfigLimits())
        #expect(cache.graph.descriptors.keys.map { $0 } == [layers[0].descriptor.digest])
        #expect(cache.graph.recordCount == 3)
        #expect(export.receipt.problems.count == 1)
    }

    @Test("fails when the store says that it damaged a layer: the layer is not to blame")
    func damagingStore() async throws {
        let sample = try SampleCache.diamond()
        let error = await #expect(throws: CacheError.self) {
            try await ScratchStore.withTemporary { scratch in
                try await BareExport(
                    sample.graph, from: sample.source, options: ExportOptions(mode: .max), scratch: scratch,
                    limits: CacheConfigLimits(), limit: 2, progress: .discarded
                ) { _, _ in throw CacheError(.corrupted, "something else was stored") }
            }
        }
        #expect(error?.message == "something else was stored")
    }

    @Test("fails when layers cannot be converted because the scratch directory is gone: none of them is lost")
    func withoutScratch() async throws {
        let sample = try SampleCache.diamond()
        let error = await #expect(throws: CacheError.self) {
            try await ScratchStore.withTemporary { scratch in
                await scratch.remove()
                _ = try await BareExport(
                    sample.graph, from: sample.source,
                    options: ExportOptions(mode: .max, compression: CompressionOptions(type: .zstd, force: true)),
                    scratch: scratch, limits: CacheConfigLimits(), limit: 2, progress: .discarded
                ) { _, _ in .written }
            }
        }
        #expect(error?.code == .unavailable)
    }

    @Test("is not written if it could not be read again")
    func tooLarge() async throws {
        let sample = try SampleCache.diamond()
        let error = await #expect(throws: CacheError.self) {
            try await ScratchStore.withTemporary { scratch in
                try await BareExport(
                    sample.graph, from: sample.source, options: ExportOptions(mode: .max), scratch: scratch,
                    limits: CacheConfigLimits(maximumBytes: 1000), limit: 2, progress: .discarded
                ) { _, _ in .written }
            }
        }
        #expect(error?.code == .limitExceeded)
    }

    @Test("goes without a layer that would fill the disk, and says so")
    func bomb() async throws {
        let bomb = SampleLayer(String(repeating: "0", count: 1 << 20))
        let sound = SampleLayer("sound")
        let export = try await ScratchStore.withTemporary { scratch in
            var scratch = scratch
            scratch.decompressionLimit = DecompressionLimit(bytes: 100_000, ratio: 0)
            return try await BareExport(
                try undescribed([bomb, sound]), from: LayerSource(blobs: MemorySource([bomb, sound].map(\.stored))),
                options: ExportOptions(mode: .max, compression: CompressionOptions(type: .zstd, force: true)),
                scratch: scratch, limits: CacheConfigLimits(), limit: 1, progress: .discarded
            ) { _, _ in .written }
        }
        #expect(export.receipt.converted.count == 1)
        #expect(export.receipt.problems.count == 1)
        #expect(export.receipt.problems.first?.message.contains("limit") == true)
    }

    @Test("counts the layers that are gone, and leaves out the results with them")
    func missing() async throws {
        let sample = try SampleCache.diamond()
        let (export, store) = try await self.export(sample.graph, sample.source)
        let victim = sample.layers[1].descriptor.digest
        store.remove(victim)
        var cache = try ImportedCache(
            configs: [("a", try #require(export.config).bytes)], layers: store, limits: CacheConfigLimits())
        try await cache.removeMissing(from: store)
        #expect(cache.graph == sample.graph.removingResults { $0.content == .blob(victim) })
        #expect(cache.problems.count == 1)
        #expect(cache.problems.first?.kind == .lostLayer)
        #expect(cache.problems.first?.subject == victim.description)
    }

    @Test("is one of several, of which a broken one costs only itself")
    func several() async throws {
        let first = try SampleCache.diamond("first")
        let second = try SampleCache.diamond("second")
        var configs: [(name: String, bytes: [UInt8])] = []
        for sample in [first, second] {
            configs.append((sample.layers[0].descriptor.digest.hex, try sample.graph.encodeConfig(.annotated).bytes))
        }
        configs.append(("broken", Array("{\"layers\":1".utf8)))
        let cache = try ImportedCache(configs: configs, layers: MemoryStore(), limits: CacheConfigLimits())
        #expect(cache.parts.map(\.graph) == [first.graph, second.graph])
        #expect(cache.problems.count == 1)
        #expect(cache.problems.first?.message.contains("broken") == true)
        let error = #expect(throws: CacheError.self) {
            try ImportedCache(configs: [configs[2]], layers: MemoryStore(), limits: CacheConfigLimits())
        }
        #expect(error?.code == .corrupted)
        #expect(error?.context.subject == "broken")
    }

    @Test("ends where its JSON does")
    func trailing() throws {
        let config = try SampleCache.diamond().graph.encodeConfig(.annotated).bytes
        let error = #expect(throws: CacheError.self) {
            try ImportedCache(
                configs: [("a", config + Array("{}".utf8))], layers: MemoryStore(), limits: CacheConfigLimits())
        }
        #expect(error?.code == .corrupted)
    }

    // MARK: Arranging

    /// Exports into a store in memory.
    private func export(
        _ graph: LayerGraph, _ source: LayerSource
    ) async throws -> (BareExport, MemoryStore) {
        let store = MemoryStore()
        let export = try await ScratchStore.withTemporary { scratch in
            try await BareExport(
                graph, from: source, options: ExportOptions(mode: .max), scratch: scratch,
                limits: CacheConfigLimits(), limit: 2, progress: .discarded
            ) { descriptor, blob in try await store.put(descriptor, from: blob) }
        }
        return (export, store)
    }

    /// A record for each layer, whose descriptor says nothing of what is in it.
    private func undescribed(_ layers: [SampleLayer]) throws -> LayerGraph {
        var graph = LayerGraph()
        let root = try graph.addRecord(.record(content: Digest(of: "root".utf8)))
        for layer in layers {
            var descriptor = layer.descriptor
            descriptor.annotations[Annotation.uncompressed] = nil
            let id = try graph.addLayer(descriptor, on: nil)
            try graph.addRecord(
                .record(operation: descriptor.digest, output: 0), inputs: [[Link(root)]],
                results: [CacheResult(layer: id, createdAt: .now())])
        }
        return graph
    }
}
