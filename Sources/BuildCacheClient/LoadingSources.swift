import BuildCacheBytes
import BuildCacheCore
import BuildCacheGraph
import BuildCacheTransfer
import Logging
import Synchronization

/// The caches that a session reads, each loaded in the background and given up at its deadline.
///
/// The tasks are no children of anybody: a source that does not even heed its cancellation must not hold up the end of a build.
final class LoadingSources: Sendable {
    /// What is known so far.
    struct Known: Sendable {
        /// Different for each graph: the records of one are none of another.
        var version = 0
        /// One graph of all caches that have arrived, in the order of the sources.
        var lookup = CacheLookup(LayerGraph())
        /// The caches that have arrived, with what they are called.
        var caches: [(place: Int, name: String, cache: ImportedCache)] = []
        /// Sources that may still arrive.
        var waitingFor = 0
    }
    private struct State {
        var results: [Int: Result<ImportedCache?, CacheError>] = [:]
        var tasks: [Int: [Task<Void, Never>]] = [:]
        var known = Known()
        var finishedAt: ContinuousClock.Instant?
    }

    let changes = Changes()
    private let names: [String]
    private let logger: Logger?
    private let started = ContinuousClock.now
    private let state = Mutex(State())

    init(
        _ sources: [CacheClient.Endpoint], deadline: Duration, clock: any Clock<Duration>,
        logger: Logger?, progress: @escaping @Sendable (CacheClient.Endpoint, ProgressEvent) -> Void
    ) {
        names = sources.map(\.name)
        self.logger = logger
        state.withLock { state in
            state.known.waitingFor = sources.count
            if sources.isEmpty { state.finishedAt = started }
        }
        for (place, source) in sources.enumerated() {
            let loading = Task { [self] in
                do {
                    let cache = try await source.backend.importCache(progress: ProgressSink { progress(source, $0) })
                    finish(place, .success(cache))
                } catch {
                    finish(place, .failure(.wrapping(error, of: source.backend, "import")))
                }
            }
            let waiting = Task { [self] in
                guard (try? await clock.sleep(for: deadline)) != nil else { return }
                finish(
                    place,
                    .failure(
                        CacheError(
                            .unavailable,
                            "the cache was not there within \(deadline), so the build goes on without it; "
                                + "look at the network, or give the session a longer deadline",
                            context: .init(backend: source.backend.traits.name, operation: "import"))))
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

    /// One outcome per source; `nil` for one that is still being waited for.
    var outcomes: [(name: String, result: Result<ImportedCache?, CacheError>?)] {
        state.withLock { state in names.enumerated().map { ($1, state.results[$0]) } }
    }

    /// From the start until the last source has answered or was given up; until now while one has not.
    var duration: Duration { (state.withLock { $0.finishedAt } ?? ContinuousClock.now) - started }

    /// Gives up all sources that have not answered.
    func cancel() {
        for place in names.indices {
            finish(place, .failure(CacheError(.unavailable, "the session ended before the cache was there")))
            cancel(place)
        }
    }

    private func cancel(_ place: Int) {
        for task in state.withLock({ $0.tasks.removeValue(forKey: place) }) ?? [] { task.cancel() }
    }

    /// Takes the first answer of a source: what comes after its deadline is too late.
    private func finish(_ place: Int, _ result: Result<ImportedCache?, CacheError>) {
        let isFirst = state.withLock { state in
            guard state.results[place] == nil else { return false }
            state.results[place] = result
            return true
        }
        guard isFirst else { return }
        if case .failure(let error) = result {
            logger?.warning(
                "a cache cannot be read, and counts as one without hits",
                metadata: ["source": "\(names[place])", "error": "\(error)"])
        }
        cancel(place)
        unite()
    }

    /// Makes one graph of what has arrived, outside of the lock because that takes a while, and again if more has arrived meanwhile.
    private func unite() {
        while true {
            let results = state.withLock { $0.results }
            var caches: [(place: Int, name: String, cache: ImportedCache)] = []
            var graph = LayerGraph()
            for (place, result) in results.sorted(by: { $0.key < $1.key }) {
                guard case .success(let cache?) = result else { continue }
                do throws(CacheError) {
                    try graph.merge(cache.graph)
                    caches.append((place, names[place], cache))
                } catch {
                    state.withLock { $0.results[place] = .failure(error) }
                }
            }
            let lookup = CacheLookup(graph)
            let isDone = state.withLock { state in
                guard state.results.count == results.count else { return false }
                state.known = Known(
                    version: state.known.version + 1, lookup: lookup, caches: caches,
                    waitingFor: names.count - results.count)
                if results.count == names.count, state.finishedAt == nil { state.finishedAt = ContinuousClock.now }
                return true
            }
            if isDone { return changes.happened() }
        }
    }
}
