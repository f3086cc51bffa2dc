import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import Logging
import Synchronization

/// The caches that a session reads, each loaded in the background until its deadline.
///
/// Loads run in unstructured tasks, so that a source that ignores cancellation cannot delay the end of the build. Merging a cache into
/// what is known counts as loading it: a cache made so that merging it takes for ever costs its own hits, and holds up no lookup.
final class LoadingSources: Sendable {
    /// One cache that has arrived.
    struct Arrived: Sendable {
        var place: Int
        var cache: ImportedCache
    }
    /// What is known so far.
    struct Known: Sendable {
        /// Different for each graph: the records of one are not valid in another.
        var version = 0
        /// One graph of all caches that have arrived, in the order of the sources.
        var lookup = CacheLookup(LayerGraph())
        /// The caches that have arrived, in the order of the sources.
        var caches: [Arrived] = []
        /// Sources that may still arrive.
        var waitingFor = 0
    }
    private struct State {
        var results: [Int: Result<ImportedCache?, CacheError>] = [:]
        var tasks: [Int: [Task<Void, Never>]] = [:]
        var known = Known()
        var finishedAt: ContinuousClock.Instant?

        mutating func finish(_ place: Int, _ result: Result<ImportedCache?, CacheError>, of count: Int) {
            results[place] = result
            known.waitingFor = count - results.count
            if known.waitingFor == 0 { finishedAt = ContinuousClock.now }
        }
    }

    let changes = Changes()
    private let sources: [CacheClient.Source]
    private let logger: Logger?
    private let started = ContinuousClock.now
    private let state = Mutex(State())

    init(
        _ sources: [CacheClient.Source], deadline: Duration, clock: any Clock<Duration>,
        logger: Logger?, progress: @escaping @Sendable (_ name: String, ProgressEvent) -> Void
    ) {
        self.sources = sources
        self.logger = logger
        state.withLock { state in
            state.known.waitingFor = sources.count
            if sources.isEmpty { state.finishedAt = started }
        }
        for (place, source) in sources.enumerated() {
            let loading = Task { [self] in
                do {
                    let cache = try await source.importCache(
                        progress: ProgressSink { progress(source.name, $0) })
                    if let cache { try add(cache, place) } else { finish(place, .success(nil)) }
                } catch {
                    finish(place, .failure(.wrapping(error, of: source.importer.traits, .import)))
                }
            }
            let waiting = Task { [self] in
                guard (try? await clock.sleep(for: deadline)) != nil else { return }
                finish(
                    place,
                    .failure(
                        CacheError(
                            .unavailable,
                            "the cache was not loaded within \(deadline), so the build goes on without it; "
                                + "check the network, or give the session a longer deadline",
                            context: .init(backend: source.importer.traits.name, operation: "import"))))
            }
            let isOver = state.withLock { state in
                state.tasks[place] = [loading, waiting]
                return state.results[place] != nil
            }
            if isOver { cancel(place) }
        }
    }

    /// What is known now, and the count of ``changes`` after which to wait for more.
    var now: (known: Known, count: Int) {
        // Counted first: a change in between is then seen twice and not never.
        let count = changes.count
        return (state.withLock { $0.known }, count)
    }

    /// The layers of the caches that have arrived.
    var parts: [CombinedSource.Part] {
        now.known.caches.map {
            CombinedSource.Part(digests: Set($0.cache.graph.descriptors.keys), source: $0.cache.blobs)
        }
    }

    /// One outcome per source; `nil` for one that is still loading.
    var outcomes: [(name: String, result: Result<ImportedCache?, CacheError>?)] {
        state.withLock { state in sources.enumerated().map { ($1.name, state.results[$0]) } }
    }

    /// From the start until the last source has arrived, failed or missed its deadline; until now while one has not.
    var duration: Duration { (state.withLock { $0.finishedAt } ?? ContinuousClock.now) - started }

    /// Stops all loads, and lets the stores remove what was imported.
    func cancel() {
        for place in sources.indices {
            finish(place, .failure(CacheError(.unavailable, "the session ended before the cache was loaded")))
            cancel(place)
        }
        for arrived in now.known.caches { arrived.cache.close() }
    }

    private func cancel(_ place: Int) {
        for task in state.withLock({ $0.tasks.removeValue(forKey: place) }) ?? [] { task.cancel() }
    }

    /// Takes the first outcome of a source that brings no cache: what comes after its deadline is too late.
    private func finish(_ place: Int, _ result: Result<ImportedCache?, CacheError>) {
        let isFirst = state.withLock { state in
            guard state.results[place] == nil else { return false }
            state.finish(place, result, of: sources.count)
            return true
        }
        guard isFirst else { return }
        if case .failure(let error) = result {
            logger?.warning(
                "a cache cannot be read, and counts as one without hits",
                metadata: ["source": "\(sources[place].name)", "error": "\(error)"])
        }
        cancel(place)
        changes.happened()
    }

    /// Merges a cache with those that have arrived, outside of the lock because that takes a while, and again if more have arrived meanwhile.
    ///
    /// - Throws: As `LayerGraph.merge(_:onlyMissingResults:)`; nothing has changed then.
    private func add(_ cache: ImportedCache, _ place: Int) throws {
        while true {
            let known = now.known
            let caches = (known.caches + [Arrived(place: place, cache: cache)]).sorted { $0.place < $1.place }
            var graph = LayerGraph()
            for arrived in caches { try graph.merge(arrived.cache.graph) }
            let lookup = CacheLookup(graph)
            let isDone = state.withLock { state in
                guard state.results[place] == nil else {
                    cache.close()
                    return true
                }
                guard state.known.version == known.version else { return false }
                state.known.version += 1
                state.known.lookup = lookup
                state.known.caches = caches
                state.finish(place, .success(cache), of: sources.count)
                return true
            }
            if isDone { break }
        }
        cancel(place)
        changes.happened()
    }
}
