import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheGraph
import BuildCacheTesting
import NIOCore
import Synchronization
import TestTools
import Testing

@Suite("A session")
struct SessionTests {
    // MARK: Lookups

    @Test("answers from the source that has arrived while another hangs for ever and a third is damaged")
    func answersWhileOthersLoad() async throws {
        let cache = try Sample("step").cache()
        let session = session([
            source("hangs", HangingBackend()),
            source("garbage", ScriptedBackend(importing: { throw CacheError(.corrupted, "this is not a cache") })),
            source("good", ScriptedBackend(importing: { cache })),
        ])
        let step = try Sample("step").record(in: session)
        // Nothing ends the source that hangs: waiting for it would be for ever.
        let hit = try #require(try await session.lookup(step))
        #expect(hit.source == "good")
        #expect(session.report.hits == 1)
        #expect(session.report.misses == 0)
    }

    @Test("declares a miss when the last source is past its deadline, and not before")
    func missesAfterDeadline() async throws {
        let clock = ManualClock()
        var options = CacheSession.Options(deadline: .seconds(7))
        options.clock = clock
        let session = session([source("hangs", HangingBackend())], options: options)
        let step = try Sample("step").record(in: session)
        async let answer = session.lookup(step)
        await clock.sleeper()
        #expect(session.report.misses == 0)
        clock.setRunning(true)
        #expect(try await answer == nil)
        #expect(session.report.misses == 1)
        guard case .failed(let error) = session.report.sources[0].state else {
            Issue.record("a source that did not answer has failed")
            return
        }
        #expect(error.code == .unavailable)
        #expect(error.description.contains("not loaded within 7.0 seconds"))
    }

    @Test("is not held up by a source that does not heed its cancellation")
    func ignoresStubbornSources() async throws {
        let clock = ManualClock()
        var options = CacheSession.Options()
        options.clock = clock
        let stubborn = StubbornBackend()
        let session = session([source("stubborn", stubborn)], options: options)
        let step = try Sample("step").record(in: session)
        await clock.sleeper()
        clock.setRunning(true)
        #expect(try await session.lookup(step) == nil)
        session.close()
        stubborn.letGo()
    }

    @Test("ends a lookup that is cancelled while it waits")
    func cancelsLookup() async throws {
        let clock = ManualClock()
        var options = CacheSession.Options()
        options.clock = clock
        let session = session([source("hangs", HangingBackend())], options: options)
        let step = try Sample("step").record(in: session)
        let lookup = Task { try await session.lookup(step) }
        await clock.sleeper()
        lookup.cancel()
        await #expect(throws: CancellationError.self) { _ = try await lookup.value }
    }

    @Test("takes the newest result of all sources, and of equally new ones that of the first")
    func takesNewest() async throws {
        let (old, new) = (
            try Sample("step", layer: "old", at: 1).cache(), try Sample("step", layer: "new", at: 2).cache()
        )
        let same = try Sample("step", layer: "same", at: 2).cache()
        let sources = [("old", old), ("new", new), ("same", same)].map { name, cache in
            source(name, ScriptedBackend(importing: { cache }))
        }
        let session = session(sources)
        await session.waitForSources()
        let hit = try #require(try await session.lookup(try Sample("step").record(in: session)))
        #expect(hit.source == "new")
        #expect(hit.createdAt.seconds == 2)
        #expect(hit.layers.map(\.digest) == [Digest(of: "new".utf8)])
    }

    @Test("finds a step over inputs that different sources know")
    func unitesSources() async throws {
        // The first source knows the inputs alone, the second the step on them.
        var inputs = LayerGraph()
        try inputs.addRecord(Sample.root)
        let known = try ImportedCache(parts: [.init(manifest: nil, graph: inputs)], blobs: MemorySource([]))
        let cache = try Sample("step").cache()
        let session = session([
            source("inputs", ScriptedBackend(importing: { known })),
            source("step", ScriptedBackend(importing: { cache })),
        ])
        #expect(try await session.lookup(try Sample("step").record(in: session)) != nil)
    }

