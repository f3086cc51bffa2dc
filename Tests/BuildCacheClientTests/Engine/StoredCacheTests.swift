import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheOCI
import BuildCacheTesting
import BuildCacheClient
import Synchronization
import Testing

@Suite("A cache over a store of configs")
struct StoredCacheTests {
    @Test("gives back the graph that was exported, and the layers' descriptors")
    func roundTrip() async throws {
        let sample = try SampleCache.diamond()
        try await withCache { cache in
            let receipt = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            let stored = try #require(try await cache.importCache(progress: .discarded))
            #expect(stored.graph == sample.graph)
            #expect(stored.parts.first?.manifest == receipt.published["a"])
            #expect(stored.problems == [])
        }
    }

    @Test("settles with another writer that has a different result of the same step: neither writes for ever")
    func mergesSettle() async throws {
        func step(_ content: String) throws -> CacheDraft {
            var graph = LayerGraph()
            let layer = SampleLayer(content)
            let root = try graph.addRecord(.record(content: Digest(of: "source".utf8)))
            let result = CacheResult(layer: try graph.addLayer(layer.descriptor), createdAt: .zero)
            try graph.addRecord(
                .record(operation: Digest(of: "step".utf8), output: 0), inputs: [[Link(root)]], results: [result])
            return CacheDraft(
                graph, form: .config, export: ExportOptions(writePolicy: .merge), limits: CacheConfigLimits())
        }
        func found(_ config: RawDocument) -> NamedDocument { NamedDocument(name: "a", content: .document(config)) }
        let (first, second) = (try step("one"), try step("two"))
        let store = MemoryStore()
        let stored = try first.documents().config
        let over = try #require(try await second.documents(over: found(stored), in: store)).config
        #expect(over != stored)
        // The first one looks again and finds that nothing of it is missing, though the step has another layer now.
        for draft in [first, second] {
            #expect(try await draft.documents(over: found(over), in: store, isCurrentNewer: true) == nil)
        }
    }

    @Test("says what each name leads to, and tells it last")
    func names() async throws {
        let sample = try SampleCache.diamond()
        try await withCache { cache in
            let log = ProgressLog()
            let receipt = try await cache.exportCache(sample.graph, from: sample.source, progress: log.sink)
            let config = try #require(receipt.published["a"])
            #expect(receipt.published == ["a": config])
            #expect(log.events.last == .published(name: "a", config.digest))
        }
    }

    @Test("is not written without layers")
    func withoutLayers() async throws {
        try await withCache { cache in
            let receipt = try await cache.exportCache(
                SampleCache.withoutLayers().graph, from: SampleCache.diamond().source, progress: .discarded)
            #expect(receipt.published == [:])
            #expect(receipt.problems.map(\.kind) == [.nothingToExport])
            #expect(try await cache.importCache(progress: .discarded) == nil)
        }
    }

    @Test("finds out the diffID of a layer whose descriptor has none")
    func diffIDs() async throws {
        let layers = [SampleLayer("a"), SampleLayer("b", isCompressed: false)]
        try await withCache { cache in
            let receipt = try await cache.exportCache(
                undescribed(layers), from: LayerSource(blobs: MemorySource(layers.map(\.stored))), progress: .discarded)
            let graph = try #require(try await cache.importCache(progress: .discarded)).graph
            for layer in layers {
                #expect(graph.descriptors[layer.descriptor.digest]?.diffID == layer.descriptor.diffID)
            }
            #expect(receipt.problems == [])
        }
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
        try await withCache { cache in
            // The store has both layers, so that they are not read.
            var cache = cache
            cache.presence = .current
            let receipt = try await cache.exportCache(
                exported, from: LayerSource(blobs: MemorySource([])), progress: .discarded)
            #expect(receipt.bytesSaved == .max)
            #expect(receipt.bytesWritten == 0)
        }
    }

