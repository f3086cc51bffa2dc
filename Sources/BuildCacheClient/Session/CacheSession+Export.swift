public import BuildCacheBytes
import BuildCacheCore
public import BuildCacheGraph
import Logging
import Synchronization

extension CacheSession {
    /// Writes what was noted so far to all destinations at once; of a build that failed, too, as a checkpoint.
    ///
    /// Layers of hits that were not fetched go from cache to cache without being kept. A destination that fails keeps no other from being
    /// written. A step that was a hit is exported with all the ways in which the caches recognise it, not only with the one that this build
    /// used.
    ///
    /// - Parameters:
    ///   - source: The stored layers that the build made, and its images for an inline cache. All other layers come from the store and the
    ///     caches; pending ones bring their own.
    ///   - targets: The records that were built, one per platform; none for every record that no other is built from.
    /// - Returns: The outcome for each destination; call ``ExportReport/check()`` to treat a failure as one.
    /// - Throws: `CacheError` `.invalidSpec` for a target of another session; `CancellationError` if cancelled: then no name was published
    ///   that was not complete.
    @discardableResult
    public func exportCaches(
        from source: LayerSource? = nil, targets: [RecordID] = []
    ) async throws -> ExportReport {
        var (graph, problem) = try graphWithAlternatives()
        if !targets.isEmpty { try graph.setTargets(targets) }
        let (made, kept) = (source?.blobs, blobs)
        let blobs =
            made.map { made in
                CombinedSource {
                    [CombinedSource.Part(digests: nil, source: made), CombinedSource.Part(digests: nil, source: kept)]
                } as any BlobSource
            } ?? kept
        let all = LayerSource(blobs: blobs, images: source?.images ?? [])
        let exported = graph
        var report = try await measuring("export", \.exporting) {
            try await TrafficMeter.$current.withValue(meter) {
                try await client.exportCaches(exported, from: all, progress: options.progress)
            }
        }
        if let problem { report.ownProblems.append(problem) }
        state.withLock { [report] in $0.report.add(report) }
        for outcome in report.outcomes {
            switch outcome.result {
            case .failure(let error):
                options.logger?.log(
                    level: outcome.isIgnored ? .warning : .error, "a cache was not written",
                    metadata: ["destination": "\(outcome.destination)", "error": "\(error)"])
            case .success(let receipt):
                for problem in receipt.problems {
                    options.logger?.warning(
                        "an export had a problem",
                        metadata: ["destination": "\(outcome.destination)", "problem": "\(problem)"])
                }
            }
        }
        return report
    }

    /// The graph, in which steps that were hits have all the keys by which the caches know them.
    ///
    /// - Returns: Also the problem of caches whose keys cannot be merged, and so are left out.
    /// - Throws: `CancellationError`.
    private func graphWithAlternatives() throws -> (LayerGraph, CacheProblem?) {
        let known = sources.now.known
        let (graph, found) = try state.withLock { state in
            var found: [RecordID] = []
            for record in state.hits.keys { found += try state.matches(of: record, known) }
            return (state.graph, found)
        }
        var complete = graph
        do {
            try complete.addAlternatives(of: found, in: known.lookup.graph)
            return (complete, nil)
        } catch let error as CacheError {
            return (
                graph,
                CacheProblem(.notice, "steps are exported without the other keys that caches know", because: error)
            )
        }
    }

    /// The figures and problems of the session so far.
    public var report: SessionReport {
        var report = state.withLock { state in
            var report = state.report
            report.hits = state.hits.count
            report.misses = state.misses.count
            return report
        }
        let outcomes = sources.outcomes
        report.problems =
            outcomes.flatMap { name, result -> [CacheProblem] in
                switch result {
                case .success(let cache): cache?.problems.map { $0.adding(endpoint: name) } ?? []
                case .failure(let error): [.failedSource(name, error)]
                case nil: []
                }
            } + report.problems
        report.requests = meter.requests
        report.retries = meter.retries
        report.seconds.importing = sources.duration / .seconds(1)
        report.sources = outcomes.map { name, result in
            switch result {
            case nil: SessionReport.Source(name: name, state: .loading)
            case .success(nil): SessionReport.Source(name: name, state: .absent)
            case .success(let cache?):
                SessionReport.Source(name: name, state: .loaded(records: cache.graph.recordCount))
            case .failure(let error): SessionReport.Source(name: name, state: .failed(error))
            }
        }
        return report
    }
}