    @Test("misses a step that is built on something of this machine alone")
    func ephemeralMisses() async throws {
        let cache = try Sample("step").cache()
        let session = session([source("good", ScriptedBackend(importing: { cache }))])
        let local = try session.recordEphemeral()
        let step = try session.record(Sample("step").digest, inputs: [[Link(local)]])
        #expect(try await session.lookup(step) == nil)
    }

    @Test("looks up a chain of 20 000 steps without running out of stack")
    func longChains() async throws {
        let session = session([])
        var last = try session.record(Sample.root)
        for number in 0..<20_000 {
            last = try session.record(
                .record(operation: Digest(of: "\(number)".utf8), output: 0), inputs: [[Link(last)]])
        }
        #expect(try await session.lookup(last) == nil)
    }

    @Test("says which input of a step differs from what the caches know")
    func explains() async throws {
        let cache = try Sample("step").cache()
        let session = session([source("good", ScriptedBackend(importing: { cache }))])
        let other = try session.record(.record(content: Digest(of: "other".utf8)))
        let step = try session.record(Sample("step").digest, inputs: [[Link(other)]])
        #expect(try await session.lookup(step) == nil)
        let (explanation, graph) = try #require(try session.explainMiss(step))
        #expect(explanation.text(in: graph).contains("input 0 missed itself"))
        #expect(try session.explainMiss(try Sample("step").record(in: session)) == nil)
    }

    @Test("refuses a record of another session")
    func foreignRecords() async throws {
        let (one, other) = (session([]), session([]))
        _ = try other.record(Sample.root)
        let record = try other.record(.record(content: Digest(of: "more".utf8)))
        await #expect(throws: CacheError.self) { _ = try await one.lookup(record) }
    }

    // MARK: Layers

    @Test("fetches layers into its store, once")
    func fetches() async throws {
        let sample = Sample("step")
        let cache = try sample.cache()
        let store = MemoryStore()
        let session = session([source("good", ScriptedBackend(importing: { cache }))], store: store)
        let step = try sample.record(in: session)
        let hit = try #require(try await session.fetch(step))
        #expect(store.digests == Set(hit.layers.map(\.digest)))
        #expect(session.report.bytesFetched == 4)
        _ = try await session.fetch(step)
        #expect(session.report.bytesFetched == 4)
        #expect(session.report.bytesSaved == 4)
    }

    @Test("takes the next best result when a layer is gone or damaged by now", arguments: [true, false])
    func fallsBack(_ isGone: Bool) async throws {
        let new = Sample("step", layer: "new", at: 2)
        let digest = Digest(of: "new".utf8)
        let blobs = FaultySource(MemorySource([Array("new".utf8)]), isGone ? .missing(digest) : .changed(digest))
        let (cache, old) = (try new.cache(blobs), try Sample("step", layer: "old", at: 1).cache())
        let store = MemoryStore()
        let session = session(
            [
                source("new", ScriptedBackend(importing: { cache })),
                source("old", ScriptedBackend(importing: { old })),
            ], store: store)
        await session.waitForSources()
        let step = try new.record(in: session)
        let hit = try #require(try await session.fetch(step))
        #expect(hit.source == "old")
        #expect(store.digests == [Digest(of: "old".utf8)])
        // What is noted, and so exported, is the result that can be had.
        #expect(try session.graph[step].results.map(\.createdAt.seconds) == [1])
        #expect(session.report.hits == 1)
    }