    @Test("leaves out a layer whose diffID is not known and cannot be found out")
    func lostDiffID() async throws {
        let layers = [SampleLayer("a"), SampleLayer("b")]
        let source = LayerSource(blobs: MemorySource([layers[0].stored]))
        try await withCache { cache in
            // The store has both layers, so that they are not read.
            var cache = cache
            cache.presence = .current
            let receipt = try await cache.exportCache(undescribed(layers), from: source, progress: .discarded)
            let graph = try #require(try await cache.importCache(progress: .discarded)).graph
            #expect(graph.descriptors.keys.map { $0 } == [layers[0].descriptor.digest])
            #expect(graph.recordCount == 3)
            #expect(receipt.problems.count == 1)
        }
    }

    @Test("fails when the store says that it damaged a layer: the layer is not to blame")
    func damagingStore() async throws {
        let sample = try SampleCache.diamond()
        try await withCache { cache in
            var cache = cache
            cache.failure = CacheError(.corrupted, "something else was stored")
            let error = await #expect(throws: CacheError.self) {
                _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            }
            #expect(error?.message == "something else was stored")
        }
    }

    @Test("stores a layer again that the store lost after it had taken it, before a name leads there")
    func losingStore() async throws {
        let sample = try SampleCache.diamond()
        let victim = sample.layers[1].descriptor
        try await withCache { cache in
            var cache = cache
            cache.loses = { [store = cache.store] layers in
                store.remove(victim.digest)
                return layers.filter { $0 == victim }
            }
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            #expect(try await cache.importCache(progress: .discarded)?.graph == sample.graph)
        }
    }

    @Test("refreshes a layer that is stale, and stores it if it is gone by then", arguments: [true, false])
    func stale(_ isThere: Bool) async throws {
        let sample = try SampleCache.diamond()
        try await withCache { cache in
            var cache = cache
            cache.presence = .stale
            cache.refreshed = isThere ? .refreshed : nil
            let receipt = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            let outcomes = Set(sample.layers.map { receipt.transfers[$0.descriptor.digest] })
            #expect(outcomes == [isThere ? .refreshed : .written])
        }
    }

    @Test("replaces a layer that is damaged or archived, and leaves the results with it out for readers")
    func unreadableLayers() async throws {
        let sample = try SampleCache.diamond()
        for presence in [LayerPresence.damaged, .archived(ArchivedBlob(tier: "GLACIER")), .absent] {
            try await withCache { cache in
                var cache = cache
                cache.presence = presence
                let receipt = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
                #expect(sample.layers.allSatisfy { receipt.transfers[$0.descriptor.digest] == .written })
                let stored = try #require(try await cache.importCache(progress: .discarded))
                #expect(!stored.graph.hasResults && stored.graph.recordCount == sample.graph.recordCount)
                #expect(stored.problems.allSatisfy { $0.kind == .lostLayer })
                let isArchived = presence != .damaged && presence != .absent
                #expect(stored.problems.allSatisfy { $0.message.contains("GLACIER") == isArchived })
            }
        }
    }

    @Test("tells the problems that its store noticed, each once, in receipt, import and progress")
    func noticed() async throws {
        let sample = try SampleCache.diamond()
        let problem = CacheProblem(.notice, "the store is slow today")
        try await withCache { cache in
            var cache = cache
            cache.noticed = [problem]
            let log = ProgressLog()
            let receipt = try await cache.exportCache(sample.graph, from: sample.source, progress: log.sink)
            #expect(receipt.problems == [problem])
            #expect(log.events.filter { $0 == .problem(problem) }.count == 1)
            #expect(try await cache.importCache(progress: log.sink)?.problems == [problem])
            #expect(log.events.filter { $0 == .problem(problem) }.count == 2)
        }
    }

    @Test("says which side is to blame")
    func sides() async throws {
        let sample = try SampleCache.diamond()
        try await withCache { cache in
            let fault = FaultySource(sample.blobs, .opening(1))
            let source = await #expect(throws: CacheError.self) {
                try await cache.export(sample, from: sample.source(fault))
            }
            #expect(source?.context.side == .source)
            var broken = cache
            broken.failure = CacheError(.unavailable, "the store is down")
            let down = broken
            let destination = await #expect(throws: CacheError.self) { try await down.export(sample) }
            #expect(destination?.context.side == .destination)
            cache.store.write(Array("{\"layers\":1".utf8), as: "a")
            let imported = await #expect(throws: CacheError.self) { try await cache.importCache(progress: .discarded) }
            #expect(imported?.context.side == .source)
            #expect(imported?.context.operation == .import)
        }
    }

    @Test("closes its store after an export, after an import without a cache, and with the imported cache")
    func closes() async throws {
        let sample = try SampleCache.diamond()
        try await withCache { cache in
            let closed = { cache.closed.withLock { $0 } }
            _ = try await cache.importCache(progress: .discarded)
            #expect(closed() == 1)
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            #expect(closed() == 2)
            let imported = try await cache.importCache(progress: .discarded)
            #expect(closed() == 2)
            imported?.close()
            #expect(closed() == 3)
            cache.store.write(Array("{\"layers\":1".utf8), as: "a")
            await #expect(throws: CacheError.self) { try await cache.importCache(progress: .discarded) }
            #expect(closed() == 4)
        }
    }

    @Test("fails when layers cannot be converted because the scratch directory is gone: none of them is lost")
    func withoutScratch() async throws {
        let sample = try SampleCache.diamond()
        let error = await #expect(throws: CacheError.self) {
            try await ScratchStore.withTemporary { scratch in
                await scratch.remove()
                var cache = ScriptedCache(scratch: scratch)
                cache.export.compression = CompressionOptions(type: .zstd, force: true)
                _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            }
        }
        #expect(error?.code == .unavailable)
    }

    @Test("is not written if it could not be read again")
    func tooLarge() async throws {
        let sample = try SampleCache.diamond()
        try await withCache { cache in
            let cache = MemoryCache(
                "main", in: MemoryStore(), scratch: cache.scratch, limits: CacheConfigLimits(maximumBytes: 1000))
            let error = await #expect(throws: CacheError.self) {
                _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            }
            #expect(error?.code == .limitExceeded)
        }
    }

    @Test("goes without a layer that would fill the disk, and says so")
    func bomb() async throws {
        let bomb = SampleLayer(String(repeating: "0", count: 1 << 20))
        let sound = SampleLayer("sound")
        try await ScratchStore.withTemporary { scratch in
            var scratch = scratch
            scratch.decompressionLimit = DecompressionLimit(maximumBytes: 100_000, maximumRatio: 0)
            var cache = ScriptedCache(scratch: scratch)
            cache.export.compression = CompressionOptions(type: .zstd, force: true)
            let receipt = try await cache.exportCache(
                undescribed([bomb, sound]), from: LayerSource(blobs: MemorySource([bomb, sound].map(\.stored))),
                progress: .discarded)
            #expect(receipt.converted.count == 1)
            #expect(receipt.problems.count == 1)
            #expect(receipt.problems.first?.message.contains("limit") == true)
        }
    }

    @Test("counts the layers that are gone, and leaves out the results with them")
    func missing() async throws {
        let sample = try SampleCache.diamond()
        try await withCache { cache in
            _ = try await cache.exportCache(sample.graph, from: sample.source, progress: .discarded)
            let victim = sample.layers[1].descriptor.digest
            cache.store.remove(victim)
            let stored = try #require(try await cache.importCache(progress: .discarded))
            #expect(stored.graph == sample.graph.removingResults { $0.content == .blob(victim) })
            #expect(stored.problems.count == 1)
            #expect(stored.problems.first?.kind == .lostLayer)
            #expect(stored.problems.first?.subject == victim.description)
        }
    }

    @Test("reads several names, of which a broken one costs only itself")
    func several() async throws {
        let first = try SampleCache.diamond("first")
        let second = try SampleCache.diamond("second")
        try await withCache { cache in
            var cache = cache
            cache.presence = .current
            cache.store.write(try first.graph.encodeConfig(.annotated).bytes, as: "first")
            cache.store.write(try second.graph.encodeConfig(.annotated).bytes, as: "second")
            cache.store.write(Array("{\"layers\":1".utf8), as: "broken")
            cache.names = ["first", "second", "broken", "absent"]
            let stored = try #require(try await cache.importCache(progress: .discarded))
            #expect(stored.parts.map(\.graph) == [first.graph, second.graph])
            #expect(stored.problems.count == 1)
            #expect(stored.problems.first?.message.contains("broken") == true)
            cache.names = ["broken"]
            let error = await #expect(throws: CacheError.self) { try await cache.importCache(progress: .discarded) }
            #expect(error?.code == .corrupted)
            #expect(error?.context.subject == "broken")
        }
    }

    @Test("ends where its JSON does")
    func trailing() async throws {
        let config = try SampleCache.diamond().graph.encodeConfig(.annotated).bytes
        try await withCache { cache in
            cache.store.write(config + Array("{}".utf8), as: "a")
            let error = await #expect(throws: CacheError.self) { try await cache.importCache(progress: .discarded) }
            #expect(error?.code == .corrupted)
        }
    }

    // MARK: Arranging

    private func withCache(_ body: (ScriptedCache) async throws -> Void) async throws {
        try await ScratchStore.withTemporary { try await body(ScriptedCache(scratch: $0)) }
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

/// A cache in memory whose store answers as a test says.
private struct ScriptedCache: StoredCache {
    var export = ExportOptions(mode: .max)
    var limits = CacheConfigLimits()
    let scratch: ScratchStore
    let store = MemoryStore()
    var names = ["a"]
    /// The state of every layer; `nil` for the right ones.
    var presence: LayerPresence?
    var refreshed: PutOutcome?
    /// The error of every attempt to store a layer.
    var failure: CacheError?
    var loses: @Sendable ([Descriptor]) -> [Descriptor] = { _ in [] }
    var noticed: [CacheProblem] = []
    /// The number of stores that were closed.
    let closed = Counter()

    final class Counter: Sendable {
        private let count = Mutex(0)
        func withLock<Value: Sendable>(_ body: (inout Int) -> Value) -> Value { count.withLock { body(&$0) } }
    }

    var traits: BackendTraits { BackendTraits(name: "scripted", transfersInFlight: 2) }

    init(scratch: ScratchStore) { self.scratch = scratch }

    func openStore(for use: StoreUse) async throws -> Store {
        let memory = MemoryCache("a", export: export, in: store, scratch: scratch)
        return Store(script: self, base: try await memory.openStore(for: use))
    }

    struct Store: SwappingStore {
        let script: ScriptedCache
        let base: any SwappingStore

        var form: CacheForm { base.form }
        var cacheNames: [String] { script.names }
        var problems: [CacheProblem] { script.noticed }

        func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
            try await base.open(descriptor, range: range)
        }
        func stat(_ digest: Digest) async throws -> BlobStat? { try await base.stat(digest) }
        func put(_ layer: Descriptor, from source: any BlobSource) async throws -> PutOutcome {
            if let failure = script.failure { throw failure }
            return try await base.put(layer, from: source)
        }
        func presence(of layers: [Descriptor]) async throws -> [Digest: LayerPresence] {
            guard let presence = script.presence else { return try await base.presence(of: layers) }
            return Dictionary(layers.map { ($0.digest, presence) }) { first, _ in first }
        }
        func refresh(_ layer: Descriptor) async throws -> PutOutcome? { script.refreshed }
        func lostLayers(among layers: [Descriptor]) async throws -> [Descriptor] { script.loses(layers) }
        func document(named name: String, limit: Int) async throws -> NamedDocument? {
            try await base.document(named: name, limit: limit)
        }
        func replace(
            _ current: NamedDocument?, named name: String, with documents: CacheDocuments
        ) async throws -> Publication? { try await base.replace(current, named: name, with: documents) }
        func close() { script.closed.withLock { $0 += 1 } }
    }
}
