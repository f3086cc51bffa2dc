import BuildCacheBytes
import BuildCacheClient
import BuildCacheCore
import BuildCacheGraph
import BuildCacheTesting
import Testing

@Suite("A copy of caches")
struct CopyTests {
    /// A cache that can be read, perhaps with a fault.
    private func source(_ sample: SampleCache, _ blobs: (any BlobSource)? = nil) throws -> CacheClient.Source {
        let cache = try ImportedCache(
            parts: [ImportedCache.Part(manifest: nil, graph: sample.graph)], blobs: blobs ?? sample.blobs)
        return CacheClient.Source(name: "source", importer: ScriptedBackend(importing: { cache }))
    }

    private func copy(in store: MemoryStore, _ scratch: ScratchStore) -> MemoryCache {
        MemoryCache("copy", export: ExportOptions(mode: .max), in: store, scratch: scratch)
    }

    private func destination(_ store: MemoryStore, _ scratch: ScratchStore) -> CacheClient.Destination {
        CacheClient.Destination(name: "copy", exporter: copy(in: store, scratch))
    }

    @Test("unites several sources in each of several destinations, digests unchanged")
    func manyToMany() async throws {
        try await ScratchStore.withTemporary { scratch in
            let (one, two) = (try SampleCache.diamond("one"), try SampleCache.chain(of: 3))
            let stores = [MemoryStore(), MemoryStore()]
            let client = CacheClient(
                sources: [try source(one), try source(two)],
                destinations: stores.map { destination($0, scratch) })
            let report = try await client.copyCaches()
            try report.exported.check()
            var both = one.graph
            try both.merge(two.graph)
            for store in stores {
                let copy = try #require(try await copy(in: store, scratch).importCache(progress: .discarded))
                #expect(copy.graph == both)
            }
        }
    }

    @Test("goes on where it broke off: only what is missing moves")
    func resumes() async throws {
        try await ScratchStore.withTemporary { scratch in
            let sample = try SampleCache.chain(of: 20)
            let store = MemoryStore()
            let broken = FaultySource(sample.blobs, .opening(9))
            let destinations = [destination(store, scratch)]
            let first = try await CacheClient(sources: [try source(sample, broken)], destinations: destinations)
                .copyCaches()
            #expect(first.exported.failures.map(\.code) == [.unavailable])
            #expect(try await copy(in: store, scratch).importCache(progress: .discarded) == nil)
            let arrived = store.digests.count
            #expect(arrived > 0)

            let second = try await CacheClient(sources: [try source(sample)], destinations: destinations).copyCaches()
            let receipt = try second.exported.outcomes[0].result.get()
            #expect(receipt.transfers.values.count { $0 == .written } == 20 - arrived)
            #expect(try await copy(in: store, scratch).importCache(progress: .discarded)?.graph == sample.graph)
        }
    }

    @Test("is none of half of what was asked for", arguments: [true, false])
    func refusesHalf(_ isMissing: Bool) async throws {
        let other = CacheClient.Source(
            name: "other",
            importer: ScriptedBackend(importing: {
                if isMissing { return nil }
                throw CacheError(.unavailable, "it is down")
            }))
        let store = MemoryStore()
        try await ScratchStore.withTemporary { scratch in
            let client = CacheClient(
                sources: [try source(SampleCache.chain(of: 2)), other],
                destinations: [destination(store, scratch)])
            let error = await #expect(throws: CacheError.self) { _ = try await client.copyCaches() }
            #expect(error?.code == (isMissing ? .notFound : .unavailable))
        }
        #expect(store.digests == [])
    }
}
