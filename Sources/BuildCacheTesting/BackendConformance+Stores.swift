import BuildCacheCore
import BuildCacheGraph
import BuildCacheClient

extension BackendConformance {
    /// The promises of a backend that merges, for one that takes `Setup.writePolicy`.
    public static let mergeChecks: [Check] = [
        Check("loses nothing of several jobs that merge into one name at once") { try await $0.mergesJobs() },
        Check("writes nothing when a merge has nothing new") { try await $0.mergesOnce() },
    ]

    /// The promises of a backend that can be pruned.
    ///
    /// Run these on a store that nothing else uses meanwhile: they prune it as if a year had passed.
    public static let pruneChecks: [Check] = [
        Check("lists the caches that were exported, and changes nothing") { try await $0.listsCaches() },
        Check("tells which layer of which cache is missing, until an export replaces it") {
            try await $0.findsMissingLayer()
        },
        Check("changes nothing by planning a prune") { try await $0.plansOnly() },
        Check("removes names by a prune, and keeps what others need") { try await $0.prunes() },
        Check("keeps a name that was written since the prune was planned") { try await $0.keepsChangedNames() },
    ]

    // MARK: Merging

    func mergesJobs() async throws {
        let name = newName()
        let samples = try (0..<4).map { try SampleCache.diamond("\(name) \($0)") }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for sample in samples {
                group.addTask { _ = try await backend(name, writePolicy: .merge).export(sample) }
            }
            try await group.waitForAll()
        }
        var all = LayerGraph()
        for sample in samples { try all.merge(sample.graph) }
        let cache = try await backend(name, writePolicy: .merge).stored()
        try expect(cache.graph.difference(from: all).isEmpty, "the merged cache is not the union of all exports")
        for layer in samples.flatMap(\.layers) {
            let bytes = try await cache.blobs.bytes(of: layer.descriptor)
            try expect(bytes == layer.stored, "layer \(layer.descriptor.digest) came back with other bytes")
        }
    }

    func mergesOnce() async throws {
        let backend = try await backend(newName(), writePolicy: .merge)
        let (small, large) = (try SampleCache.chain(of: 2), try SampleCache.chain(of: 3))
        try await backend.export(large)
        let first = try await backend.export(small)
        let second = try await backend.export(small)
        try expect(first.published == second.published, "a merge with nothing new published another document")
        for receipt in [first, second] {
            try expect(
                !receipt.transfers.values.contains(.written), "a merge with nothing new wrote \(receipt.transfers)")
        }
        try expect(try await backend.stored().graph == large.graph, "a merge with nothing new changed the cache")
    }

    // MARK: Pruning

    /// A moment when everything that is stored now is old.
    private var later: Timestamp { Timestamp(seconds: Timestamp.now().seconds + 365 * 86_400) ?? .zero }
    private var retention: Retention { Retention(maximumCount: 0, gracePeriod: .seconds(30 * 86_400)) }

    func prunable(_ name: String) async throws -> any PrunableBackend {
        guard let backend = try await backend(name) as? any PrunableBackend else {
            throw ConformanceFailure(description: "the backend is not a PrunableBackend")
        }
        return backend
    }

    func plansOnly() async throws {
        let backend = try await prunable(newName())
        let sample = try SampleCache.diamond()
        try await backend.export(sample)
        let plan = try await backend.planPrune(retention, now: later)
        try expect(!plan.removedNames.isEmpty, "a retention without names removes none")
        let cache = try await backend.stored()
        try expect(cache.graph == sample.graph, "a plan changed the cache")
        for layer in sample.layers { _ = try await cache.blobs.bytes(of: layer.descriptor) }
    }

    func prunes() async throws {
        let (removed, kept) = (try await prunable(newName()), newName())
        let (short, long) = (try SampleCache.chain(of: 2), try SampleCache.chain(of: 4))
        try await removed.export(long)
        let other = try await prunable(kept)
        try await other.export(short)
        var retention = retention
        retention.protectedNames = ["*\(kept)*"]
        let report = try await removed.prune(try await removed.planPrune(retention, now: later))
        try expect(report.removedNames.count >= 1, "no name was removed")
        try expect(try await removed.importCache(progress: .discarded) == nil, "a name that was removed is there")
        let cache = try await other.stored()
        try expect(cache.graph == short.graph, "a prune changed a cache that stays")
        for layer in short.layers {
            let bytes = try await cache.blobs.bytes(of: layer.descriptor)
            try expect(bytes == layer.stored, "a prune took a layer that a cache needs")
        }
        try await removed.export(long)
        try expect(try await removed.stored().graph == long.graph, "an export after a prune is not whole")
    }

    func keepsChangedNames() async throws {
        let backend = try await prunable(newName())
        try await backend.export(try SampleCache.chain(of: 2))
        let plan = try await backend.planPrune(retention, now: later)
        let new = try SampleCache.diamond()
        try await backend.export(new)
        let report = try await backend.prune(plan)
        try expect(report.removedNames.isEmpty, "a name that was written since the plan was removed")
        let cache = try await backend.stored()
        try expect(cache.graph == new.graph, "a prune changed a cache that was written since the plan")
        for layer in new.layers { _ = try await cache.blobs.bytes(of: layer.descriptor) }
    }
}