    @Test("takes a layer with another diffID than its cache claims for a damaged one, also if the store has it already")
    func wrongDiffIDs() async throws {
        let layer = SampleLayer("step")
        var claimed = layer.descriptor
        claimed.annotations[Annotation.uncompressed] = Digest(of: "another layer".utf8).description
        var graph = LayerGraph()
        let root = try graph.addRecord(Sample.root)
        let result = CacheResult(layer: try graph.addLayer(claimed), createdAt: .zero)
        try graph.addRecord(Sample("step").digest, inputs: [[Link(root)]], results: [result])
        let cache = try ImportedCache(
            parts: [.init(manifest: nil, graph: graph)], blobs: MemorySource([layer.stored]))
        let store = MemoryStore()
        for _ in 0..<2 {
            let session = session([source("poisoned", ScriptedBackend(importing: { cache }))], store: store)
            #expect(try await session.fetch(try Sample("step").record(in: session)) == nil)
            #expect(session.report.problems.map(\.kind) == [.damagedLayer])
        }
    }

    @Test("misses when no result is left, and notes none")
    func missesWithoutLayers() async throws {
        let sample = Sample("step")
        let cache = try sample.cache(MemorySource([]))
        let session = session([source("empty", ScriptedBackend(importing: { cache }))])
        let step = try sample.record(in: session)
        #expect(try await session.lookup(step) != nil)
        #expect(try await session.fetch(step) == nil)
        #expect(try session.graph[step].results == [])
        #expect((session.report.hits, session.report.misses) == (0, 1))
    }

    @Test("fails when its own store does: that is no miss")
    func storeFails() async throws {
        let sample = Sample("step")
        let cache = try sample.cache()
        let session = session([source("good", ScriptedBackend(importing: { cache }))], store: FullStore())
        let step = try sample.record(in: session)
        let error = await #expect(throws: CacheError.self) { _ = try await session.fetch(step) }
        #expect(error?.code == .storageFull)
    }

    @Test("fetches ahead of need, and once for who waits for it")
    func prefetches() async throws {
        let sample = Sample("step")
        let blobs = FaultySource(MemorySource([Array("step".utf8)]), .opening(0))
        let cache = try sample.cache(blobs)
        let store = MemoryStore()
        let session = session([source("good", ScriptedBackend(importing: { cache }))], store: store)
        let step = try sample.record(in: session)
        session.prefetch(step)
        session.prefetch(step)
        #expect(try await session.fetch(step) != nil)
        #expect(blobs.opened == 1)
    }

    @Test("goes on with what is fetched ahead for others when one who waits for it is cancelled")
    func cancelledWait() async throws {
        let sample = Sample("step")
        let blobs = FaultySource(MemorySource([Array("step".utf8)]), .hanging(1))
        let cache = try sample.cache(blobs)
        let session = session([source("good", ScriptedBackend(importing: { cache }))])
        let step = try sample.record(in: session)
        session.prefetch(step)
        await blobs.waitUntilHanging()
        let waiting = Task { try await session.fetch(step) }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { _ = try await waiting.value }
        // Ends what hangs; the next one who asks begins anew.
        session.close()
        #expect(try await session.fetch(step) != nil)
    }

    @Test("forgets what a step missed ahead of need when more is known of it")
    func prefetchedMiss() async throws {
        let sample = Sample("step")
        let cache = try sample.cache()
        let session = session([source("good", ScriptedBackend(importing: { cache }))])
        let other = try session.record(.record(content: Digest(of: "other".utf8)))
        let step = try session.record(sample.digest, inputs: [[Link(other)]])
        session.prefetch(step)
        #expect(try await session.fetch(step) == nil)
        // The same step over the same input, which turns out to be what the cache calls otherwise.
        let root = try session.record(Sample.root)
        #expect(try session.record(sample.digest, inputs: [[Link(other), Link(root)]]) == step)
        #expect(try await session.fetch(step)?.record == step)
    }

    @Test("takes a lost layer from every step that has it")
    func lostForAll() async throws {
        let (one, other) = (Sample("one", layer: "same"), Sample("other", layer: "same"))
        let (first, second) = (try one.cache(MemorySource([])), try other.cache(MemorySource([])))
        let session = session([
            source("first", ScriptedBackend(importing: { first })),
            source("second", ScriptedBackend(importing: { second })),
        ])
        let steps = (try one.record(in: session), try other.record(in: session))
        #expect(try await session.lookup(steps.0) != nil)
        #expect(try await session.lookup(steps.1) != nil)
        #expect(try await session.fetch(steps.0) == nil)
        #expect(session.report.hits == 0)
        #expect(try session.graph[steps.1].results == [])
    }

