public import BuildCacheBytes
import BuildCacheCore
public import BuildCacheGraph
import Logging
import Metrics
import Synchronization
import Tracing

extension CacheSession {
    /// The layers of all hits: from the store what was fetched, the rest from the first cache that has it, verified while it is read.
    public var blobs: any BlobSource {
        CombinedSource { [store, sources] in
            [CombinedSource.Part(digests: nil, source: store)] + sources.parts
        }
    }

    /// Looks a step up and brings the layers of its result into the store, with their digests and diffIDs verified.
    ///
    /// A layer that is gone or damaged by now costs that result: the next best one is taken, and a miss is declared when none is left.
    ///
    /// - Returns: The hit whose layers are all in the store, `nil` for a miss.
    /// - Throws: As ``lookup(_:)``, and what the store throws, as `.storageFull`.
    public func fetch(_ record: RecordID) async throws -> CacheHit? {
        if let hit = state.withLock({ $0.ready.removeValue(forKey: record) }) { return hit }
        return try await fetches.value(for: record) { [self] in try await fetchNow(record) }
    }

    /// Begins to fetch a step's layers ahead of need; ``fetch(_:)`` then waits for what is under way.
    ///
    /// Ends with ``close()``, if not before.
    public func prefetch(_ record: RecordID) {
        state.withLock { state in
            guard state.prefetches[record] == nil else { return }
            // The caller goes on at once, so this is not a child of its task; ``close()`` ends it.
            state.prefetches[record] = Task { [weak self] in
                // An error shows itself to the fetch that follows.
                let hit = try? await self?.fetch(record)
                self?.state.withLock { state in
                    state.prefetches[record] = nil
                    state.ready[record] = hit
                }
            }
        }
    }

    private func fetchNow(_ record: RecordID) async throws -> CacheHit? {
        while let hit = try await lookup(record) {
            do {
                try await measuring("fetch", \.fetching) { try await fetchLayers(of: hit) }
                return hit
            } catch let lost as LostLayer {
                let problem = lost.problem(in: hit.source)
                options.logger?.warning(
                    "a cached layer cannot be read, so the next best result is taken",
                    metadata: ["source": "\(hit.source)", "problem": "\(problem)"])
                try state.withLock { state in
                    if state.lost.insert(lost.digest).inserted { state.report.problems.append(problem) }
                    // Other steps may be built on it, too: a checkpoint must not fail for a result that is known to be gone.
                    let concerned = state.hits.filter { $0.value.layers.contains { $0.digest == lost.digest } }.keys
                    for other in Set(concerned).union([record]) {
                        state.hits[other] = nil
                        try state.graph.removeResults(of: other) { $0.content == .blob(lost.digest) }
                    }
                }
            }
        }
        return nil
    }

    private func fetchLayers(of hit: CacheHit) async throws {
        let name = hit.place.map { client.sources[$0].name }
        let (report, store, meter) = (options.progress, store, meter)
        let progress = ProgressSink { event in if let name { report(name, event) } }
        let source = MeasuredSource(LostLayerMappingSource(base: caches), progress: progress)
        let layers = Set(hit.layers)
        progress(.planned(layers: layers.count, bytes: layers.reduce(0) { $0.saturatingAdding($1.size) }))
        let outcomes = try await TrafficMeter.$current.withValue(meter) {
            try await layers.mapConcurrently(limit: options.fetchesInFlight) { [self] layer in
                let outcome = try await store.put(layer, from: source)
                try await verifyDiffID(of: layer)
                progress(.finished(layer.digest, outcome))
                return (layer, outcome)
            }
        }
        state.withLock { state in
            for (layer, outcome) in outcomes { state.report.addFetched(layer.size, outcome) }
        }
    }

    /// Checks that a layer in the store has the diffID that its cache claims, once for all steps that have it.
    ///
    /// A tool that names snapshots by diffIDs would else keep one layer under the name of another.
    ///
    /// - Throws: ``LostLayer``; what the store throws.
    private func verifyDiffID(of layer: Descriptor) async throws {
        guard let diffID = layer.diffID, state.withLock({ $0.diffIDs[layer.digest] != diffID }) else { return }
        do {
            try await store.checkDiffID(of: layer)
        } catch let error as CacheError where error.code == .corrupted || error.code == .limitExceeded {
            throw LostLayer(digest: layer.digest, cause: error)
        }
        state.withLock { $0.diffIDs[layer.digest] = diffID }
    }

    /// The layers of the caches, without those of the store.
    private var caches: any BlobSource {
        CombinedSource { [sources] in sources.parts }
    }

    /// Runs `body` as one span, and adds its time to a phase of the report.
    func measuring<Value>(
        _ name: String, _ phase: any WritableKeyPath<SessionReport.Seconds, Double> & Sendable,
        _ body: () async throws -> Value
    ) async throws -> Value {
        let started = ContinuousClock.now
        defer {
            let elapsed = ContinuousClock.now - started
            state.withLock { $0.report.seconds[keyPath: phase] += elapsed / .seconds(1) }
            Timer(label: "build_cache.session.\(name)").record(duration: elapsed)
        }
        return try await withSpan("build cache \(name)") { _ in try await body() }
    }
}

/// A layer that no cache has, or not whole, when it is wanted.
///
/// A type of its own, because the same error from the store fails the build.
private struct LostLayer: Error {
    var digest: Digest
    var cause: any Error

    func problem(in source: String) -> CacheProblem {
        let error = cause as? CacheError
        let isDamaged = error?.code == .corrupted
        return CacheProblem(
            isDamaged ? .damagedLayer : .lostLayer,
            "layer \(digest) \(isDamaged ? "is damaged" : "cannot be read"), so the results with it are misses: "
                + (error?.description ?? "\(type(of: cause))"),
            endpoint: source, subject: digest.description, code: error?.code)
    }
}

/// Turns every error of its base into the loss of a layer: a cache that is down costs a hit, not the build.
private struct LostLayerMappingSource: BlobSource {
    let base: any BlobSource

    func open(_ descriptor: Descriptor, range: Range<Int64>?) async throws -> BlobStream {
        @Sendable func lost(_ error: any Error) -> any Error {
            error is CancellationError ? error : LostLayer(digest: descriptor.digest, cause: error)
        }
        do {
            return try await base.open(descriptor, range: range).verified(as: descriptor).mappingErrors(lost)
        } catch {
            throw lost(error)
        }
    }
}
