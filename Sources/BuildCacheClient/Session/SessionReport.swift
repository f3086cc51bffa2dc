import BuildCacheBytes
public import BuildCacheCore

/// The figures and problems of a session, for the end of a build's log.
public struct SessionReport: Sendable {
    /// One source of the session.
    public struct Source: Sendable {
        /// The state of a source.
        @nonexhaustive
        public enum State: Sendable {
            /// It has not been loaded yet.
            case loading
            /// There is no cache yet.
            case absent
            /// It was loaded, and has this many records.
            case loaded(records: Int)
            /// It could not be read, or not in time.
            case failed(CacheError)
        }
        /// The name of the endpoint.
        public var name: String
        /// The state.
        public var state: State
    }

    /// Seconds that were spent; calls that overlap count each for itself.
    public struct Seconds: Hashable, Sendable {
        /// From the opening until the last source was loaded, failed or missed its deadline.
        public var importing = 0.0
        /// In ``CacheSession/fetch(_:)`` and prefetches, while layers moved.
        public var fetching = 0.0
        /// In ``CacheSession/exportCaches(from:targets:)``.
        public var exporting = 0.0
    }

    /// The caches that were read, in their order.
    public var sources: [Source] = []
    /// Steps that a cache had a result for.
    public var hits = 0
    /// Steps that were looked up and that no cache had a result for.
    public var misses = 0
    /// Stored bytes of layers that were fetched into the store.
    public var bytesFetched: Int64 = 0
    /// Stored bytes of layers that were written to destinations.
    public var bytesWritten: Int64 = 0
    /// Stored bytes of layers that did not have to move, because the store or the destination had them.
    public var bytesSaved: Int64 = 0
    /// The time of each phase.
    public var seconds = Seconds()
    /// Requests to servers, retries included.
    public var requests = 0
    /// Requests that were retries.
    public var retries = 0
    /// One report for each export.
    public var exports: [ExportReport] = []
    /// Everything that went wrong without failing the build: sources that could not be read, lost and damaged layers, results that were left
    /// out of exports, destinations that failed.
    public var problems: [CacheProblem] = []

    mutating func addFetched(_ size: Int64, _ outcome: PutOutcome) {
        if outcome == .written {
            bytesFetched = bytesFetched.saturatingAdding(size)
        } else {
            bytesSaved = bytesSaved.saturatingAdding(size)
        }
    }

    mutating func add(_ report: ExportReport) {
        exports.append(report)
        problems += report.problems
        for case .success(let receipt) in report.outcomes.map(\.result) {
            bytesWritten = bytesWritten.saturatingAdding(receipt.bytesWritten)
            bytesSaved = bytesSaved.saturatingAdding(receipt.bytesSaved)
        }
    }
}

extension SessionReport: CustomStringConvertible {
    /// The figures and the problems in one line.
    public var description: String {
        func text(_ seconds: Double) -> String {
            seconds < 1 ? "\(Int((seconds * 1000).rounded())) ms" : "\((seconds * 100).rounded() / 100) s"
        }
        let lost = problems.count { $0.kind == .lostLayer || $0.kind == .damagedLayer }
        return "\(hits) \(hits == 1 ? "hit" : "hits"), \(misses) \(misses == 1 ? "miss" : "misses")"
            + (lost == 0 ? "" : " (\(lost) lost \(lost == 1 ? "layer" : "layers"))")
            + ", \(bytesFetched) bytes fetched, \(bytesWritten) bytes written, \(bytesSaved) bytes saved, "
            + "\(requests) requests, \(retries) retries; \(text(seconds.importing)) importing, "
            + "\(text(seconds.fetching)) fetching, \(text(seconds.exporting)) exporting" + problems.inOneLine
    }
}

extension SessionReport.Source: CustomStringConvertible {
    /// One line, as in `main: loaded, 12 records`.
    public var description: String { "\(name): \(state)".oneLine }
}

extension SessionReport.Source.State: CustomStringConvertible {
    /// The state in one line.
    public var description: String {
        switch self {
        case .loading: "loading"
        case .absent: "no cache yet"
        case .loaded(let records): "loaded, \(records) records"
        case .failed(let error): "failed: \(error.description)"
        }
    }
}