    // MARK: Exports

    @Test("fails an export whose layer could not be read, though the caches do not have it")
    func failingSource() async throws {
        let store = MemoryStore()
        try await ScratchStore.withTemporary { scratch in
            let sample = Sample("step")
            let memory = MemoryCache("main", export: ExportOptions(mode: .max), in: store, scratch: scratch)
            let session = CacheClient(sources: [], destinations: [destination("memory", memory)])
                .openSession(store: scratch)
            try session.addResult([.stored(sample.descriptor)], to: try sample.record(in: session))
            let blobs = FaultySource(MemorySource([Array("step".utf8)]), .opening(1))
            let report = try await session.exportCaches(from: LayerSource(blobs: blobs))
            #expect(report.failures.map(\.code) == [.unavailable])
        }
    }

    @Test("exports hits, results and pending results, and again as a checkpoint of what there is so far")
    func exports() async throws {
        let store = MemoryStore()
        try await ScratchStore.withTemporary { scratch in
            let sample = Sample("step")
            let cache = try sample.cache()
            let memory = MemoryCache("main", export: ExportOptions(mode: .max), in: store, scratch: scratch)
            let client = CacheClient(
                sources: [source("good", ScriptedBackend(importing: { cache }))],
                destinations: [destination("memory", memory)])
            let session = client.openSession(store: scratch)
            let step = try sample.record(in: session)
            #expect(try await session.lookup(step) != nil)
            let made = try session.record(Sample("made").digest, inputs: [[Link(step)]])
            let tar = SampleLayer("made").tar

            // The build fails here: what there is goes out. The layer of the hit was never fetched, and is read where it is.
            try await session.exportCaches().check()
            let checkpoint = try #require(try await memory.importCache(progress: .discarded))
            #expect(checkpoint.graph.descriptors.keys.contains(Digest(of: "step".utf8)))
            #expect(checkpoint.graph.recordCount == 3)

            try session.addResult(
                [.stored(sample.descriptor), .tar { BlobStream(ByteBuffer(bytes: tar)) }], to: made)
            try await session.exportCaches(targets: [made]).check()
            let whole = try #require(try await memory.importCache(progress: .discarded))
            #expect(whole.graph.descriptors.count == 2)
            #expect(session.report.exports.count == 2)
            #expect(session.report.bytesSaved >= sample.descriptor.size)
        }
    }

    @Test("refuses a result without layers")
    func emptyResults() throws {
        let session = session([])
        let step = try Sample("step").record(in: session)
        #expect(throws: CacheError.self) { try session.addResult([], to: step) }
    }

    @Test("reports its figures in one line")
    func describesReport() {
        var report = session([]).report
        report.seconds.importing = 0
        (report.hits, report.misses, report.requests) = (3, 1, 12)
        #expect(
            report.description
                == "3 hits, 1 miss, 0 bytes fetched, 0 bytes written, 0 bytes saved, 12 requests, 0 retries; "
                + "0 ms importing, 0 ms fetching, 0 ms exporting"
        )
    }

    // MARK: Helpers

    private func session(
        _ sources: [CacheClient.Source], store: any BlobStore = MemoryStore(),
        options: CacheSession.Options = CacheSession.Options()
    ) -> CacheSession {
        CacheClient(sources: sources, destinations: []).openSession(store: store, options: options)
    }

    private func source(_ name: String, _ importer: any CacheImporter) -> CacheClient.Source {
        CacheClient.Source(name: name, importer: importer)
    }

    private func destination(_ name: String, _ exporter: any CacheExporter) -> CacheClient.Destination {
        CacheClient.Destination(name: name, exporter: exporter)
    }
}
