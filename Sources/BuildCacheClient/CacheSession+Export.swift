public import BuildCacheBytes
import BuildCacheCore
public import BuildCacheGraph
import BuildCacheTransfer
import Logging
import Synchronization

extension CacheSession {
    /// Writes what was noted so far to all destinations at once; of a build that failed, too, as a checkpoint.
    ///
    /// Layers of hits that were not fetched go from cache to cache without being kept. A destination that fails keeps no other from being
    /// written.
    ///
    /// - Parameters:
    ///   - source: The layers that the build made: its stored ones, the tars of its pending ones, and its images for an inline cache. What is
    ///     not there comes from the store and the caches.
    ///   - targets: What was built, one record per platform; none for every record that no other is built from.
    /// - Returns: What became of each destination; ask ``ExportReport/check()`` to treat a failure as one.
    /// - Throws: `CancellationError` if cancelled; then no name was published that was not complete.
    @discardableResult
    public func exportCaches(
        from source: LayerSource? = nil, targets: [RecordID] = []
    ) async throws -> ExportReport {
        var graph = graph
        if !targets.isEmpty { graph.targets = targets }
        let (made, kept) = (source?.blobs, blobs)
        let blobs =
            made.map { made in
                CombinedSource {
                    [CombinedSource.Part(digests: nil, source: made), CombinedSource.Part(digests: nil, source: kept)]
                } as any BlobSource
            } ?? kept
        let all = LayerSource(blobs: blobs, pendingLayers: source?.pendingLayers, images: source?.images ?? [])
        let exported = graph
        let report = try await measuring("export", \.exporting) {
            try await TrafficMeter.$current.withValue(meter) {
                try await client.exportCaches(exported, from: all, progress: options.progress)
            }
        }
        state.withLock { $0.report.add(report) }
        for outcome in report.outcomes {
            guard case .failure(let error) = outcome.result else { continue }
            options.logger?.log(
                level: outcome.isIgnored ? .warning : .error, "a cache was not written", metadata: ["error": "\(error)"]
            )
        }
        return report
    }

    /// What the session did so far.
    public var report: SessionReport {
        var report = state.withLock { state in
            var report = state.report
            report.hits = state.hits.count
            report.misses = state.misses.count
            return report
        }
        report.requests = meter.requests
        report.retries = meter.retries
        report.seconds.importing = sources.duration / .seconds(1)
        report.sources = sources.outcomes.map { name, result in
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
